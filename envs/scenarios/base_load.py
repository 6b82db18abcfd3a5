"""Who draws which measured profile at every load terminal.

A terminal of 20 to 40 kW is a street of households, a shop or a farm. It
gets a kind, and within the kind a random mixture of measured profiles.
SimBench has only five household profiles, so each is also read some whole
weeks earlier or later, on the same weekday. A terminal keeps its shifts all
year and a shift takes every day to a different one, so no terminal meets the
profile of a test day while training.

A mixture is scaled so that its highest quarter hour of the year is a given
share of the terminal's rating. Reactive power is in the ratio of the nominal
point at every moment: at full load a terminal is exactly as the circuit's
file states it. Peaks of terminals do not coincide, so the feeder's own peak
is well below the sum of the ratings.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gradmap.envs.scenarios.config import ScenarioConfig
from gradmap.envs.scenarios.model import Float32Array, IntArray
from gradmap.envs.scenarios.noise import FloatArray
from gradmap.envs.scenarios.profiles import (
    BUSINESSES,
    FARMS,
    HOUSEHOLDS,
    LOADS,
    SOLAR,
    ProfileYear,
)

WEEKS = (-2, -1, 0, 1, 2)
"""Whole weeks by which household and farm profiles are shifted."""

# Business days are not shifted: public holidays would fall apart.
_KINDS = ((HOUSEHOLDS, WEEKS), (BUSINESSES, (0,)), (FARMS, WEEKS))
_MIXED = 3  # profiles at a business or farm terminal
_EVENNESS = 3.0  # Dirichlet parameter of the weights: uneven, none near alone


def base_load_shapes(
    year: ProfileYear, num_terminals: int, config: ScenarioConfig, rng: np.random.Generator
) -> Float32Array:
    """Returns base load per unit of the rating. `[day, 96, terminal]`

    Args:
        year: The measured year.
        num_terminals: Number of terminals.
        config: Shares of the kinds, number of households, scale.
        rng: Source of kinds, profiles and weights.
    """
    columns: list[tuple[int, int]] = []  # profile and shift of every variant
    pools = []
    for names, weeks in _KINDS:
        pools.append(np.arange(len(columns), len(columns) + len(names) * len(weeks)))
        columns += [(LOADS.index(name), shift) for name in names for shift in weeks]
    source = {shift: shifted_days(year.day, shift) for shift in WEEKS}
    variants = np.stack([year.load[source[s]][:, :, p] for p, s in columns], axis=-1)
    weights = np.zeros((len(columns), num_terminals), dtype=np.float32)
    for terminal, kind in enumerate(draw_kinds(num_terminals, config.kind_shares, rng)):
        count = config.households_per_terminal if kind == 0 else _MIXED
        chosen = rng.choice(pools[kind], size=count, replace=False)
        weights[chosen, terminal] = rng.dirichlet(np.full(count, _EVENNESS))
    shapes: Float32Array = variants @ weights
    shapes *= config.base_load_scale / shapes.max(axis=(0, 1))
    return shapes


def draw_kinds(num_terminals: int, shares: tuple[float, ...], rng: np.random.Generator) -> IntArray:
    """Draws a kind for every terminal, in shares as exact as whole numbers allow.

    Args:
        num_terminals: Number of terminals.
        shares: Share of every kind, adding up to 1.
        rng: Source of the draw.

    Returns:
        Index into `shares`. `[terminal]`
    """
    place = (rng.permutation(num_terminals) + 0.5) / num_terminals
    return np.searchsorted(np.cumsum(shares)[:-1], place).astype(np.int64)


def shifted_days(days: Sequence[datetime.date], weeks: int) -> IntArray:
    """Returns for every day the day some weeks away, on the same weekday.

    The weeks are counted within each weekday's days and go round at the ends
    of the year, so that no day is used twice and winter stays winter.

    Args:
        days: The days, in order. `[day]`
        weeks: Weeks to go back.

    Returns:
        Index of a day for every day, a permutation. `[day]`
    """
    weekday = np.array([day.weekday() for day in days])
    source = np.arange(len(days))
    for number in range(7):
        own = np.flatnonzero(weekday == number)
        source[own] = np.roll(own, weeks)
    return source


def solar_generation(
    year: ProfileYear,
    rating_kw: FloatArray,
    config: ScenarioConfig,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Returns photovoltaic generation, kW. `[day, 96, terminal]`

    A share `pv_penetration` of the terminals with a positive rating have a
    roof of `pv_size` kWp per kW; each roof has one measured profile. The
    measured peaks are about 0.6 of the installed power.

    Args:
        year: The measured year.
        rating_kw: Nominal active power. `[terminal]`
        config: Share and size of the roofs.
        rng: Source of who has a roof and which profile.
    """
    able = rng.permutation(np.flatnonzero(rating_kw > 0))
    count = min(round(config.pv_penetration * len(rating_kw)), len(able))
    installed = np.zeros(len(rating_kw), dtype=np.float32)
    installed[able[:count]] = config.pv_size * rating_kw[able[:count]]
    profile = rng.integers(len(SOLAR), size=len(rating_kw))
    generation: npt.NDArray[np.float32] = year.solar[:, :, profile] * installed
    return generation

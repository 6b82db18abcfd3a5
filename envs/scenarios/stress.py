"""Stress splits: the test days under what no training day has shown.

A stress changes test days and nothing else: days keep their index, date,
split and initial states, all other days are as they were. The numbers below
are frozen with the task, as the split is; a change makes results incomparable.
Each is one change alone, so that what a policy loses has one cause.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from typing import Literal

import numpy as np
import numpy.typing as npt

from gradmap.envs.scenarios.model import SPLITS, Float32Array, IntArray, ScenarioSet
from gradmap.feeders.errors import GradmapError

SALT = "gradmap-stress-1"
"""Version of the draw of who is offline: a new one makes results incomparable."""

CLEAR_SKY_DAYS = 15
"""A clear sky is the sunniest that a site has at the same time of day on any
day so many days before or after: its own yearly peak, and so its rated power,
is never passed."""


@dataclasses.dataclass(frozen=True)
class Stress:
    """What a stress does to its days.

    Attributes:
        name: Name of the split.
        title: Name in tables and plots.
        summary: What it is, with its numbers.
        days: Which of the test days: all, or those that are coldest or
            warmest by their mean outdoor temperature.
        share: Share of the test days that are taken, rounded up.
        temp_shift_k: Added to the outdoor temperature of every step, K. Base
            load stays as it is: its profiles know no weather, and heat pumps
            are agents.
        is_clear_sky: Whether the sun shines as on the sunniest of the days around.
        price_factor: Factor on the tariff during `price_hours`.
        price_hours: First hour and the hour after the last, local time.
        load_factor: Factor on active and reactive base load.
        offline_share: Share of the agents that do not respond all day.
    """

    name: str
    title: str
    summary: str
    days: Literal["all", "coldest", "warmest"] = "all"
    share: float = 1.0
    temp_shift_k: float = 0.0
    is_clear_sky: bool = False
    price_factor: float = 1.0
    price_hours: tuple[int, int] = (0, 0)
    load_factor: float = 1.0
    offline_share: float = 0.0


_ALL = (
    Stress(
        "cold-snap",
        "Cold snap",
        "the coldest quarter of the test days, 8 K colder all day",
        days="coldest",
        share=0.25,
        temp_shift_k=-8.0,
    ),
    Stress(
        "hot-sunny",
        "Hot and sunny",
        "the warmest quarter of the test days, 6 K warmer all day under a clear sky",
        days="warmest",
        share=0.25,
        temp_shift_k=6.0,
        is_clear_sky=True,
    ),
    Stress(
        "price-spike",
        "Price spike",
        "all test days, the tariff three times as high from 17 to 20 h",
        price_factor=3.0,
        price_hours=(17, 20),
    ),
    Stress(
        "load-growth",
        "Load growth",
        "all test days, base load 20 % higher at every terminal",
        load_factor=1.2,
    ),
    Stress(
        "offline",
        "Agents offline",
        "all test days, a tenth of the agents out of reach, others each day",
        offline_share=0.1,
    ),
)

STRESSES: dict[str, Stress] = {stress.name: stress for stress in _ALL}
"""Every stress by the name of its split."""


def find_stress(name: str) -> Stress:
    """Looks a stress up.

    Args:
        name: Name of its split.

    Raises:
        GradmapError: If there is no such stress; the known splits are named.
    """
    if name not in STRESSES:
        known = ", ".join((*SPLITS, *STRESSES))
        raise GradmapError(f"unknown split {name!r}; expected one of {known}")
    return STRESSES[name]


def stress_days(scenarios: ScenarioSet, name: str) -> IntArray:
    """Indices of the test days that a stress takes, in the order of the set. `[day]`

    The stressed set gives the same days: cold days only get colder.

    Args:
        scenarios: The scenarios.
        name: Name of the stress.

    Raises:
        GradmapError: If there is no such stress, or no test day.
    """
    stress = find_stress(name)
    days = scenarios.days("test")
    if not len(days):
        raise GradmapError(f"split {name!r} stresses test days, but there are none; hold some out")
    if stress.days == "all":
        return days
    mean = scenarios.temp_outdoor_degc[days].astype(np.float64).mean(1)
    order = np.argsort(mean if stress.days == "coldest" else -mean, kind="stable")
    return np.sort(days[order[: int(np.ceil(stress.share * len(days)))]])


def stressed(scenarios: ScenarioSet, name: str) -> ScenarioSet:
    """The scenarios with a stress on its days, all others unchanged.

    Args:
        scenarios: The scenarios, without a stress.
        name: Name of the stress. `offline` changes nothing here: see `offline_agents`.

    Returns:
        A set with the same days in the same order.

    Raises:
        GradmapError: If there is no such stress, or no test day.
    """
    stress, days = find_stress(name), stress_days(scenarios, name)
    base_p_kw, base_q_kvar = scenarios.base_p_kw.copy(), scenarios.base_q_kvar.copy()
    temp, tariff = scenarios.temp_outdoor_degc.copy(), scenarios.tariff_usd_per_kwh.copy()
    pv_kw = scenarios.pv_kw.copy()
    base_p_kw[days] *= np.float32(stress.load_factor)
    base_q_kvar[days] *= np.float32(stress.load_factor)
    temp[days] += np.float32(stress.temp_shift_k)
    hour = np.arange(scenarios.num_steps) * scenarios.dt_hours
    first, end = stress.price_hours
    spiked = (hour >= first) & (hour < end)
    tariff[days] *= np.where(spiked, np.float32(stress.price_factor), np.float32(1.0))
    if stress.is_clear_sky:
        pv_kw[days] = _clear_sky(scenarios, days)
    return dataclasses.replace(
        scenarios,
        base_p_kw=base_p_kw,
        base_q_kvar=base_q_kvar,
        pv_kw=pv_kw,
        temp_outdoor_degc=temp,
        tariff_usd_per_kwh=tariff,
    )


def offline_agents(date: str, num_agents: int, share: float) -> npt.NDArray[np.bool_]:
    """Which agents do not respond on a day: the same for every method and seed.

    A hash draws them, not a generator of numpy's, so that the draw is frozen.

    Args:
        date: ISO date of the day.
        num_agents: Number of agents.
        share: Share of them, rounded to whole agents.

    Returns:
        True for those that are offline. `[agent]`
    """
    drawn = [hashlib.sha256(f"{SALT} {date} {i}".encode()).digest() for i in range(num_agents)]
    order = sorted(range(num_agents), key=drawn.__getitem__)
    is_offline = np.zeros(num_agents, np.bool_)
    is_offline[order[: round(share * num_agents)]] = True
    return is_offline


def _clear_sky(scenarios: ScenarioSet, days: IntArray) -> Float32Array:
    """The most sun of each site and time of day around each day. `[day, time, terminal]`"""
    number = np.array([datetime.date.fromisoformat(date).toordinal() for date in scenarios.date])
    around = [np.abs(number - number[day]) <= CLEAR_SKY_DAYS for day in days]
    return np.stack([scenarios.pv_kw[own].max(axis=0) for own in around])

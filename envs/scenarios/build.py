"""A year of scenarios for a feeder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gradmap.envs.scenarios.base_load import base_load_shapes, solar_generation
from gradmap.envs.scenarios.config import ScenarioConfig
from gradmap.envs.scenarios.model import ScenarioSet
from gradmap.envs.scenarios.profiles import ProfileYear, load_year
from gradmap.envs.scenarios.series_csv import read_series
from gradmap.envs.scenarios.splits import split_days
from gradmap.envs.scenarios.tariff import model_tariff
from gradmap.envs.scenarios.weather import model_temperature
from gradmap.feeders.errors import raise_faults
from gradmap.feeders.model import Feeder

TEMPERATURE_RANGE_DEGC = (-60.0, 60.0)
"""Outside of it a temperature is taken for an error, such as degF or kelvin."""

TARIFF_RANGE_USD_PER_KWH = (-2.0, 10.0)
"""Outside of it a price is taken for an error, such as cents or $/MWh."""


def build_scenarios(feeder: Feeder, config: ScenarioConfig | None = None) -> ScenarioSet:
    """Builds the scenario days of 2016 for a feeder.

    The days, their profiles and the photovoltaics are measured (see
    `gradmap.envs.scenarios.profiles`); weather and tariff are modelled, or
    read from the user's files. The same feeder and config give the same set;
    load, photovoltaics, weather and tariff draw from streams of their own, so
    that a change to one leaves the others.

    Generators, PV systems and storage of the circuit are part of the base
    load, with a sign of their own: see `_keep_plants`.

    Args:
        feeder: The feeder; only its terminals matter.
        config: Settings; the defaults if left out.

    Returns:
        364 days: 2016 without the two on which the clock changes.

    Raises:
        GradmapError: If the feeder has no terminals or ratings that are not
            finite, the profiles are not installed, or a CSV file does not fit.
    """
    config = config or ScenarioConfig()
    _check_ratings(feeder)
    year = load_year()
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(config.seed).spawn(4)]
    load_rng, solar_rng, weather_rng, tariff_rng = streams
    p_kw, q_kvar = feeder.terminals.p_kw, feeder.terminals.q_kvar
    quarters = base_load_shapes(year, len(p_kw), config, load_rng)
    _keep_plants(quarters, year, feeder.terminals.kind)
    shapes = _to_steps(quarters, config.steps_per_day)
    pv_kw = _to_steps(solar_generation(year, p_kw, config, solar_rng), config.steps_per_day)
    return ScenarioSet(
        date=year.date,
        split=split_days(year.date, config.test_days_per_month, config.validation_days_per_month),
        base_p_kw=shapes * p_kw.astype(np.float32),
        base_q_kvar=shapes * q_kvar.astype(np.float32),
        pv_kw=pv_kw,
        temp_outdoor_degc=_temperature(year, config, weather_rng),
        tariff_usd_per_kwh=_tariff(year, config, tariff_rng),
        dt_hours=config.dt_hours,
        terminal_names=feeder.terminals.name,
    )


def _keep_plants(shapes: npt.NDArray[np.float32], year: ProfileYear, kinds: Sequence[str]) -> None:
    """Puts what is no load in its place, per unit of what it does in the circuit.

    Generators and storage stay as they are, PV systems follow the measured
    sun, whose highest quarter hour of the year gives the circuit's power.
    """
    sun = year.solar.mean(axis=2)
    for terminal, kind in enumerate(kinds):
        if kind == "pvsystem":
            shapes[:, :, terminal] = sun / sun.max()
        elif kind != "load":
            shapes[:, :, terminal] = 1.0


def _check_ratings(feeder: Feeder) -> None:
    terminals = feeder.terminals
    faults = [] if len(terminals) else ["no load terminals; scenarios need at least one"]
    for what, values in (("p_kw", terminals.p_kw), ("q_kvar", terminals.q_kvar)):
        for i in np.flatnonzero(~np.isfinite(values)):
            faults.append(f"terminal {terminals.name[i]} has {what} {values[i]}")
    raise_faults(f"feeder {feeder.name}", faults)


def _temperature(
    year: ProfileYear, config: ScenarioConfig, rng: np.random.Generator
) -> npt.NDArray[Any]:
    if config.weather_csv is not None:
        column, limits = "temp_outdoor_degc", TEMPERATURE_RANGE_DEGC
        return read_series(config.weather_csv, column, year.date, config.steps_per_day, limits)
    sun = year.solar.mean(axis=(1, 2), dtype=np.float64)
    return _to_steps(model_temperature(year.day, sun, rng), config.steps_per_day)


def _tariff(
    year: ProfileYear, config: ScenarioConfig, rng: np.random.Generator
) -> npt.NDArray[Any]:
    if config.tariff_csv is not None:
        column, limits = "tariff_usd_per_kwh", TARIFF_RANGE_USD_PER_KWH
        return read_series(config.tariff_csv, column, year.date, config.steps_per_day, limits)
    return _to_steps(model_tariff(year.day, rng), config.steps_per_day)


def _to_steps(values: npt.NDArray[Any], steps: int) -> npt.NDArray[Any]:
    """Averages quarter hours: `[day, 96, ...]` to `[day, steps, ...]`."""
    shape = (values.shape[0], steps, values.shape[1] // steps, *values.shape[2:])
    means: npt.NDArray[Any] = values.reshape(shape).mean(axis=2)
    return means

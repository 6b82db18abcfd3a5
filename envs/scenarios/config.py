"""What a year of scenarios is built from."""

from __future__ import annotations

import dataclasses
import math

from gradmap.feeders.errors import raise_faults

QUARTERS = 96
"""Quarter hours in a day: the resolution of the source data."""

MAX_HELD_OUT = 28
"""Days that the shortest month can give to test and validation, one left."""


@dataclasses.dataclass(frozen=True)
class ScenarioConfig:
    """Settings of `build_scenarios`; refuses values that make no sense.

    Attributes:
        seed: Seed of the weather, the tariff and of who draws which profile.
            It does not move the split: see `gradmap.envs.scenarios.splits`.
        steps_per_day: Steps of a day; divides 96.
        base_load_scale: Highest quarter hour of the year at each terminal,
            as a share of the terminal's rating.
        household_share: Share of the terminals that are households.
        commercial_share: Share of the terminals that are businesses.
        agricultural_share: Share that are farms; the three add up to 1.
        households_per_terminal: Household profiles averaged at a terminal.
            More of them make a smoother day and a higher load factor.
        pv_penetration: Share of the terminals that have photovoltaics.
        pv_size: Installed kWp at such a terminal per kW of its rating.
        test_days_per_month: Days of each month held out for test.
        validation_days_per_month: Days of each month held out for validation.
        weather_csv: File with `time` and `temp_outdoor_degc` to use in place
            of the model of `gradmap.envs.scenarios.weather`.
        tariff_csv: File with `time` and `tariff_usd_per_kwh` to use in place
            of the model of `gradmap.envs.scenarios.tariff`.

    Raises:
        GradmapError: If any setting is out of range; all are named at once.
    """

    seed: int = 0
    steps_per_day: int = 48
    base_load_scale: float = 1.0
    household_share: float = 0.7
    commercial_share: float = 0.2
    agricultural_share: float = 0.1
    households_per_terminal: int = 12
    pv_penetration: float = 0.4
    pv_size: float = 0.8
    test_days_per_month: int = 2
    validation_days_per_month: int = 1
    weather_csv: str | None = None
    tariff_csv: str | None = None

    def __post_init__(self) -> None:
        raise_faults("scenario config", _faults(self))

    @property
    def dt_hours(self) -> float:
        """Length of a step, hours."""
        return 24.0 / self.steps_per_day

    @property
    def kind_shares(self) -> tuple[float, float, float]:
        """Shares of households, businesses and farms."""
        return (self.household_share, self.commercial_share, self.agricultural_share)


def _faults(config: ScenarioConfig) -> list[str]:
    faults = []
    if config.seed < 0:
        faults.append(f"seed is {config.seed}; expected 0 or more")
    if config.steps_per_day < 1 or QUARTERS % config.steps_per_day:
        allowed = ", ".join(str(n) for n in range(1, QUARTERS + 1) if QUARTERS % n == 0)
        faults.append(f"steps_per_day is {config.steps_per_day}; expected one of {allowed}")
    for name in ("base_load_scale", "pv_size"):
        value = getattr(config, name)
        if not (math.isfinite(value) and value >= 0):
            faults.append(f"{name} is {value}; expected a finite number, 0 or more")
    for name in ("household_share", "commercial_share", "agricultural_share", "pv_penetration"):
        value = getattr(config, name)
        if not 0 <= value <= 1:
            faults.append(f"{name} is {value}; expected 0 to 1")
    total = sum(config.kind_shares)
    if not abs(total - 1) <= 1e-6:
        faults.append(f"household, commercial and agricultural share add up to {total:g}, not 1")
    if not 1 <= config.households_per_terminal <= 25:
        found = config.households_per_terminal
        faults.append(f"households_per_terminal is {found}; expected 1 to 25")
    held = (config.test_days_per_month, config.validation_days_per_month)
    if min(held) < 0 or sum(held) > MAX_HELD_OUT:
        faults.append(
            f"test_days_per_month and validation_days_per_month are {held[0]} and {held[1]}; "
            f"expected 0 or more, {MAX_HELD_OUT} at most together"
        )
    return faults

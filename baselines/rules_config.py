"""Settings of the rules."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from gradmap.feeders.errors import raise_faults


@dataclasses.dataclass(frozen=True)
class RulesConfig:
    """Settings of the rules, tuned on the validation days; see `docs/tuning.md`.

    Attributes:
        charge_below_usd: Batteries charge while energy costs less, $/kWh.
        discharge_above_usd: Batteries discharge while it costs more, $/kWh.
        charge_rate: Share of rated power that a battery charges with.
        discharge_rate: Share of rated power that it discharges with.
        thermostat_target: Indoor temperature that heat pumps hold, -1 at the
            comfort band's lower edge, 1 at its upper.
        thermostat_gain: Change of the action for a deviation of half a band.
        droop_start_pu: Deviation of the own voltage from 1 p.u. at which
            power that adds to it begins to be curtailed.
        droop_end_pu: Deviation at which none of it is left.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    charge_below_usd: float = 0.13
    discharge_above_usd: float = 0.28
    charge_rate: float = 0.3
    discharge_rate: float = 0.3
    thermostat_target: float = -0.8
    thermostat_gain: float = 4.0
    droop_start_pu: float = 0.02
    droop_end_pu: float = 0.045

    def __post_init__(self) -> None:
        faults = []
        for name in ("charge_rate", "discharge_rate"):
            if not 0 <= getattr(self, name) <= 1:
                faults.append(f"{name} is {getattr(self, name)}, expected 0 to 1")
        if not 0 <= self.droop_start_pu < self.droop_end_pu:
            faults.append(
                f"droop is from {self.droop_start_pu} to {self.droop_end_pu}, "
                "expected 0 <= start < end"
            )
        raise_faults("rules", faults)

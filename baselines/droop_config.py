"""Settings of the droop by IEEE 1547 curves."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from gradmap.feeders.errors import raise_faults


@dataclasses.dataclass(frozen=True)
class DroopConfig:
    """Settings of droop, tuned on the validation days; see `docs/tuning.md`.

    The first six are the installer's schedule, as in `RulesConfig`. The curve
    that the standard states, whole, is `shift_pu` 0.

    Attributes:
        charge_below_usd: Batteries charge while energy costs less, $/kWh.
        discharge_above_usd: Batteries discharge while it costs more, $/kWh.
        charge_rate: Share of rated power that a battery charges with.
        discharge_rate: Share of rated power that it discharges with.
        thermostat_target: Indoor temperature that heat pumps hold, -1 at the
            comfort band's lower edge, 1 at its upper.
        thermostat_gain: Change of the action for a deviation of half a band.
        v1_pu: Voltage at which IEEE 1547's volt-watt curve begins to fall.
        v2_pu: Voltage at which the curve ends.
        p2_share: Share of rated power that is left there.
        shift_pu: How far the curve is moved towards 1 p.u.: the standard
            begins to act at 1.06 p.u., the task's band ends at 1.05.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    charge_below_usd: float = 0.12
    discharge_above_usd: float = 0.28
    charge_rate: float = 0.2
    discharge_rate: float = 0.25
    thermostat_target: float = -0.8
    thermostat_gain: float = 4.0
    v1_pu: float = 1.06
    v2_pu: float = 1.10
    p2_share: float = 0.0
    shift_pu: float = 0.05

    def __post_init__(self) -> None:
        faults = []
        for name in ("charge_rate", "discharge_rate"):
            if not 0 <= getattr(self, name) <= 1:
                faults.append(f"{name} is {getattr(self, name)}, expected 0 to 1")
        if not 0 <= self.shift_pu < self.v1_pu - 1:
            faults.append(
                f"shift_pu is {self.shift_pu}, expected 0 or more and less than v1_pu - 1, "
                f"{self.v1_pu - 1:g}, for the curve to leave 1 p.u. alone"
            )
        raise_faults("droop", faults)

"""Settings of the receding-horizon controller."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from gradmap.feeders.errors import raise_faults


@dataclasses.dataclass(frozen=True)
class RecedingConfig:
    """Settings of the receding-horizon controller, tuned on the validation days.

    Attributes:
        horizon: Steps that are planned ahead, at most to the day's end.
        every: Steps from one plan to the next; in between the last plan is
            followed.
        margin_pu: How much narrower the voltage band is in planning, at each
            end, for what linearisation and forecasts miss.
        rounds: How often a plan is made at most, each time linearised around
            the one before: again as long as AC power flow finds the step to
            come outside the limits.
        zones: Zones by which devices are gathered in planning, at most; 0
            makes every terminal one.
        tolerance: Of a plan's cost, as a share of it.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    horizon: int = 48
    every: int = 1
    margin_pu: float = 0.0005
    rounds: int = 4
    zones: int = 60
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        faults = []
        for name in ("horizon", "every", "rounds"):
            if getattr(self, name) < 1:
                faults.append(f"{name} is {getattr(self, name)}, expected 1 or more")
        if self.zones < 0:
            faults.append(f"zones is {self.zones}, expected 0 or more")
        if self.every > self.horizon:
            faults.append(f"every is {self.every}, expected at most the horizon, {self.horizon}")
        if not 0 <= self.margin_pu < 0.05:
            faults.append(f"margin_pu is {self.margin_pu}, expected 0 or more and below 0.05")
        if not 0 < self.tolerance < 1:
            faults.append(f"tolerance is {self.tolerance}, expected more than 0 and below 1")
        raise_faults("receding", faults)

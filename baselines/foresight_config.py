"""Settings of the perfect-foresight optimiser."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from gradmap.feeders.errors import raise_faults


@dataclasses.dataclass(frozen=True)
class ForesightConfig:
    """Settings of the perfect-foresight optimiser.

    Attributes:
        learning_rate: Of Adam, on actions in [-1, 1].
        learning_rate_final: Fraction of it left at the end.
        voltage_usd_per_pu: Where voltage multipliers start.
        overload_usd: Where overload multipliers start.
        dual_growth: Factor on a multiplier for every iteration in which its
            limit is violated.
        margin_pu: The voltage band is narrower by this much at each end.
        projection_usd_per_kwh: See `LearnerConfig`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    learning_rate: float = 0.05
    learning_rate_final: float = 0.01
    voltage_usd_per_pu: float = 300.0
    overload_usd: float = 30.0
    dual_growth: float = 1.02
    margin_pu: float = 1e-4
    projection_usd_per_kwh: float = 0.02

    def __post_init__(self) -> None:
        faults = []
        if not self.learning_rate > 0:
            faults.append(f"learning_rate is {self.learning_rate}, expected more than 0")
        if not 0 <= self.learning_rate_final <= 1:
            faults.append(f"learning_rate_final is {self.learning_rate_final}, expected 0 to 1")
        if not self.dual_growth >= 1:
            faults.append(f"dual_growth is {self.dual_growth}, expected 1 or more")
        at_least_0 = ("voltage_usd_per_pu", "overload_usd", "margin_pu", "projection_usd_per_kwh")
        for name in at_least_0:
            if not getattr(self, name) >= 0:
                faults.append(f"{name} is {getattr(self, name)}, expected 0 or more")
        raise_faults("foresight", faults)

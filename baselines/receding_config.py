"""Settings of the receding-horizon controller."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from gradmap.feeders.errors import raise_faults


@dataclasses.dataclass(frozen=True)
class RecedingConfig:
    """Settings of the receding-horizon controller.

    Attributes:
        horizon: Steps that are planned ahead, at most to the day's end.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    horizon: int = 48

    def __post_init__(self) -> None:
        faults = []
        if self.horizon < 1:
            faults.append(f"horizon is {self.horizon}, expected 1 or more")
        raise_faults("receding", faults)

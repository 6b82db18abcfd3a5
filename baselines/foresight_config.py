"""Settings of the perfect-foresight optimiser."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from gradmap.feeders.errors import raise_faults


@dataclasses.dataclass(frozen=True)
class ForesightConfig:
    """Settings of the perfect-foresight optimiser.

    Attributes:
        margin_pu: How far inside its limits a day is planned, p.u. or share of
            a rating: room for what linearisation misses.
        tolerance: Of a day's convex problem, as a share of its cost.
        gap: Gap between a day's cost and its lower bound, as a share of the
            cost, with which the day is left for the others.
        weight_usd: Twice the charge on a change of a device's power by its
            whole range from one round to the next, $ a step. It doubles with
            each of some rounds after the fourth, so that they come to rest.
        voltage_cuts: Voltages that may be added to a step's problem in a round.
        current_cuts: Currents, likewise.
        limit_usd: Price of 1 p.u., or of a branch's rating, at which a limit
            gives way for a step.
        samples: Dispatches near a day's solution at which the lower bound's
            linear network is held against the power flow.
        spread: How far they lie from it, as a share of the way to what the
            devices would do without a network.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    margin_pu: float = 5e-5
    tolerance: float = 1e-4
    gap: float = 3e-3
    weight_usd: float = 0.01
    voltage_cuts: int = 4
    current_cuts: int = 3
    limit_usd: float = 30_000.0
    samples: int = 8
    spread: float = 0.05

    def __post_init__(self) -> None:
        faults = []
        for name in ("margin_pu", "gap", "weight_usd", "samples", "spread"):
            if not getattr(self, name) >= 0:
                faults.append(f"{name} is {getattr(self, name)}, expected 0 or more")
        for name in ("tolerance", "limit_usd"):
            if not getattr(self, name) > 0:
                faults.append(f"{name} is {getattr(self, name)}, expected more than 0")
        for name in ("voltage_cuts", "current_cuts"):
            if getattr(self, name) < 1:
                faults.append(f"{name} is {getattr(self, name)}, expected 1 or more")
        raise_faults("foresight", faults)

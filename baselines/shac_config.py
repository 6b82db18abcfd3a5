"""Settings of SHAC."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, get_args

from gradmap.algorithms.config import PriceConfig
from gradmap.feeders.errors import raise_faults

SHACCritic = Literal["local", "central"]


@dataclasses.dataclass(frozen=True)
class SHACConfig:
    """Settings of the short-horizon actor-critic.

    Attributes:
        critic: `local` gives every agent a critic of its own observation;
            `central` one trunk over the state of the whole feeder, and a head
            for each agent that also sees its observation.
        hidden: Width of each hidden layer of every agent's policy.
        critic_hidden: Width of each hidden layer of a critic, or of the
            central trunk.
        days_per_batch: Scenario-days in one batch.
        horizon: Steps of a window, through which the gradient flows; the last
            window of a day is what is left of it.
        deviation: Of the noise on actions in learning, before the tangent that
            squashes them into (-1, 1): critics then see each hour's states
            around where the policies lead.
        learning_rate: Of the policies' Adam.
        critic_learning_rate: Of the critics' Adam.
        learning_rate_final: Fraction of both rates left when the budget is
            used up; they fall along a half cosine.
        critic_passes: Passes of the critics over the samples of a window.
        critic_minibatches: Optimiser steps in one pass.
        td_lambda: Decay of the estimators' weights in the critics' targets.
        target_decay: Share of the target critics that an update keeps.
        terminal_weight: Weight of the target critics' value after a window in
            the policies' objective; 0 makes every window shortsighted.
        stored_usd_per_kwh: Worth of stored energy that critics start from;
            they learn what differs from it.
        grad_clip: Largest norm of the gradient of one agent's policy or
            critic; none for no clip.
        adam_beta2: Of the policies' Adam; see `LearnerConfig`.
        average: See `LearnerConfig`.
        projection_usd_per_kwh: See `LearnerConfig`.
        price: How constraints are priced, as for GradMAP.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    critic: SHACCritic = "local"
    hidden: tuple[int, ...] = (16, 16)
    critic_hidden: tuple[int, ...] = (16, 16)
    days_per_batch: int = 8
    horizon: int = 24
    deviation: float = 0.3
    learning_rate: float = 2e-2
    critic_learning_rate: float = 1e-2
    learning_rate_final: float = 0.1
    critic_passes: int = 4
    critic_minibatches: int = 4
    td_lambda: float = 0.95
    target_decay: float = 0.2
    terminal_weight: float = 1.0
    stored_usd_per_kwh: float = 0.2
    grad_clip: float | None = 1.0
    adam_beta2: float = 0.999
    average: float = 0.8
    projection_usd_per_kwh: float = 0.02
    price: PriceConfig = PriceConfig()

    def __post_init__(self) -> None:
        faults = []
        for name in ("days_per_batch", "horizon", "critic_passes", "critic_minibatches"):
            if getattr(self, name) < 1:
                faults.append(f"{name} is {getattr(self, name)}, expected 1 or more")
        for name in ("learning_rate", "critic_learning_rate", "grad_clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                faults.append(f"{name} is {value}, expected more than 0")
        for name in ("learning_rate_final", "td_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                faults.append(f"{name} is {getattr(self, name)}, expected 0 to 1")
        if not 0 <= self.target_decay < 1:
            faults.append(f"target_decay is {self.target_decay}, expected 0 to less than 1")
        for name in (
            "deviation",
            "terminal_weight",
            "stored_usd_per_kwh",
            "projection_usd_per_kwh",
        ):
            if not getattr(self, name) >= 0:
                faults.append(f"{name} is {getattr(self, name)}, expected 0 or more")
        if self.critic not in get_args(SHACCritic):
            known = ", ".join(get_args(SHACCritic))
            faults.append(f"critic is {self.critic!r}, expected one of {known}")
        for name in ("hidden", "critic_hidden"):
            widths = getattr(self, name)
            if not widths or min(widths) < 1:
                faults.append(f"{name} is {widths}, expected one or more positive widths")
        if not 0 <= self.adam_beta2 < 1:
            faults.append(f"adam_beta2 is {self.adam_beta2}, expected 0 or more, less than 1")
        if not 0 <= self.average < 1:
            faults.append(f"average is {self.average}, expected 0 or more, less than 1")
        raise_faults("shac", faults)

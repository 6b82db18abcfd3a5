"""Settings of PPO with the help of the analytic gradient."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, get_args

from gradmap.algorithms.config import PriceConfig
from gradmap.baselines.rllib.config import Split
from gradmap.feeders.errors import raise_faults


@dataclasses.dataclass(frozen=True)
class GIPPOConfig:
    """Settings of gradient-informed proximal policy optimisation.

    Attributes:
        hidden: Width of each hidden layer of every agent's policy.
        critic_hidden: Width of each hidden layer of every agent's critic.
        days_per_batch: Scenario-days in one batch, each a whole episode.
        learning_rate: Of Adam.
        learning_rate_final: Fraction of `learning_rate` left when the budget
            is used up; the rate falls along a half cosine.
        alpha_initial: First length of the step along the analytic gradient:
            the root mean square of the shift of an agent's samples, in
            deviations of its policy.
        alpha_max: Largest length of that step; 0 leaves plain PPO.
        alpha_growth: Factor by which an agent's step grows after a batch in
            which it was trustworthy, and shrinks after one in which it was
            not.
        alpha_range: Largest share of an agent's samples whose probability
            ratio may lie outside PPO's clip after the step.
        alpha_spread: Largest deviation from 1 of the mean ratio that the
            densities of shifted samples bear to those of drawn ones.
        alpha_passes: Passes over a batch towards the shifted samples.
        adam_beta2: Of the Adam of these passes; see `LearnerConfig`.
        epochs: PPO's passes over a batch, at most; see `kl_stop`.
        minibatches: Optimiser steps in one pass.
        clip: Clip of the probability ratio.
        discount: Of rewards, for each step.
        gae_lambda: Of generalised advantage estimation.
        entropy_bonus: Weight of the entropy in the loss.
        value_weight: Weight of the critic's squared error in the loss.
        grad_clip: Largest norm of the gradient of one agent; none for no clip.
        kl_stop: Divergence from the policy that sampled at which an agent's
            PPO passes end, each agent alone; none for no stop.
        log_std_initial: Logarithm of the exploration's initial deviation,
            before actions are squashed into (-1, 1).
        network_split: Who pays for a violation in the rewards; see
            `PPOSettings`. The analytic gradient is that of the whole price.
        network_weight: How many times the agents together pay the price in
            the rewards.
        stored_usd_per_kwh: Worth of stored energy by which rewards are
            shaped; see `PPOSettings`.
        projection_usd_per_kwh: Charge in the analytic gradient alone; see
            `LearnerConfig`.
        price: How constraints are priced, as for PPO.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    hidden: tuple[int, ...] = (16, 16)
    critic_hidden: tuple[int, ...] = (16, 16)
    days_per_batch: int = 8
    learning_rate: float = 1e-2
    learning_rate_final: float = 0.1
    alpha_initial: float = 0.6
    alpha_max: float = 2.0
    alpha_growth: float = 1.1
    alpha_range: float = 0.8
    alpha_spread: float = 0.4
    alpha_passes: int = 4
    epochs: int = 1
    minibatches: int = 4
    clip: float = 0.2
    discount: float = 0.985
    gae_lambda: float = 0.9
    entropy_bonus: float = 0.0
    value_weight: float = 0.5
    grad_clip: float | None = 0.5
    kl_stop: float | None = 0.01
    log_std_initial: float = -1.0
    network_split: Split = "local"
    network_weight: float = 10.0
    stored_usd_per_kwh: float = 0.2
    adam_beta2: float = 0.999
    average: float = 0.8
    projection_usd_per_kwh: float = 0.02
    price: PriceConfig = PriceConfig(voltage_usd_per_pu=1000.0, overload_usd=100.0, dual_step=5e3)

    def __post_init__(self) -> None:
        faults = []
        for name in ("days_per_batch", "alpha_passes", "epochs", "minibatches"):
            if getattr(self, name) < 1:
                faults.append(f"{name} is {getattr(self, name)}, expected 1 or more")
        for name in ("learning_rate", "clip", "alpha_initial", "grad_clip", "kl_stop"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                faults.append(f"{name} is {value}, expected more than 0")
        if not self.alpha_growth >= 1:
            faults.append(f"alpha_growth is {self.alpha_growth}, expected 1 or more")
        for name in ("learning_rate_final", "discount", "gae_lambda", "alpha_range"):
            if not 0 <= getattr(self, name) <= 1:
                faults.append(f"{name} is {getattr(self, name)}, expected 0 to 1")
        weights = ("entropy_bonus", "value_weight", "stored_usd_per_kwh", "network_weight")
        for name in (*weights, "projection_usd_per_kwh", "alpha_max", "alpha_spread"):
            if not getattr(self, name) >= 0:
                faults.append(f"{name} is {getattr(self, name)}, expected 0 or more")
        if self.network_split not in get_args(Split):
            known = ", ".join(get_args(Split))
            faults.append(f"network_split is {self.network_split!r}, expected one of {known}")
        for name in ("hidden", "critic_hidden"):
            widths = getattr(self, name)
            if not widths or min(widths) < 1:
                faults.append(f"{name} is {widths}, expected one or more positive widths")
        if not 0 <= self.adam_beta2 < 1:
            faults.append(f"adam_beta2 is {self.adam_beta2}, expected 0 or more, less than 1")
        if not 0 <= self.average < 1:
            faults.append(f"average is {self.average}, expected 0 or more, less than 1")
        raise_faults("gippo", faults)

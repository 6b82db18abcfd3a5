"""Settings of IPPO and MAPPO; RLlib is not loaded here."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, get_args

from gradmap.algorithms.config import PriceConfig
from gradmap.feeders.errors import raise_faults

Critic = Literal["local", "central", "central_per_agent"]
Split = Literal["even", "local"]


@dataclasses.dataclass(frozen=True)
class PPOSettings:
    """Settings of proximal policy optimisation with independent policies.

    Attributes:
        critic: `local` gives every agent a critic of its own observation
            (IPPO); `central` one trunk over the state of the whole feeder and
            a head for each agent (MAPPO); `central_per_agent` a whole network
            over that state for each agent.
        hidden: Width of each hidden layer of every agent's policy.
        critic_hidden: Width of each hidden layer of a critic, or of the
            central trunk.
        days_per_batch: Scenario-days in one batch, each a whole episode.
        learning_rate: Of Adam.
        learning_rate_final: Fraction of `learning_rate` left when the budget
            is used up; the rate falls along a half cosine.
        epochs: Passes over a batch, at most; see `kl_stop`.
        minibatches: Optimiser steps in one pass.
        clip: Clip of the probability ratio.
        discount: Of rewards, for each step.
        gae_lambda: Of generalised advantage estimation.
        entropy_bonus: Weight of the entropy in the loss.
        value_weight: Weight of the critic's squared error in the loss.
        grad_clip: Largest norm of the gradient of one agent; none for no clip.
        kl_stop: Divergence from the policy that sampled at which an agent's
            passes end, each agent alone; none for no stop.
        normalise_values: Whether critics learn values scaled by a running
            mean and deviation, each agent its own.
        log_std_initial: Logarithm of the exploration's initial deviation,
            before actions are squashed into (-1, 1).
        network_split: Who pays for a violation: `even` divides its price among
            all agents, `local` that of a voltage among the agents at its bus,
            where there are any. A price that many share teaches nobody, but
            what all others do drowns an agent's own part.
        network_weight: How many times the agents together pay the price.
        stored_usd_per_kwh: Worth of stored energy by which rewards are shaped,
            so that a battery is paid for charging at once; about the mean
            tariff. What is best to do does not depend on it.
        price: How constraints are priced, as for the methods that learn
            through the gradient.
        num_env_runners: Ray processes that sample, the days of a batch split
            evenly among them; 0 samples in this process.
        num_learners: Ray processes that learn; 0 learns in this process.
        ray_address: Ray cluster to join, such as `auto`; none for a private
            one on this machine.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    critic: Critic = "local"
    hidden: tuple[int, ...] = (16, 16)
    critic_hidden: tuple[int, ...] = (16, 16)
    days_per_batch: int = 8
    learning_rate: float = 1e-2
    learning_rate_final: float = 0.1
    epochs: int = 4
    minibatches: int = 4
    clip: float = 0.2
    discount: float = 0.985
    gae_lambda: float = 0.9
    entropy_bonus: float = 0.0
    value_weight: float = 0.5
    grad_clip: float | None = 0.5
    kl_stop: float | None = 0.05
    normalise_values: bool = True
    log_std_initial: float = -0.4
    network_split: Split = "local"
    network_weight: float = 10.0
    stored_usd_per_kwh: float = 0.2
    price: PriceConfig = PriceConfig(voltage_usd_per_pu=1000.0, overload_usd=100.0, dual_step=5e3)
    num_env_runners: int = 0
    num_learners: int = 0
    ray_address: str | None = None

    def __post_init__(self) -> None:
        faults = []
        for name in ("days_per_batch", "epochs", "minibatches"):
            if getattr(self, name) < 1:
                faults.append(f"{name} is {getattr(self, name)}, expected 1 or more")
        for name in ("learning_rate", "clip", "grad_clip", "kl_stop"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                faults.append(f"{name} is {value}, expected more than 0")
        for name in ("learning_rate_final", "discount", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                faults.append(f"{name} is {getattr(self, name)}, expected 0 to 1")
        weights = ("entropy_bonus", "value_weight", "stored_usd_per_kwh", "network_weight")
        for name in (*weights, "num_env_runners", "num_learners"):
            if not getattr(self, name) >= 0:
                faults.append(f"{name} is {getattr(self, name)}, expected 0 or more")
        for name, kind in (("critic", Critic), ("network_split", Split)):
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(get_args(kind))
                faults.append(f"{name} is {getattr(self, name)!r}, expected one of {known}")
        for name in ("hidden", "critic_hidden"):
            widths = getattr(self, name)
            if not widths or min(widths) < 1:
                faults.append(f"{name} is {widths}, expected one or more positive widths")
        if self.num_env_runners and self.days_per_batch % self.num_env_runners:
            faults.append(
                f"days_per_batch is {self.days_per_batch}, expected a multiple of "
                f"num_env_runners, {self.num_env_runners}"
            )
        raise_faults("ppo", faults)


MAPPO_SETTINGS = PPOSettings(critic="central", critic_hidden=(64, 64))
"""Settings of MAPPO unless others are given."""

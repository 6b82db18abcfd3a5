"""What every method that learns through the environment's gradient has in common."""

from __future__ import annotations

import abc
import copy
import dataclasses
from typing import Protocol

import torch
from torch import Tensor

from gradmap.algorithms.config import PriceConfig
from gradmap.algorithms.moments import adam_tensors, load_adam_tensors
from gradmap.algorithms.multipliers import Multipliers
from gradmap.algorithms.networks import Actors, warm_up
from gradmap.algorithms.rollout import Rollout
from gradmap.algorithms.schedule import cosine_fraction
from gradmap.envs.constraints import Violations, violations
from gradmap.envs.core import Core
from gradmap.envs.counters import Counters
from gradmap.envs.days import DaySampler
from gradmap.envs.outcome import Outcome
from gradmap.envs.policy import Policy


class GradientSettings(Protocol):
    """Settings that every method of this kind has; see `LearnerConfig`."""

    @property
    def hidden(self) -> tuple[int, ...]:
        """Width of each hidden layer of every agent's network."""
        ...

    @property
    def days_per_batch(self) -> int:
        """Scenario-days in one batch."""
        ...

    @property
    def learning_rate(self) -> float:
        """Of Adam."""
        ...

    @property
    def learning_rate_final(self) -> float:
        """Fraction of the rate left when the budget is used up."""
        ...

    @property
    def adam_beta2(self) -> float:
        """Memory of Adam's mean square of the gradients."""
        ...

    @property
    def average(self) -> float:
        """Share of the averaged weights that an iteration keeps."""
        ...

    @property
    def projection_usd_per_kwh(self) -> float:
        """Charge on setpoints that a device cannot follow."""
        ...

    @property
    def price(self) -> PriceConfig:
        """How constraints are priced."""
        ...


class GradientLearner(abc.ABC):
    """Independent networks, priced constraints, Adam; subclasses use the gradient.

    Args:
        core: The environment.
        config: Settings.
        seed: Seed of the initial weights and of the order of days.

    Attributes:
        flows_per_step: Power flows that an iteration solves for each step of its
            days: one forward and one adjoint, or less.
    """

    flows_per_step = 2

    def __init__(self, core: Core, config: GradientSettings, seed: int) -> None:
        self.core = core
        self.config = config
        self.counters = Counters()
        self.generator = torch.Generator().manual_seed(seed)
        sizes = (core.num_agents, core.num_features)
        actors = Actors(*sizes, config.hidden, self.generator, core.num_actions)
        self.actors = actors.to(core.device)
        warm_up(self.actors)
        self.averaged = copy.deepcopy(self.actors)
        self.prices = Multipliers(core, config.price)
        self.sampler = DaySampler(core.days("train"), config.days_per_batch, self.generator)
        self.optimiser = torch.optim.Adam(
            self.actors.parameters(),
            lr=config.learning_rate,
            betas=(0.9, config.adam_beta2),
            fused=True,
        )
        self.limits = core.limits.tightened(config.price.margin_pu)

    @property
    def multipliers(self) -> dict[str, Tensor] | None:
        """Prices by name, or None where the network is left out; see `Trainer`."""
        return None if self.config.price.kind == "none" else self.prices.tensors()

    @abc.abstractmethod
    def update(self, days: Tensor) -> Rollout:
        """Rolls out on `days` and improves the networks.

        Args:
            days: Index of each day. `[batch]`

        Returns:
            The days, as they were before the improvement.
        """

    def schedule(self, progress: float) -> None:
        """Sets what changes along the budget: here, the learning rate.

        Args:
            progress: Share of the budget used, 0 to 1.
        """
        fraction = cosine_fraction(progress, self.config.learning_rate_final)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * fraction

    def iterate(self, progress: float) -> dict[str, float]:
        """Makes one outer iteration; see `Trainer.iterate`."""
        self.schedule(progress)
        days = self.sampler.draw()
        outcome = self.update(days).outcome
        usable = outcome.is_usable[:, -1]
        with torch.no_grad():
            found = violations(outcome.flow, self.limits)
        self.prices.ascend(found, usable)
        self._average()
        num_steps = len(days) * self.core.num_steps
        self.counters.iterations += 1
        self.counters.env_gradients += 1
        self.counters.env_steps += num_steps
        # And the measurement before midnight.
        self.counters.power_flow_solves += self.flows_per_step * num_steps + len(days)
        return self._metrics(outcome, found, usable)

    @torch.no_grad()
    def _average(self) -> None:
        """Moves the averaged weights; the first iterations weigh alike."""
        made = self.counters.iterations
        moved = 1.0 - min(self.config.average, made / (made + 1))
        pairs = zip(self.averaged.parameters(), self.actors.parameters(), strict=True)
        for kept, now in pairs:
            kept.lerp_(now, moved)

    def objective(self, outcome: Outcome, steps: slice | None = None) -> Tensor:
        """The Lagrangian, mean over the usable days of a batch, $ per day.

        Args:
            outcome: A batch of days. `[batch, time, ...]`
            steps: Steps of the day that it holds; None for whole days.

        Returns:
            Scalar, differentiable.
        """
        priced = self.config.price.kind != "none"
        found = violations(outcome.flow, self.limits) if priced else None
        cost, clipped = outcome.cost_usd.sum((-3, -2, -1)), outcome.clipped_kw.sum((-2, -1))
        return self.lagrangian(cost, clipped, found, outcome.is_usable[:, -1], steps)

    def lagrangian(
        self,
        cost_usd: Tensor,
        clipped_kw: Tensor,
        found: Violations | None,
        usable: Tensor,
        steps: slice | None = None,
    ) -> Tensor:
        """The same from its parts.

        Args:
            cost_usd: Own cost of all agents. `[day]`
            clipped_kw: How far setpoints were led back, summed. `[day]`
            found: Violations, None where they have no price. `[day, time, ...]`
            usable: Days that count. `[day]`, bool
            steps: Steps of the day that `found` holds; None for whole days.

        Returns:
            Scalar, differentiable.
        """
        led_back = self.config.projection_usd_per_kwh * self.core.dt_hours
        cost = cost_usd + led_back * clipped_kw
        if found is not None:
            cost = cost + self.prices.charge(found, steps).sum(-1).to(cost.dtype)
        # `where`, not a product: a failed day holds NaN.
        cost = torch.where(usable, cost, torch.zeros_like(cost))
        return cost.sum() / usable.sum().clamp_min(1)

    @torch.no_grad()
    def _metrics(self, outcome: Outcome, found: Violations, usable: Tensor) -> dict[str, float]:
        """Figures of the rollout, with one transfer from the device."""
        cost = outcome.cost_usd.sum((-3, -2, -1))
        outside = ((found.over_pu > 0) | (found.under_pu > 0)).double().mean((-2, -1))
        num = usable.sum().clamp_min(1)
        values = {
            "cost_usd_per_day": torch.where(usable, cost, 0.0).sum() / num,
            "outside_band_pct": 100.0 * torch.where(usable, outside, 0.0).sum() / num,
            "clipped_kwh_per_day": self.core.dt_hours * outcome.clipped_kw.sum((-2, -1)).mean(),
            "failed_days": (~usable).sum(),
            "multiplier_max": torch.maximum(self.prices.over.max(), self.prices.under.max()),
            "multiplier_sum": self.prices.over.sum() + self.prices.under.sum(),
        }
        numbers = torch.stack([value.double() for value in values.values()]).tolist()
        return dict(zip(values, numbers, strict=True))

    def policy(self) -> Policy:
        """Returns actors with the averaged weights; see `LearnerConfig.average`."""
        return self.averaged

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that a resumed run needs; see `Trainer.state_dict`."""
        state = {f"actors.{k}": v.detach() for k, v in self.actors.state_dict().items()}
        averaged = self.averaged.state_dict()
        state.update({f"averaged.{k}": v.detach() for k, v in averaged.items()})
        state.update({f"adam.{k}": v for k, v in adam_tensors(self.optimiser).items()})
        state.update({f"prices.{k}": v for k, v in self.prices.tensors().items()})
        state["random"] = self.generator.get_state()
        state["sampler.order"] = self.sampler.order
        state["sampler.position"] = torch.tensor(self.sampler.position)
        state["counters"] = torch.tensor(dataclasses.astuple(self.counters))
        return {key: value.clone() for key, value in state.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` returned; see `Trainer.load_state_dict`."""

        def part(prefix: str) -> dict[str, Tensor]:
            cut = len(prefix)
            return {k[cut:]: v for k, v in state.items() if k.startswith(prefix)}

        self.actors.load_state_dict(part("actors."))
        self.averaged.load_state_dict(part("averaged."))
        load_adam_tensors(self.optimiser, part("adam."))
        self.prices.load(part("prices."))
        self.generator.set_state(state["random"].cpu())
        self.sampler.order = state["sampler.order"].cpu()
        self.sampler.position = int(state["sampler.position"])
        self.counters = Counters(*state["counters"].tolist())

    def close(self) -> None:  # noqa: B027 - nothing to close is the rule, not a gap
        """Does nothing; see `Trainer.close`."""

"""The joint environment with rewards that price the network by multipliers."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from gradmap.algorithms.config import PriceConfig
from gradmap.algorithms.multipliers import Multipliers
from gradmap.baselines.price_shares import PriceShares
from gradmap.baselines.rllib.config import Split
from gradmap.envs.constraints import Violations, violations
from gradmap.envs.core import Core
from gradmap.envs.joint_batch import Info, JointVectorEnv, Observations
from gradmap.envs.outcome import Outcome


@dataclasses.dataclass(frozen=True)
class DayRecord:
    """What learning needs to know of a batch of days besides the rewards.

    Attributes:
        found: Violations. `[batch, time, ...]`
        usable: Days whose power flows all converged. `[batch]`, bool
        cost_usd: Cost of each day, all agents together. `[batch]`
        clipped_kwh: Energy that devices could not follow. `[batch]`
    """

    found: Violations
    usable: Tensor
    cost_usd: Tensor
    clipped_kwh: Tensor


class PricedJointEnv(JointVectorEnv):
    """A batch of days whose rewards are minus own cost and part of the network's price.

    Rewards are shaped by a potential, the worth of the energy that a device
    holds: storing is paid at once and not only when the energy is sold, hours
    later. It is a difference of potentials (Ng, Harada and Russell 1999), not
    discounted, and given back at the day's end: it adds the same to every day
    that begins alike, so the cheapest policy of a day, which is what counts,
    stays the cheapest. With the learner's discount, holding energy would cost.

    A step after a power flow that failed has the reward NaN, from which
    learning knows to leave the day out.

    Args:
        core: The environment.
        num_envs: Days played together.
        price: How constraints are priced.
        split: Who pays for a violation; see `PPOSettings`.
        weight: How many times the agents together pay the price.
        stored_usd_per_kwh: Worth of stored energy by which rewards are shaped.

    Attributes:
        prices: The multipliers, moved by whoever trains.
    """

    def __init__(
        self,
        core: Core,
        num_envs: int,
        price: PriceConfig,
        split: Split = "local",
        weight: float = 1.0,
        stored_usd_per_kwh: float = 0.0,
    ) -> None:
        super().__init__(core, num_envs, per_agent=True)
        self.prices = Multipliers(core, price)
        self._shares = PriceShares(core, split, weight)
        self._stored_price = stored_usd_per_kwh
        self._limits = core.limits.tightened(price.margin_pu)
        self._steps: list[tuple[Violations, Outcome]] = []

    def _begin(self, days: Tensor) -> tuple[Observations, Info]:
        found = super()._begin(days)
        self._potential = self._worth()
        return found

    def _worth(self) -> Tensor:
        """Worth of what every agent has stored, $. `[batch, agent]`"""
        assert self.state is not None
        return self._stored_price * self.core.stored_kwh(self.state)

    def _rewards(self, outcome: Outcome, found: Violations, step: int) -> Tensor:
        if self.prices.config.margin_pu:
            found = violations(outcome.flow, self._limits)
        if step == 0:
            self._steps = []
        self._steps.append((found, outcome))
        reward = -outcome.cost_usd.sum(-1)
        if self.prices.config.kind != "none":
            priced = self._shares(*self.prices.charge_by_limit(found, step))
            reward = reward - priced.to(reward.dtype)
        before, self._potential = self._potential, self._worth()
        is_last = step == self.core.num_steps - 1
        reward = reward - before + (0.0 if is_last else self._potential)
        return torch.where(outcome.is_usable.unsqueeze(-1), reward, torch.nan)

    def record(self) -> DayRecord:
        """The batch of days that was played last, from its first step on."""
        found = [vars(found) for found, _ in self._steps]
        joined = {name: torch.stack([f[name] for f in found], dim=1) for name in found[0]}
        outcomes = [outcome for _, outcome in self._steps]
        return DayRecord(
            found=Violations(**joined),
            usable=outcomes[-1].is_usable,
            cost_usd=torch.stack([o.cost_usd.sum((-2, -1)) for o in outcomes]).sum(0),
            clipped_kwh=self.core.dt_hours
            * torch.stack([o.clipped_kw.sum(-1) for o in outcomes]).sum(0),
        )

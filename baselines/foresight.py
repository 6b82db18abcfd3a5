"""The perfect-foresight reference: all actions of a day chosen together.

Nobody could run it: it knows prices, weather and every load in advance, and
one optimiser steers all devices. It shows how cheap a feasible day can be.
The optimiser is first order: Adam on the actions of every day at once through
the differentiable core, with one multiplier for every day, step and limit. It
gives an upper bound of the optimal cost, not a proof of optimality.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from gradmap.algorithms.schedule import cosine_fraction
from gradmap.baselines.foresight_config import ForesightConfig
from gradmap.envs.constraints import Violations, violations
from gradmap.envs.core import Core
from gradmap.envs.counters import Counters
from gradmap.envs.policy import Policy
from gradmap.feeders.errors import GradmapError


class OpenLoopPolicy:
    """Replays actions chosen for known days.

    Args:
        days: The days that it knows. `[day]`
        action: Their actions. `[day, time, agent]`
    """

    def __init__(self, days: Tensor, action: Tensor) -> None:
        self._row = {int(day): row for row, day in enumerate(days.tolist())}
        self._action = action

    def reset(self, days: Tensor) -> None:
        """Begins a batch of days; see `Policy.reset`.

        Raises:
            GradmapError: If a day is not among those it was made for.
        """
        unknown = [day for day in days.tolist() if day not in self._row]
        if unknown:
            raise GradmapError(
                f"perfect foresight was computed for {len(self._row)} days, not for days "
                f"{unknown[:5]}; evaluate it on the split it was computed for"
            )
        rows = [self._row[day] for day in days.tolist()]
        self._today = self._action[torch.tensor(rows, device=self._action.device)]
        self._step = 0

    def act(self, observation: Tensor) -> Tensor:
        """Returns the actions chosen for the step; see `Policy.act`."""
        action = self._today[:, self._step]
        self._step += 1
        return action


class PerfectForesight:
    """Optimises every action of the days of a split; a `Trainer`.

    Args:
        core: The environment.
        config: Settings.
        split: The days.

    Raises:
        GradmapError: If the split has no days.
    """

    def __init__(self, core: Core, config: ForesightConfig, split: str = "test") -> None:
        self.core = core
        self.config = config
        self.counters = Counters()
        self.days = core.days(split)
        if not len(self.days):
            raise GradmapError(f"there are no days of split {split!r} to optimise; give some")
        shape = (len(self.days), core.num_steps, core.num_agents)
        self.action = torch.zeros(shape, device=core.device, requires_grad=True)
        self.optimiser = torch.optim.Adam([self.action], lr=config.learning_rate, fused=True)
        self._limits = core.limits.tightened(config.margin_pu)
        nodes, branches = len(core.limits.monitored), len(core.feeder.branches)
        voltage, overload = config.voltage_usd_per_pu, config.overload_usd

        def full(size: int, value: float) -> Tensor:
            return torch.full((*shape[:2], size), value, device=core.device)

        self._prices = Violations(
            full(nodes, voltage), full(nodes, voltage), full(branches, overload)
        )

    @property
    def multipliers(self) -> dict[str, Tensor] | None:
        """Mean multipliers of the days, by name; see `Trainer`."""
        return {name: value.mean(0) for name, value in vars(self._prices).items()}

    def iterate(self, progress: float) -> dict[str, float]:
        """One gradient step on all days, then the multipliers; see `Trainer.iterate`."""
        fraction = cosine_fraction(progress, self.config.learning_rate_final)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * fraction
        outcome = self.core.run_open_loop(self.days, self.action)
        found = violations(outcome.flow, self._limits)
        cost = outcome.cost_usd.sum()
        charge = self.config.projection_usd_per_kwh * self.core.dt_hours
        loss = cost + charge * outcome.clipped_kw.sum()
        for price, violation in zip(vars(self._prices).values(), vars(found).values(), strict=True):
            priced = torch.where(outcome.is_usable.unsqueeze(-1), violation, 0.0)
            loss = loss + (price * priced).sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            self.action.clamp_(-1.0, 1.0)
            for price, violation in zip(
                vars(self._prices).values(), vars(found).values(), strict=True
            ):
                price *= torch.where(violation > 0, self.config.dual_growth, 1.0)
        self._count()
        outside = ((found.over_pu > 0) | (found.under_pu > 0)).double().mean()
        days = len(self.days)
        return {
            "cost_usd_per_day": cost.item() / days,
            "outside_band_pct": 100.0 * outside.item(),
            "failed_days": float((~outcome.is_usable[:, -1]).sum().item()),
        }

    def _count(self) -> None:
        num_steps = len(self.days) * self.core.num_steps
        self.counters.iterations += 1
        self.counters.env_gradients += 1
        self.counters.env_steps += num_steps
        self.counters.power_flow_solves += 2 * num_steps + len(self.days)

    def policy(self) -> Policy:
        """Returns the actions as they stand; see `Trainer.policy`."""
        return OpenLoopPolicy(self.days, self.action.detach().clone())

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that a resumed run needs; see `Trainer.state_dict`."""
        state = {"action": self.action.detach(), "days": self.days}
        for name, value in self.optimiser.state_dict()["state"].get(0, {}).items():
            state[f"adam.{name}"] = value
        state.update({f"prices.{k}": v for k, v in vars(self._prices).items()})
        state["counters"] = torch.tensor(dataclasses.astuple(self.counters))
        return {key: value.clone() for key, value in state.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` returned; see `Trainer.load_state_dict`.

        Raises:
            GradmapError: If it was computed for other days.
        """
        if not torch.equal(state["days"].to(self.days.device), self.days):
            raise GradmapError(
                f"perfect foresight was computed for {len(state['days'])} other days; "
                "compute it again"
            )
        with torch.no_grad():
            self.action.copy_(state["action"])
            for name, value in vars(self._prices).items():
                value.copy_(state[f"prices.{name}"])
        # Adam would take the tensors themselves over, and change the caller's.
        moments = {k[5:]: v.clone() for k, v in state.items() if k.startswith("adam.")}
        if moments:
            self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": {0: moments}})
        self.counters = Counters(*state["counters"].tolist())

    def close(self) -> None:
        """Does nothing; see `Trainer.close`."""

"""The perfect-foresight reference: all actions of a day chosen together, with a certificate.

Nobody could run it: it knows prices, weather and every load in advance, and
one optimiser steers all devices. It shows how cheap a feasible day can be, and
how far below no day can be: see `gradmap.baselines.dispatch.successive`.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from gradmap.baselines.dispatch.cuts import Cuts
from gradmap.baselines.dispatch.sensitivity import refuse_free_reactive
from gradmap.baselines.dispatch.successive import Day, Played
from gradmap.baselines.foresight_config import ForesightConfig
from gradmap.baselines.idle import IdlePolicy
from gradmap.envs.constraints import Violations
from gradmap.envs.core import Core
from gradmap.envs.counters import Counters
from gradmap.envs.policy import Policy
from gradmap.feeders.errors import GradmapError

_FIGURES = ("cost", "excess", "outside", "bound", "alone", "rounds")
"""What is kept of a day: of its best actions cost in $, largest excess and
node-steps outside the band; its lower bound with and without network; its rounds."""


_FREE_ROUNDS = 4
"""Rounds of a day after which the charge on changes of power begins to double."""

_DOUBLINGS = 5
"""How often it doubles: a charge without end would keep a day where it is, and its bound loose."""

_PATIENCE = 12
"""Rounds after which a day waits for the others."""

_HALVINGS = 6
"""Steps towards idle devices in search of a power flow."""

_SHARE = 0.02
"""Share of a day's cost without a network that leaving a limit counts for."""


class OpenLoopPolicy:
    """Replays actions chosen for known days.

    Args:
        days: The days that it knows. `[day]`
        action: Their actions. `[day, time, *Core.action_shape]`
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

    An iteration is one round of one day, the day whose turn it is.

    Args:
        core: The environment.
        config: Settings.
        split: The days.
        days: Index of each day, in place of those of the split. `[day]`

    Attributes:
        core: The environment.
        config: Settings.
        counters: What has been used so far.
        days: The days. `[day]`
        action: The best actions so far: those of least cost that keep every
            limit, or exceed one least. `[day, time, agent]`, float32

    Raises:
        GradmapError: If the split has no days, or reactive power is a free choice.
    """

    def __init__(
        self,
        core: Core,
        config: ForesightConfig,
        split: str = "test",
        days: Tensor | None = None,
    ) -> None:
        refuse_free_reactive(core)
        self.core = core
        self.config = config
        self.counters = Counters()
        self.days = core.days(split) if days is None else days
        if not len(self.days):
            raise GradmapError(f"there are no days of split {split!r} to optimise; give some")
        num, steps = len(self.days), core.num_steps
        idle = IdlePolicy(core).act(core.observe(core.reset(self.days[:1])))[0]
        self.action = idle.expand(num, steps, -1).clone()
        self._now = self.action.clone()
        self._alone = torch.zeros(num, steps, core.num_agents)
        self._figures = torch.full((num, len(_FIGURES)), math.nan, dtype=torch.float64)
        self._figures[:, _FIGURES.index("rounds")] = 0.0
        self._cuts = [Cuts.none() for _ in range(num)]
        self._known: list[list[Played]] = [[] for _ in range(num)]
        nodes, branches = len(core.limits.monitored), len(core.feeder.branches)
        self._prices = Violations(*(torch.zeros(num, steps, k) for k in (nodes, nodes, branches)))

    @property
    def multipliers(self) -> dict[str, Tensor] | None:
        """Mean prices of the days, by name; see `Trainer`."""
        return {name: value.mean(0) for name, value in vars(self._prices).items()}

    def _figure(self, name: str) -> Tensor:
        """A column of figures, as a view. `[day]`"""
        return self._figures[:, _FIGURES.index(name)]

    def lower_bound_usd(self) -> Tensor | None:
        """Lower bound of the cost of each day, $, in the order of `days`.

        Returns:
            `[day]`, float64; None while there is a day without one. The larger
            of the bound without a network, which is exact, and that of the
            last round, whose network is linear with a measured error.
        """
        bound = self._figure("bound").clone()
        return None if bool(bound.isnan().any()) else bound

    def iterate(self, progress: float) -> dict[str, float]:
        """One round of the day whose turn it is; see `Trainer.iterate`."""
        row = self._next()
        day = Day(self.core, self.days[row : row + 1], self.config)
        first = not self._figure("rounds")[row]
        if first:
            self._begin(row, day)
        else:
            self._improve(row, day)
        self._figure("rounds")[row] += 1
        self._count()
        return self._metrics()

    def _next(self) -> int:
        """Begins every day, then finishes one after the other, then goes round."""
        rounds = self._figure("rounds")
        if bool((rounds == 0).any()):
            return int((rounds == 0).int().argmax())
        is_open = ~self._is_done() & (rounds < _PATIENCE)
        if bool(is_open.any()):
            return int(torch.where(is_open, rounds, -1.0).argmax())
        return int((rounds + _PATIENCE * self._is_done()).argmin())

    @property
    def is_done(self) -> bool:
        """Whether every day keeps all limits with a small gap."""
        return bool(self._is_done().all())

    def _is_done(self) -> Tensor:
        """Whether a day keeps all limits with a small gap. `[day]`"""
        cost, bound = self._figure("cost"), self._figure("bound")
        is_close = (cost - bound) <= self.config.gap * cost.abs()
        return is_close & (self._figure("excess") == 0)

    def _first_cuts(self, row: int) -> Cuts:
        """Cuts to begin a day with: those of the nearest day that is done."""
        done = self._is_done().nonzero().flatten()
        if not len(done):
            return Cuts.none()
        return self._cuts[int(done[(done - row).abs().argmin()])]

    def _begin(self, row: int, day: Day) -> None:
        """A day's first round: idle devices, and devices without a network."""
        idle = self.action[row].cpu()
        self._keep(row, day.play(idle))
        action, bound = day.alone()
        alone = day.play(action)
        self._alone[row] = alone.p_kw.float()
        self._figure("alone")[row] = self._figure("bound")[row] = bound
        self._keep(row, alone)
        # Where even the power flow fails, the plan starts from a calmer day.
        for _ in range(_HALVINGS):
            if math.isfinite(alone.excess):
                break
            action = 0.5 * (action + idle)
            alone = day.play(action)
        self._now[row] = alone.action.to(self._now.device)
        self.counters.power_flow_solves += 2 * self.core.num_steps

    def _improve(self, row: int, day: Day) -> None:
        now = self._play(row, day, self._now[row])
        if math.isinf(now.excess):  # a day that has no power flow at all
            return
        is_feasible = bool(self._figure("excess")[row] == 0)
        best = self._play(row, day, self.action[row]) if is_feasible else None
        late = min(max(0.0, float(self._figure("rounds")[row]) - _FREE_ROUNDS), _DOUBLINGS)
        weight = self.config.weight_usd * 2.0**late
        alone_kw = self._alone[row].double()
        cuts = self._cuts[row] if len(self._cuts[row]) else self._first_cuts(row)
        found = day.improve(now, best, alone_kw, cuts, weight)
        self._cuts[row] = found.cuts
        self._figure("bound")[row] = max(found.bound_usd, float(self._figure("alone")[row]))
        for price, new in zip(
            vars(self._prices).values(), vars(found.prices).values(), strict=True
        ):
            price[row] = new
        self.counters.power_flow_solves += found.num_solves
        self._keep(row, found.played)
        if math.isfinite(found.played.excess):
            self._now[row] = found.played.action.to(self._now.device)
        self._known[row] = [each for each in (found.played, now, best) if each is not None]

    def _play(self, row: int, day: Day, action: Tensor) -> Played:
        """Runs actions, unless the round before has: where taps are alive that takes long."""
        action = action.cpu()
        known = (each for each in self._known[row] if torch.equal(each.action, action))
        return next(known, None) or day.play(action)

    def _keep(self, row: int, played: Played) -> None:
        """Keeps a dispatch that is better than the best; see `_merit`."""
        best = [float(self._figure(name)[row]) for name in ("cost", "excess")]
        if math.isnan(best[0]) or self._merit(row, played.cost_usd, played.excess) < self._merit(
            row, *best
        ):
            self.action[row] = played.action.to(self.action.device)
            self._figure("excess")[row] = played.excess
            self._figure("cost")[row] = played.cost_usd
            self._figure("outside")[row] = played.num_outside

    def _merit(self, row: int, cost_usd: float, excess: float) -> float:
        """Cost, $, and for leaving a limit a share of the day and a price of the depth.

        The share decides between dispatches near the optimum, so that a
        feasible one is kept; the price lets go of idle devices, feasible at
        many times the cost, for a dispatch that leaves a limit by a hair.
        """
        if excess == 0:
            return cost_usd
        alone = self._figure("alone")[row].nan_to_num(0.0).abs().item()
        return cost_usd + _SHARE * (1.0 + alone) + 10.0 * self.config.limit_usd * excess

    def _metrics(self) -> dict[str, float]:
        """Means of the days that have begun."""
        has_begun = self._figure("rounds") > 0
        figures = {name: self._figure(name)[has_begun] for name in _FIGURES}
        cells = self.core.num_steps * len(self.core.limits.monitored)
        return {
            "cost_usd_per_day": float(figures["cost"].mean()),
            "lower_bound_usd_per_day": float(figures["bound"].mean()),
            "outside_band_pct": 100.0 * float(figures["outside"].mean()) / cells,
            "infeasible_days": float((figures["excess"] > 0).sum()),
            "failed_days": float(figures["excess"].isinf().sum()),
        }

    def _count(self) -> None:
        self.counters.iterations += 1
        self.counters.env_gradients += 1
        self.counters.env_steps += self.core.num_steps

    def policy(self) -> Policy:
        """Returns the best actions so far; see `Trainer.policy`."""
        return OpenLoopPolicy(self.days, self.action.clone())

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that a resumed run needs; see `Trainer.state_dict`."""
        cuts = [
            np.column_stack((np.full(len(each), float(row)), *dataclasses.astuple(each)))
            for row, each in enumerate(self._cuts)
        ]
        state = {
            "action": self.action,
            "now": self._now,
            "alone": self._alone,
            "days": self.days,
            "figures": self._figures,
            "cuts": torch.from_numpy(np.concatenate(cuts)),
            "counters": torch.tensor(dataclasses.astuple(self.counters)),
        }
        state.update({f"prices.{k}": v for k, v in vars(self._prices).items()})
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
        self.action.copy_(state["action"])
        self._now.copy_(state["now"])
        self._alone.copy_(state["alone"])
        self._figures.copy_(state["figures"])
        for name, value in vars(self._prices).items():
            value.copy_(state[f"prices.{name}"])
        table = state["cuts"].cpu().numpy()
        for row in range(len(self.days)):
            _, step, kind, index, angle = table[table[:, 0] == row].T
            step, kind, index = (column.astype(np.int64) for column in (step, kind, index))
            self._cuts[row] = Cuts(step, kind, index, angle.copy())
        self.counters = Counters(*state["counters"].tolist())

    def close(self) -> None:
        """Does nothing; see `Trainer.close`."""

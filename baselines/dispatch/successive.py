"""One day by successive convex problems, each around the power flow of the last.

A round takes the three-phase power flow of a dispatch, adds cuts where it
exceeds a limit, writes all cuts around it anew, and solves the convex problem
of the whole day. What comes out is run through the environment again.

The same problem gives a lower bound. Its devices are exact; its limits are
straight lines. A dispatch that keeps the true limits may lie outside the
straight ones by what linearisation misses, `slack_r` at row `r`; a price
`lambda_r` then takes off `lambda_r slack_r` of the bound. The slack is
measured: the largest miss at the solution, at the cheapest feasible dispatch
known and at dispatches drawn around them.

Where taps are alive, a round takes them as the last play left them, and there
is no such bound: a dispatch may move them.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from gradmap.baselines.dispatch.cuts import (
    CURRENT,
    OVER,
    UNDER,
    Cuts,
    Point,
    Tangents,
    add_cuts,
    tangents,
)
from gradmap.baselines.dispatch.devices import Array, fleet_blocks
from gradmap.baselines.dispatch.horizon import Horizon
from gradmap.baselines.dispatch.interior import Solution, solve_interior
from gradmap.baselines.dispatch.problem import actions_of, no_rows
from gradmap.baselines.dispatch.responses import responses
from gradmap.baselines.dispatch.rows import UNIT
from gradmap.baselines.dispatch.sensitivity import Groups, solve_grid
from gradmap.baselines.foresight_config import ForesightConfig
from gradmap.envs.constraints import Violations
from gradmap.envs.core import Core
from gradmap.envs.outcome import Outcome
from gradmap.feeders.powerflow.solve import PowerFlow

_FAR, _CHEAP = 5e-3, 1.0
"""A cut that is as far from binding and whose price is below so many $ per
p.u. or rating is dropped; it comes back where it is needed."""

_NEAR = 0.1  # excess, p.u. or share of a rating, below which a problem is solved in earnest


@dataclasses.dataclass(frozen=True)
class Played:
    """A dispatch of one day, run through the environment.

    Attributes:
        action: Actions, float32. `[time, agent]`
        p_kw: Power drawn, float64. `[time, agent]`
        flow: The power flow. `[time]`
        cost_usd: Cost of the day, $.
        excess: Largest excess over any limit, p.u. or share of a rating; 0 if
            all are kept, infinite if a power flow did not converge.
        num_outside: Node-steps outside the voltage band.
    """

    action: Tensor
    p_kw: Tensor
    flow: PowerFlow
    cost_usd: float
    excess: float
    num_outside: int


@dataclasses.dataclass(frozen=True)
class Round:
    """What a round found.

    Attributes:
        played: Its dispatch.
        cuts: The cuts that it held and that are worth holding.
        bound_usd: Lower bound of the day's cost, $.
        prices: Price of each limit, $ per p.u. or rating. `[time, ...]` each
        num_solves: Power flows solved.
    """

    played: Played
    cuts: Cuts
    bound_usd: float
    prices: Violations
    num_solves: int


class Day:
    """A day of a core.

    Args:
        core: The environment.
        day: Index of the day. `[1]`, int64
        config: Settings.
    """

    def __init__(self, core: Core, day: Tensor, config: ForesightConfig) -> None:
        self.core, self.day, self.config = core, day, config
        self._groups = Groups.of(core)
        index, days = int(day), core.scenarios
        today = core.day_surroundings(day)
        names = ("base_p_kw", "base_q_kvar", "pv_kw")
        base = [torch.tensor(getattr(days, name)[index]) for name in names]
        self._base = (base[0], base[1], base[2])
        horizon = Horizon(
            torch.tensor(days.tariff_usd_per_kwh[index])[None],
            torch.tensor(days.temp_outdoor_degc[index])[None],
            core.refill_usd_per_kwh,
            core.dt_hours,
            hour=None if today.hour is None else today.hour.squeeze(-1),
            sun_pu=None if today.sun_pu is None else today.sun_pu.squeeze(-1),
        )
        self._blocks = fleet_blocks(core.fleets, core.reset(day).devices, horizon)
        sizes = [fleet.num_devices for fleet in core.fleets]
        self._group = [part.numpy() for part in self._groups.group.split(sizes)]

    def play(self, action: Tensor) -> Played:
        """Runs actions through the environment.

        Args:
            action: Actions. `[time, agent]`, float32
        """
        with torch.no_grad():
            outcome = self.core.run_open_loop(self.day, action.to(self.core.device)[None])
        return _read(self.core, action, outcome)

    def alone(self) -> tuple[Tensor, float]:
        """The devices without a network.

        Returns:
            Their actions, `[time, agent]`, and a lower bound of the day's
            cost that is exact but for rounding, $.
        """
        rows = no_rows(1, self.core.num_steps)[0]
        found = solve_interior(
            self._blocks[0],
            [0 * part for part in self._group],
            rows,
            price_max=1.0,
            tolerance=0.1 * self.config.tolerance,
        )
        return self._actions(found), found.bound_usd

    def _actions(self, found: Solution) -> Tensor:
        return torch.cat(actions_of(self._blocks, [found]), -1)[0]

    def improve(
        self,
        now: Played,
        best: Played | None,
        alone_kw: Tensor,
        cuts: Cuts,
        weight_usd: float,
    ) -> Round:
        """Makes a round.

        Args:
            now: The dispatch to linearise around; its power flow converged.
            best: The cheapest feasible dispatch so far, if there is one.
            alone_kw: Power of the devices without a network. `[time, agent]`
            cuts: The cuts so far.
            weight_usd: See `Block.near`: what keeps a round near the last.
        """
        config, limits = self.config, self.core.limits
        group_kw = self._groups.total(now.p_kw)
        point = Point(now.flow, limits)
        response = responses(now.flow, self._base, self._groups, group_kw)
        most = (config.voltage_cuts, config.current_cuts)
        cuts = add_cuts(cuts, point, response, -0.5 * config.margin_pu, most)
        problem = tangents(point, response, group_kw.numpy(), cuts, config.margin_pu)
        blocks = self._blocks[0]
        parts = now.p_kw.split([block.shape[2] for block in blocks], -1)
        found = solve_interior(
            [block.near(p.numpy(), weight_usd) for block, p in zip(blocks, parts, strict=True)],
            self._group,
            problem.rows,
            price_max=config.limit_usd * UNIT,
            # A network that is far off yet is not worth solving to the last cent.
            tolerance=config.tolerance if now.excess < _NEAR else 10.0 * config.tolerance,
            plain=blocks,
        )
        played = self.play(self._actions(found))
        price = found.price[cuts.step, problem.slot] / UNIT
        known = [each for each in (now, best) if each is not None]
        slack, solves = self._slack(problem, played, known, alone_kw)
        bound = found.bound_usd - float((price * (slack + config.margin_pu)).sum())
        if self.core.regulation is not None:
            bound = -math.inf  # other taps, other limits: the prices bound nothing
        solves += 2 * self.core.num_steps
        left = problem.at + (
            problem.slope * self._groups.total(played.p_kw).numpy()[cuts.step]
        ).sum(1)
        is_near = (problem.ends - left < _FAR) | (price > _CHEAP)
        return Round(played, cuts.only(is_near), bound, self._prices(cuts, price), solves)

    def _slack(
        self, problem: Tangents, played: Played, known: list[Played], alone_kw: Tensor
    ) -> tuple[Array, int]:
        """By how much each row is overstated at most, and the power flows this took. `[cut]`"""
        cuts, config = problem.cuts, self.config
        found = np.zeros(len(cuts))
        if not len(cuts):
            return found, 0
        flows = [(each.flow, self._groups.total(each.p_kw)) for each in (played, *known)]
        centre = flows[0][1]
        away = self._groups.total(alone_kw) - centre
        generator = torch.Generator().manual_seed(int(self.day))
        for _ in range(config.samples):
            draw = 2.0 * torch.rand(away.shape, generator=generator, dtype=torch.float64) - 1.0
            step = 2.0 * torch.rand((len(away), 1), generator=generator, dtype=torch.float64) - 1.0
            drawn = centre + config.spread * (draw + step) * away
            grid = (self.core, self._base, self._groups, drawn)
            flows.append((solve_grid(*grid, played.flow), drawn))
        for flow, group_kw in flows:
            if bool(flow.converged.all()):
                true = Point(flow, self.core.limits).left(cuts, problem.angle)
                line = problem.at + (problem.slope * group_kw.numpy()[cuts.step]).sum(1)
                found = np.maximum(found, line - true)
        return found, config.samples * self.core.num_steps

    def _prices(self, cuts: Cuts, price: Array) -> Violations:
        """Prices laid out by limit."""
        core = self.core
        num_steps, monitored = core.num_steps, len(core.limits.monitored)
        branch = core.network.conductor_branch.cpu().numpy()
        parts = []
        for kind, size in ((OVER, monitored), (UNDER, monitored), (CURRENT, None)):
            own = cuts.kind == kind
            index = cuts.index[own] if size else branch[cuts.index[own]]
            laid = np.zeros((num_steps, size or len(core.feeder.branches)))
            np.add.at(laid, (cuts.step[own], index), price[own])
            parts.append(torch.from_numpy(laid).float())
        return Violations(*parts)


def _read(core: Core, action: Tensor, outcome: Outcome) -> Played:
    flow = outcome.flow
    flow = dataclasses.replace(
        flow,
        converged=flow.converged[0],
        iterations=flow.iterations[0],
        residual=flow.residual[0],
    )
    excess, num_outside = float("inf"), 0
    if bool(outcome.is_usable.all()):
        limits = core.limits
        size = flow.v_magnitude_pu[..., limits.monitored]
        out = torch.maximum(size - limits.vmax_pu, limits.vmin_pu - size)
        load = flow.branch_loading - limits.loading_max
        excess = max(float(out.max()), float(load.max()), 0.0)
        num_outside = int((out > 0).sum())
    cost = float(outcome.cost_usd.double().sum())
    p_kw = outcome.p_kw[0].cpu().double()
    return Played(action.cpu(), p_kw, flow, cost, excess, num_outside)

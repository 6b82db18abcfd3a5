"""The linear network of the receding-horizon controller.

Complex voltages and currents are nearly linear in what devices draw: their
slopes are taken once, at the mean load of the training days. Limits hold for
magnitudes, whose slopes depend on the phasors' directions, those of currents
above all, as power may flow either way: they follow from the complex slopes
and the AC power flow at every plan's operating point. So do the magnitudes
themselves, and what linearisation misses is of second order in how far the
new plan is from the last.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gradmap.baselines.dispatch import Dispatch, GridModel, Groups
from gradmap.baselines.dispatch.rows import Choice
from gradmap.baselines.dispatch.sensitivity import solve_grid
from gradmap.baselines.zones import Zones
from gradmap.envs.core import Core
from gradmap.feeders.powerflow.solve import PowerFlow

LEAST_USD = 1.0
"""Price of a p.u. or rating below which a row is not carried to the next plan."""

_NUDGE_KW = 5.0


class RecedingGrid:
    """The linear model, and what measurements say of it.

    Base load keeps the power factor of its rated point. Voltages are measured
    at terminals with agents and limits hold at nodes: a node takes the
    mismatch of the terminal whose power moves it most, which on a feeder is
    the nearest one of its phase.

    Args:
        core: The environment.
        num_zones: Zones by which devices are gathered; see `Zones`.

    Attributes:
        zones: The units of devices.
    """

    def __init__(self, core: Core, num_zones: int) -> None:
        self._core = core
        self._groups = Groups.of(core)
        terminals = core.feeder.terminals
        tangent = terminals.q_kvar / np.where(terminals.p_kw == 0, np.inf, terminals.p_kw)
        self._q_per_p = torch.tensor(tangent, dtype=torch.float32, device=core.device)
        limits, num_conductors = core.limits, len(core.network.conductor_branch)
        self._num_nodes = len(limits.monitored)
        nodes = torch.ones(self._num_nodes, dtype=torch.float64)
        conductors = torch.ones(num_conductors, dtype=torch.float64)
        self._low = torch.cat((limits.vmin_pu * nodes, -torch.inf * conductors))
        self._high = torch.cat((limits.vmax_pu * nodes, limits.loading_max * conductors))
        self._take_slopes()
        magnitude = self._slopes[: self._num_nodes].abs()
        self._nearest = self._groups.terminal[magnitude.argmax(-1)]
        self.zones = Zones(core, magnitude, num_zones)
        self._zone_slopes = self._slopes @ self.zones.share.to(self._slopes.dtype)
        self._offset = torch.zeros(1, self._num_nodes, dtype=torch.float64)

    def _take_slopes(self) -> None:
        """Nudges every group in turn, at the mean of the training days."""
        core, num = self._core, len(self._groups.terminal)
        train = core.days("train").cpu().numpy()
        load, sun = (
            torch.tensor(getattr(core.scenarios, name)[train].mean((0, 1))).to(core.device)
            for name in ("base_p_kw", "pv_kw")
        )
        nudged = torch.cat((torch.zeros(1, num), _NUDGE_KW * torch.eye(num))).double()
        load, sun = load.expand(num + 1, -1), sun.expand(num + 1, -1)
        phasors = self._phasors(self._solve(load, sun, nudged))
        self._usual = phasors[0]
        self._slopes = ((phasors[1:] - phasors[0]) / _NUDGE_KW).T

    def _solve(self, base_p_kw: Tensor, pv_kw: Tensor, group_kw: Tensor) -> PowerFlow:
        base = (base_p_kw, base_p_kw * self._q_per_p, pv_kw)
        return solve_grid(self._core, base, self._groups, group_kw)

    def _phasors(self, flow: PowerFlow) -> Tensor:
        """Voltages of the monitored nodes in p.u., currents over ratings. `[..., phasor]`"""
        current = flow.branch_current_a / self._core.network.rating_a
        return torch.cat((flow.v_pu[..., self._core.limits.monitored], current), -1).cpu()

    def begin(self, num_days: int) -> None:
        """Begins a batch of days, of which nothing is measured yet."""
        self._offset = torch.zeros(num_days, self._num_nodes, dtype=torch.float64)

    def around(
        self,
        own: slice,
        base_p_kw: Tensor,
        pv_kw: Tensor,
        unit_kw: Tensor,
        told_kw: Tensor | None = None,
        tighter_pu: float = 0.0,
    ) -> GridModel:
        """The model of the steps to come, corrected by the last mismatch measured.

        Args:
            own: Which days of the batch.
            base_p_kw: Base load as forecast. `[batch, time, terminal]`
            pv_kw: Photovoltaic generation, likewise.
            unit_kw: The units' power to linearise around. `[batch, time, unit]`
            told_kw: The agents' power in the first step, where that is known.
                `[batch, agent]`
            tighter_pu: How much nearer its limits the first step is taken to
                be than it is.
        """
        p_kw = self.zones.agent_kw(unit_kw)
        if told_kw is not None:
            p_kw[:, 0] = told_kw.cpu()
            unit_kw = unit_kw.clone()
            unit_kw[:, 0] = self.zones.unit_kw(told_kw)
        group_kw = self._groups.total(p_kw)
        phasors = self._phasors(self._solve(base_p_kw, pv_kw, group_kw))
        # Where there is no power flow to be had, the line from the usual point goes on.
        line = self._usual + group_kw.to(phasors.dtype) @ self._slopes.T
        phasors = torch.where(phasors.isfinite(), phasors, line)
        value = phasors.abs()
        unit, slopes = phasors / value.clamp_min(1e-9), self._zone_slopes
        value[..., : self._num_nodes] += self._offset[own].unsqueeze(1)
        # A loading has one limit, a voltage two: towards the nearer one.
        is_upper = self._high - value[:, 0] < value[:, 0] - self._low
        value[:, 0] += torch.where(is_upper, tighter_pu, -tighter_pu)
        return GridModel(
            value=value,
            per_kw=unit.real.unsqueeze(-1) * slopes.real + unit.imag.unsqueeze(-1) * slopes.imag,
            group_kw=self.zones.by_zone(unit_kw),
            low=self._low,
            high=self._high,
            group=self.zones.group,
        )

    def excess(self, own: slice, base_p_kw: Tensor, pv_kw: Tensor, p_kw: Tensor) -> float:
        """Returns how far AC power flow is beyond a limit in one step, 0 within.

        Args:
            own: Which days of the batch.
            base_p_kw: Base load. `[batch, terminal]`
            pv_kw: Photovoltaic generation. `[batch, terminal]`
            p_kw: Power of the agents. `[batch, agent]`
        """
        value = self._phasors(self._solve(base_p_kw, pv_kw, self._groups.total(p_kw))).abs()
        value[..., : self._num_nodes] += self._offset[own]
        beyond = torch.maximum(value - self._high, self._low - value)
        return max(float(torch.nan_to_num(beyond).max()), 0.0)

    def expect(self, base_p_kw: Tensor, pv_kw: Tensor, p_kw: Tensor) -> None:
        """Solves the step that is about to happen.

        Args:
            base_p_kw: Base load. `[batch, terminal]`
            pv_kw: Photovoltaic generation. `[batch, terminal]`
            p_kw: What the agents are told to draw. `[batch, agent]`
        """
        flow = self._solve(base_p_kw, pv_kw, self._groups.total(p_kw))
        num_loads = self._core.network.num_load_terminals
        self._expected = flow.v_terminal_magnitude_pu[..., :num_loads].cpu()

    def compare(self, v_measured_pu: Tensor) -> None:
        """Takes the mismatch of the step that `expect` solved.

        Args:
            v_measured_pu: What was measured then, NaN where nobody measures.
                `[batch, terminal]`
        """
        mismatch = v_measured_pu.cpu() - self._expected
        # A model without a solution has nothing to say.
        self._offset = torch.nan_to_num(mismatch)[:, self._nearest]


def next_choice(found: Dispatch, skip: int, num_steps: int) -> Choice:
    """The rows that bind in a plan, as a start for a later one.

    Args:
        found: The plan.
        skip: Steps that have passed since.
        num_steps: Steps of the later plan.

    Returns:
        The choice; steps beyond the plan have no rows.
    """
    assert found.price_usd is not None
    price = found.price_usd.numpy()[:, skip : skip + num_steps]
    size = np.abs(price)
    slots = max(int((size > LEAST_USD).sum(-1).max(initial=0)), 1)
    order = np.argsort(-size, axis=-1)[..., :slots]
    used = np.take_along_axis(size, order, -1) > LEAST_USD
    high = np.take_along_axis(price, order, -1) > 0
    shape = (len(price), num_steps, slots)
    limit, is_high = np.full(shape, -1), np.zeros(shape, bool)
    limit[:, : price.shape[1]] = np.where(used, order, -1)
    is_high[:, : price.shape[1]] = high & used
    return Choice(limit, is_high)

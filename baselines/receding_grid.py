"""The linear network of the receding-horizon controller.

Slopes are taken once a day, for every step: they hardly move with what the
devices do. Voltages and loadings are those of the AC power
flow at every new plan's operating point, so that what linearisation misses
is only second order in how far the new plan is from the last.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gradmap.baselines.dispatch import Dispatch, GridModel, Groups, grid_values, linearise
from gradmap.baselines.dispatch.rows import Choice
from gradmap.baselines.zones import Zones
from gradmap.envs.core import Core
from gradmap.feeders.powerflow.solve import solve_power_flow

LEAST_USD = 1.0
"""Price of a p.u. or rating below which a row is not carried to the next plan."""


class RecedingGrid:
    """The linear model, and what measurements say of it.

    Base load keeps the power factor of its rated point. Voltages are measured
    at terminals with agents and limits hold at nodes: a node takes the
    mismatch of the terminal whose power moves it most, which on a feeder is
    the nearest one of its phase.

    Args:
        core: The environment.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._groups = Groups.of(core)
        terminals = core.feeder.terminals
        tangent = terminals.q_kvar / np.where(terminals.p_kw == 0, np.inf, terminals.p_kw)
        self._q_per_p = torch.tensor(tangent, dtype=torch.float32, device=core.device)

    def slopes(self, base_p_kw: Tensor, pv_kw: Tensor) -> Tensor:
        """Returns the slopes at one load, devices idle. `[limit, group]`

        Args:
            base_p_kw: Base load. `[terminal]`
            pv_kw: Photovoltaic generation. `[terminal]`
        """
        idle = torch.zeros(1, 1, self._core.num_agents)
        load, sun = base_p_kw.expand(1, 1, -1), pv_kw.expand(1, 1, -1)
        return linearise(self._core, load, load * self._q_per_p, sun, idle).per_kw[0, 0]

    def begin(self, base_p_kw: Tensor, pv_kw: Tensor) -> None:
        """Takes the day's slopes, devices idle.

        Args:
            base_p_kw: Base load as forecast. `[batch, time, terminal]`
            pv_kw: Photovoltaic generation, likewise.
        """
        core = self._core
        idle = torch.zeros(*pv_kw.shape[:2], core.num_agents)
        self._day = linearise(core, base_p_kw, base_p_kw * self._q_per_p, pv_kw, idle)
        num = len(core.limits.monitored)
        reach = self._day.per_kw[..., :num, :].abs().mean((0, 1))
        self._nearest = self._groups.terminal[reach.argmax(-1)]
        self._offset = torch.zeros(len(pv_kw), num, dtype=torch.float64)

    def around(
        self, zones: Zones, step: int, base_p_kw: Tensor, pv_kw: Tensor, unit_kw: Tensor
    ) -> GridModel:
        """The model of the steps to come, corrected by the last mismatch measured.

        Args:
            zones: The units.
            step: The first of the steps.
            base_p_kw: Base load as forecast. `[batch, time, terminal]`
            pv_kw: Photovoltaic generation, likewise.
            unit_kw: The units' power to linearise around. `[batch, time, unit]`
        """
        day = self._day.steps(slice(step, step + unit_kw.shape[1]))
        group_kw = zones.group_kw(unit_kw)
        base = (base_p_kw, base_p_kw * self._q_per_p, pv_kw)
        value = grid_values(self._core, *base, self._groups, group_kw)
        # Where there is no power flow to be had, the day's line goes on.
        value = torch.where(value.isfinite(), value, day.at(group_kw))
        value[..., : self._offset.shape[-1]] += self._offset.unsqueeze(1)
        return zones.model(day, value, unit_kw)

    def expect(self, base_p_kw: Tensor, pv_kw: Tensor, p_kw: Tensor) -> None:
        """Solves the step that is about to happen.

        Args:
            base_p_kw: Base load. `[batch, terminal]`
            pv_kw: Photovoltaic generation. `[batch, terminal]`
            p_kw: What the agents are told to draw. `[batch, agent]`
        """
        core, groups = self._core, self._groups
        group_kw = groups.total(p_kw)
        p_device = (-pv_kw.cpu().double()).index_add(-1, groups.terminal, group_kw)
        kvar = group_kw * groups.kvar_per_kw
        q_device = torch.zeros_like(p_device).index_add(-1, groups.terminal, kvar)
        parts = ((base_p_kw, p_device), (base_p_kw * self._q_per_p, q_device))
        joined = [torch.cat((a.double(), b.to(core.device)), -1) for a, b in parts]
        flow = solve_power_flow(core.network, *joined)
        num_loads = core.network.num_load_terminals
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

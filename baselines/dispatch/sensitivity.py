"""The network around an operating point: limits as affine functions of power.

Devices are told apart by *group*: the terminal they sit at, and whether they
draw reactive power in proportion to active power (heat pumps do), and how much. The slopes
are exact derivatives of the three-phase power flow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gradmap.baselines.dispatch.devices import kvar_per_kw
from gradmap.envs.core import Core
from gradmap.envs.devices.base import Fleet
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.powerflow.response import current_response
from gradmap.feeders.powerflow.solve import PowerFlow, solve_power_flow
from gradmap.feeders.powerflow.sparse_slopes import SparseSlopes


def reactive_kinds(fleets: Sequence[Fleet]) -> tuple[list[float], Tensor]:
    """Tells devices apart by the reactive power that they draw with each kW.

    Args:
        fleets: The fleets.

    Returns:
        The ratios that there are, 0 first, at least two; and which of them
        each device has, int64. `[device]`
    """
    own = [kvar_per_kw(fleet) for fleet in fleets]
    ratios = sorted({0.0, *own})
    ratios += ratios[-1:] if len(ratios) == 1 else []
    parts = zip(own, fleets, strict=True)
    return ratios, torch.cat(
        [torch.full((fleet.num_devices,), ratios.index(ratio)) for ratio, fleet in parts]
    )


def refuse_free_reactive(core: Core) -> None:
    """Refuses a task whose agents choose reactive power: no problem here has it as a variable.

    To leave it at 0 would not do: the plan would be no optimum, and its lower
    bound none.

    Args:
        core: The environment.

    Raises:
        GradmapError: If the task is one.
    """
    if core.num_actions > 1:
        raise GradmapError(
            "no dispatch problem for reactive power as a free choice: the kVA circle joins it to "
            "the active power; set task.reactive to 'rule', or leave out the methods that plan "
            "(receding-horizon, perfect-foresight)"
        )


@dataclasses.dataclass(frozen=True)
class Groups:
    """Devices by terminal and reactive power.

    Attributes:
        group: Group of each agent, int64. `[agent]`
        terminal: Load terminal of each group, int64. `[group]`
        kvar_per_kw: Reactive power drawn with each kW. `[group]`
    """

    group: Tensor
    terminal: Tensor
    kvar_per_kw: Tensor

    @classmethod
    def of(cls, core: Core) -> Groups:
        """Finds the groups of a core's agents; all on the CPU.

        Raises:
            GradmapError: If reactive power is a free choice.
        """
        refuse_free_reactive(core)
        ratios, kind = reactive_kinds(core.fleets)
        num = len(ratios)
        keys, group = torch.unique(num * core.agent_terminal.cpu() + kind, return_inverse=True)
        return cls(group, keys // num, torch.tensor(ratios, dtype=torch.float64)[keys % num])

    def total(self, p_kw: Tensor) -> Tensor:
        """Sums the agents' power by group, float64.

        Args:
            p_kw: Power drawn. `[..., agent]`

        Returns:
            `[..., group]`
        """
        zeros = torch.zeros(*p_kw.shape[:-1], len(self.terminal), dtype=torch.float64)
        return zeros.index_add(-1, self.group, p_kw.cpu().double())


@dataclasses.dataclass(frozen=True)
class GridModel:
    """Limits as affine functions of the groups' power; float64, on the CPU.

    The limits are the monitored nodes' voltage magnitudes (p.u.), then the
    branches' loadings (over the rating).

    Attributes:
        value: Their quantities at the operating point. `[batch, time, limit]`
        per_kw: Their slopes; the first two axes may be 1, for one matrix for
            all days or steps. `[batch, time, limit, group]`
        group_kw: The operating point. `[batch, time, group]`
        low: Lower ends; minus infinity for a loading. `[limit]`
        high: Upper ends. `[limit]`
        group: Group of each agent, int64. `[agent]`
    """

    value: Tensor
    per_kw: Tensor
    group_kw: Tensor
    low: Tensor
    high: Tensor
    group: Tensor

    def at(self, group_kw: Tensor) -> Tensor:
        """The limits' quantities at other powers. `[batch, time, limit]`

        Args:
            group_kw: Power of the groups. `[batch, time, group]`
        """
        change = (group_kw - self.group_kw).unsqueeze(-1)
        return self.value + (self.per_kw @ change).squeeze(-1)

    def tightened(self, margin_pu: float) -> GridModel:
        """Returns limits closer by `margin_pu` at each end; wider, if it is negative."""
        return dataclasses.replace(self, low=self.low + margin_pu, high=self.high - margin_pu)

    def steps(self, which: slice) -> GridModel:
        """Returns the model of some of the steps.

        Args:
            which: The steps.
        """
        slopes = self.per_kw if self.per_kw.shape[1] == 1 else self.per_kw[:, which]
        return dataclasses.replace(
            self, value=self.value[:, which], per_kw=slopes, group_kw=self.group_kw[:, which]
        )


def terminal_powers(
    base_p_kw: Tensor, base_q_kvar: Tensor, pv_kw: Tensor, groups: Groups, group_kw: Tensor
) -> tuple[Tensor, Tensor]:
    """Powers at all terminals of the network, base load first; float64, on the CPU.

    Args:
        base_p_kw: Active base load. `[..., terminal]`
        base_q_kvar: Reactive base load, likewise.
        pv_kw: Photovoltaic generation, likewise.
        groups: The groups.
        group_kw: Their power. `[..., group]`

    Returns:
        Active and reactive power. `[..., 2 terminal]` each
    """
    p = (-pv_kw.cpu().double()).index_add(-1, groups.terminal, group_kw)
    kvar = group_kw * groups.kvar_per_kw
    q = torch.zeros_like(p).index_add(-1, groups.terminal, kvar)
    pairs = ((base_p_kw, p), (base_q_kvar, q))
    active, reactive = (torch.cat((base.cpu().double(), device), -1) for base, device in pairs)
    return active, reactive


def solve_grid(
    core: Core,
    base: tuple[Tensor, Tensor, Tensor],
    groups: Groups,
    group_kw: Tensor,
    like: PowerFlow | None = None,
) -> PowerFlow:
    """Solves the power flow of a core's network.

    Args:
        core: The environment; its network is used, not its days.
        base: Active and reactive base load, and photovoltaics. `[..., terminal]`
        groups: The groups.
        group_kw: Their power. `[..., group]`
        like: A power flow whose taps and capacitors hold here too, likewise
            `[...]`; None for those of the feeder.
    """
    powers = (part.to(core.device) for part in terminal_powers(*base, groups, group_kw))
    has_own = like is not None and like.tapped is not None
    with torch.no_grad():
        return solve_power_flow(
            core.network,
            *powers,
            taps=like.taps if like is not None and has_own else None,
            capacitors=like.capacitors if like is not None and has_own else None,
        )


def grid_values(
    core: Core,
    base_p_kw: Tensor,
    base_q_kvar: Tensor,
    pv_kw: Tensor,
    groups: Groups,
    group_kw: Tensor,
) -> Tensor:
    """Solves the power flow and returns what is limited, float64, on the CPU.

    Args:
        core: The environment; its network and limits are used, not its days.
        base_p_kw: Active base load. `[..., terminal]`
        base_q_kvar: Reactive base load, likewise.
        pv_kw: Photovoltaic generation, likewise.
        groups: The groups.
        group_kw: Their power. `[..., group]`

    Returns:
        `[..., limit]`; NaN where the power flow does not converge.
    """
    flow = solve_grid(core, (base_p_kw, base_q_kvar, pv_kw), groups, group_kw)
    v_pu = flow.v_magnitude_pu[..., core.limits.monitored]
    return torch.cat((v_pu, flow.branch_loading), -1).cpu().double()


def linearise(
    core: Core, base_p_kw: Tensor, base_q_kvar: Tensor, pv_kw: Tensor, p_kw: Tensor
) -> GridModel:
    """Linearises the network around an operating point.

    Args:
        core: The environment; its network and limits are used, not its days.
        base_p_kw: Active base load. `[batch, time, terminal]`
        base_q_kvar: Reactive base load, likewise.
        pv_kw: Photovoltaic generation, likewise.
        p_kw: The agents' power. `[batch, time, agent]`

    Raises:
        GradmapError: If the power flow does not converge there.
    """
    groups = Groups.of(core)
    group_kw = groups.total(p_kw)
    pairs = [
        _around(core, (base_p_kw[day], base_q_kvar[day], pv_kw[day]), groups, group_kw[day])
        for day in range(len(p_kw))
    ]
    value, per_kw = (torch.stack(part) for part in zip(*pairs, strict=True))
    if not bool(per_kw.isfinite().all()):
        raise GradmapError(
            "the power flow does not converge at the operating point of a dispatch; "
            "linearise around smaller powers"
        )
    monitored, branches = len(core.limits.monitored), len(core.feeder.branches)
    low = torch.full((monitored + branches,), -torch.inf, dtype=torch.float64)
    high = torch.full_like(low, core.limits.loading_max)
    low[:monitored], high[:monitored] = core.limits.vmin_pu, core.limits.vmax_pu
    return GridModel(value, per_kw, group_kw, low, high, groups.group)


def _around(
    core: Core, base: tuple[Tensor, Tensor, Tensor], groups: Groups, group_kw: Tensor
) -> tuple[Tensor, Tensor]:
    """What is limited on one day, and its slopes. `[time, limit]`, `[time, limit, group]`"""
    network = core.network
    powers = [part.to(core.device) for part in terminal_powers(*base, groups, group_kw)]
    with torch.no_grad():
        flow = solve_power_flow(network, *powers)
        monitored = core.limits.monitored
        moved_v, moved_i = _moved(flow, powers, groups, monitored)
        voltage = _magnitude_slopes(flow.v_pu[..., monitored], moved_v)
        value, current = flow.branch_loading, flow.branch_current_a / network.rating_a
        worst = _worst_conductors(current.abs(), network.conductor_branch, value.shape[-1])
        slopes = _magnitude_slopes(current, moved_i)
        loading = slopes.gather(2, worst.unsqueeze(1).expand(-1, slopes.shape[1], -1))
        value = torch.cat((flow.v_magnitude_pu[..., monitored], value), -1)
        per_kw = torch.cat((voltage, loading), -1).transpose(1, 2)
    return value.cpu().double(), per_kw.cpu().double()


def _moved(
    flow: PowerFlow, powers: Sequence[Tensor], groups: Groups, monitored: Tensor
) -> tuple[Tensor, Tensor]:
    """What a kW of each group moves, planar: monitored voltages, p.u., currents over ratings.

    Returns:
        `[time, group, 2 monitored]` and `[time, group, 2 conductor]`.
    """
    network = flow.network
    terminal = groups.terminal.to(network.device) + network.num_load_terminals
    rating = network.rating_a.repeat(2)
    if network.method == "sparse":
        if not bool(flow.converged.all()):
            nothing = flow.u.new_full((len(powers[0]), len(terminal), 1), torch.nan)
            return nothing.expand(-1, -1, 2 * len(monitored)), nothing.expand(-1, -1, len(rating))
        slopes = SparseSlopes(flow, powers[0], powers[1], terminal, groups.kvar_per_kw)
        nodes, steps = monitored.cpu().numpy(), range(len(powers[0]))
        volts, amps = (
            torch.from_numpy(np.stack(each)).to(flow.u)
            for each in (
                [slopes.voltages(t, nodes) for t in steps],
                [slopes.currents(t) for t in steps],
            )
        )
        return volts, amps / rating
    moved = current_response(flow, powers[0], powers[1], terminal, groups.kvar_per_kw)
    both = torch.cat((monitored, monitored + network.num_nodes))
    return moved @ network.node[:, both], moved @ (network.conductor / rating)


def _magnitude_slopes(quantity: Tensor, moved: Tensor) -> Tensor:
    """Slopes of magnitudes: `[time, n]` complex, `[time, group, 2 n]` planar."""
    real, imaginary = moved.chunk(2, -1)
    unit = (quantity / quantity.abs().clamp_min(1e-12)).unsqueeze(1)
    return unit.real * real + unit.imag * imaginary


def _worst_conductors(share: Tensor, branch: Tensor, num_branches: int) -> Tensor:
    """The conductor of each branch that is loaded most; 0 for one without. `[time, branch]`"""
    order = share.argsort(-1)
    worst = share.new_zeros((len(share), num_branches), dtype=torch.int64)
    for k in range(order.shape[1]):  # the last one written is the largest
        worst.scatter_(1, branch[order[:, k : k + 1]], order[:, k : k + 1])
    return worst

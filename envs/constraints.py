"""How far the network is outside its limits."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import PowerFlow, solve_power_flow

NEUTRAL_PU = 0.5
"""Nodes whose voltage without load is below it are neutrals or dead, and have no band."""


@torch.no_grad()
def monitored_nodes(network: Network) -> Tensor:
    """Nodes whose voltage has limits: all that can leave them.

    Left out are those of the source's own bus, which no device can move, and
    neutrals and dead nodes, whose voltage is far below the base by nature.

    Args:
        network: The network.

    Returns:
        Their indices, int64, on the network's device. `[monitored]`
    """
    nothing = torch.zeros(network.num_terminals, device=network.device)
    without_load = solve_power_flow(network, nothing, nothing).v_magnitude_pu
    is_source = torch.tensor(network.feeder.is_source_node, device=network.device)
    # Not below, as of a network that has no solution without load all nodes are to count.
    return (~(without_load < NEUTRAL_PU) & ~is_source).nonzero().flatten()


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of the network.

    Attributes:
        vmin_pu: Lower limit of every monitored node.
        vmax_pu: Upper limit.
        monitored: Indices of the monitored nodes, see `monitored_nodes`.
            `[monitored]`, int64
        loading_max: Limit of every branch, over its normal rating.
    """

    vmin_pu: float
    vmax_pu: float
    monitored: Tensor
    loading_max: float = 1.0

    def tightened(self, margin_pu: float) -> Limits:
        """Returns limits with the voltage band `margin_pu` narrower at each end."""
        return dataclasses.replace(
            self, vmin_pu=self.vmin_pu + margin_pu, vmax_pu=self.vmax_pu - margin_pu
        )


@dataclasses.dataclass(frozen=True)
class Violations:
    """Depth of every violation, 0 inside the limits.

    Attributes:
        over_pu: Voltage above the limit. `[..., monitored]`
        under_pu: Voltage below the limit. `[..., monitored]`
        overload: Branch loading above the limit, over the rating.
            `[..., branch]`
    """

    over_pu: Tensor
    under_pu: Tensor
    overload: Tensor


def violations(flow: PowerFlow, limits: Limits) -> Violations:
    """Measures how far a power flow is outside the limits.

    Args:
        flow: The power flow; scenarios that failed give NaN.
        limits: The limits.

    Returns:
        The violations, real dtype of the flow, differentiable.
    """
    return excess(flow.v_magnitude_pu[..., limits.monitored], flow.branch_loading, limits)


def excess(v_pu: Tensor, loading: Tensor, limits: Limits) -> Violations:
    """Measures how far voltages and loadings are outside the limits.

    Args:
        v_pu: Voltage magnitudes. `[..., monitored]`
        loading: Branch currents over their ratings. `[..., branch]`
        limits: The limits.

    Returns:
        The violations, of the same dtype, differentiable.
    """
    return Violations(
        over_pu=(v_pu - limits.vmax_pu).clamp_min(0.0),
        under_pu=(limits.vmin_pu - v_pu).clamp_min(0.0),
        overload=(loading - limits.loading_max).clamp_min(0.0),
    )

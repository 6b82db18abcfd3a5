"""What follows from a solution: voltages, currents, loading, losses, unbalance.

All of it is an affine or quadratic function of the compensated port currents
`j` of a solution, or of what the network's maps make of them, and
differentiable.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.planar import magnitude_of


def port_current_a(network: Network, u: Tensor, j: Tensor) -> Tensor:
    """Takes the compensation out of the port currents.

    Args:
        network: The network.
        u: Port voltages, planar, `[batch, 2 port]`, p.u.
        j: Compensated port currents, planar, `[batch, 2 port]`, p.u.

    Returns:
        Current drawn at each port, `[batch, port]`, complex, A.
    """
    u_re, u_im = u.chunk(2, dim=1)
    j_re, j_im = j.chunk(2, dim=1)
    (at_re, at_im), (gap_re, gap_im) = network.offset
    re = j_re - at_re * u_re + at_im * u_im
    im = j_im - (at_re + gap_re) * u_im - (at_im + gap_im) * u_re
    return torch.complex(re, im)[:, : network.num_ports] * network.port_base_a


def branch_loading(network: Network, current_a: Tensor) -> Tensor:
    """Takes the worst conductor of each branch.

    Args:
        network: The network.
        current_a: Current magnitudes, `[batch, conductor]`, A.

    Returns:
        Current over rating, `[batch, branch]`; 0 for a branch without a
        conductor.
    """
    share = current_a / network.rating_a
    return largest_of_group(share, network.conductor_branch, len(network.feeder.branches))


def largest_of_group(values: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Takes the largest value of each group, 0 for a group without any.

    Args:
        values: Not negative. `[batch, value]`
        group: Which group each is of, int64. `[value]`
        num_groups: Number of groups.

    Returns:
        `[batch, group]`.
    """
    start = values.new_zeros(values.shape[0], num_groups)
    return start.scatter_reduce(1, group.expand_as(values), values, "amax", include_self=True)


def source_power(state: Tensor) -> tuple[Tensor, Tensor]:
    """Sums the power that the source delivers at its bus.

    Args:
        state: Voltages, kV, then currents into the network, A, of the
            source's nodes, planar, `[batch, 4 source node]`.

    Returns:
        Active power in kW and reactive power in kvar, `[batch]`, positive
        into the feeder.
    """
    v_re, i_re, v_im, i_im = state.chunk(4, dim=1)
    active = (v_re * i_re + v_im * i_im).sum(1)
    return active, (v_im * i_re - v_re * i_im).sum(1)


def unbalance_pct(network: Network, node_planar: Tensor) -> Tensor:
    """Takes negative- over positive-sequence voltage, the IEC definition.

    Args:
        network: The network.
        node_planar: Node voltages, planar, `[batch, 2 node]`.

    Returns:
        Unbalance, `[batch, three-phase bus]`, percent.
    """
    re, im = (part[:, network.three_phase_node] for part in node_planar.chunk(2, dim=1))
    a_re, a_im = re[..., 0], im[..., 0]
    # With a = exp(j 120 deg): 3 V1 = Va + a Vb + a^2 Vc, 3 V2 = Va + a^2 Vb + a Vc.
    sum_re, sum_im = -0.5 * (re[..., 1] + re[..., 2]), -0.5 * (im[..., 1] + im[..., 2])
    height = 0.5 * math.sqrt(3.0)
    turn_re, turn_im = height * (im[..., 1] - im[..., 2]), height * (re[..., 1] - re[..., 2])
    positive = (a_re + sum_re - turn_re, a_im + sum_im + turn_im)
    negative = (a_re + sum_re + turn_re, a_im + sum_im - turn_im)
    return 100.0 * magnitude_of(*negative) / magnitude_of(*positive)

"""What follows from a solution: voltages, currents, loading, losses, unbalance.

All of it is an affine or quadratic function of the compensated port currents
`j` of a solution, one matrix product each, and differentiable.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gradmap.feeders.powerflow.network import Network

_CHUNK = 256  # CPU rows at a time, so that their image stays in the cache


class _AffineMagnitude(torch.autograd.Function):
    """Magnitudes of `rows @ matrix`; their derivative at 0 is 0, not NaN."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, matrix: Tensor) -> Tensor:
        if ctx.needs_input_grad[0]:
            planar = torch.mm(rows, matrix)
            magnitudes = _root_of_squares(*planar.chunk(2, dim=1))
            ctx.save_for_backward(planar, magnitudes, matrix)
            return magnitudes
        parts = rows.split(_CHUNK) if rows.device.type == "cpu" else (rows,)
        pieces = [_root_of_squares(*torch.mm(part, matrix).chunk(2, dim=1)) for part in parts]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        planar, magnitudes, matrix = ctx.saved_tensors
        scaled = grad / magnitudes.clamp_min(torch.finfo(magnitudes.dtype).tiny)
        shaped = planar.view(len(planar), 2, -1)
        pulled = (shaped * scaled.unsqueeze(1)).view_as(planar)
        return torch.mm(pulled, matrix.T), None


def _root_of_squares(re: Tensor, im: Tensor) -> Tensor:
    return torch.mul(re, re).addcmul_(im, im).sqrt_()


def affine_magnitude(rows: Tensor, matrix: Tensor) -> Tensor:
    """Takes magnitudes of a planar linear image; the gradient at 0 is 0.

    Args:
        rows: `[batch, in]`.
        matrix: To planar values, `[in, 2 n]`.

    Returns:
        Magnitudes, `[batch, n]`.
    """
    result: Tensor = _AffineMagnitude.apply(rows, matrix)  # type: ignore[no-untyped-call]
    return result


class _Magnitude(torch.autograd.Function):
    """`sqrt(re^2 + im^2)` with derivative 0 at 0, where autograd gives NaN."""

    @staticmethod
    def forward(ctx: Any, re: Tensor, im: Tensor) -> Tensor:
        magnitudes = _root_of_squares(re, im)
        ctx.save_for_backward(re, im, magnitudes)
        return magnitudes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        re, im, magnitudes = ctx.saved_tensors
        scaled = grad / magnitudes.clamp_min(torch.finfo(magnitudes.dtype).tiny)
        return scaled * re, scaled * im


def magnitude(planar: Tensor) -> Tensor:
    """Takes magnitudes of planar values; the gradient at 0 is 0.

    Args:
        planar: Real parts, then imaginary parts, `[..., 2 n]`.

    Returns:
        Magnitudes, `[..., n]`.
    """
    return _magnitude(*planar.chunk(2, dim=-1))


def _magnitude(re: Tensor, im: Tensor) -> Tensor:
    result: Tensor = _Magnitude.apply(re, im)  # type: ignore[no-untyped-call]
    return result


def to_complex(planar: Tensor) -> Tensor:
    """Joins planar values `[..., 2 n]` into complex ones `[..., n]`."""
    re, im = planar.chunk(2, dim=-1)
    return torch.complex(re, im)


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
    index = network.conductor_branch.expand_as(share)
    start = share.new_zeros(share.shape[0], len(network.feeder.branches))
    return start.scatter_reduce(1, index, share, "amax", include_self=True)


def losses_kw(network: Network, j: Tensor) -> Tensor:
    """Sums the active losses of all lines, switches and transformers.

    Args:
        network: The network.
        j: Compensated port currents, planar, `[batch, 2 port]`.

    Returns:
        Losses, `[batch]`, kW.
    """
    return (torch.mm(j, network.loss) * j).sum(1)


def source_power(network: Network, j: Tensor) -> tuple[Tensor, Tensor]:
    """Sums the power that the source delivers at its bus.

    Args:
        network: The network.
        j: Compensated port currents, planar, `[batch, 2 port]`.

    Returns:
        Active power in kW and reactive power in kvar, `[batch]`, positive
        into the feeder.
    """
    v_re, i_re, v_im, i_im = torch.mm(j, network.source).chunk(4, dim=1)
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
    return 100.0 * _magnitude(*negative) / _magnitude(*positive)

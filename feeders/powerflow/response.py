"""How the currents of a solution answer to small changes of power.

Where `implicit.py` pulls one gradient back, this solves for the whole
derivative of the compensated port currents,

    dj = D du + B ds,      du = -M dj,

by elimination, one small matrix a scenario, or a sparse one. Every voltage and
current of the feeder is an affine map of `j`, so that this one tensor holds
them all; where that is too much, see `sparse_slopes.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradmap.feeders.powerflow.implicit import Adjoint
from gradmap.feeders.powerflow.solve import PowerFlow
from gradmap.feeders.powerflow.sparse_slopes import SparseSlopes
from gradmap.feeders.powerflow.taps_dense import DenseTappedMaps

_AT_ONCE = 64  # scenarios eliminated together: a matrix each


def current_response(
    flow: PowerFlow, p_kw: Tensor, q_kvar: Tensor, terminal: Tensor, kvar_per_kw: Tensor
) -> Tensor:
    """Takes the derivative of the port currents by powers at some terminals.

    Args:
        flow: A converged solution.
        p_kw: The active powers that it solves. `[..., terminal]`
        q_kvar: The reactive powers. `[..., terminal]`
        terminal: Terminals whose power changes, int64. `[column]`
        kvar_per_kw: Reactive power that changes with each kW. `[column]`

    Returns:
        Change of `flow.j` for each kW, `[..., column, 2 port]`, real dtype
        of the network; NaN where the solution did not converge.
    """
    network = flow.network
    if network.method == "sparse":
        return _sparse(flow, p_kw, q_kvar, terminal, kvar_per_kw)
    p, q = (x.to(network.real_dtype).reshape(-1, network.num_terminals) for x in (p_kw, q_kvar))
    ratio = kvar_per_kw.to(p)
    parts = [
        _response(flow, p[rows], q[rows], rows, terminal, ratio)
        for rows in torch.arange(len(p), device=p.device).split(_AT_ONCE)
    ]
    found = torch.cat(parts)
    return found.reshape(*p_kw.shape[:-1], *found.shape[1:])


def _response(
    flow: PowerFlow, p: Tensor, q: Tensor, rows: Tensor, terminal: Tensor, ratio: Tensor
) -> Tensor:
    network, batch = flow.network, len(rows)
    at = Adjoint(network, batch)
    tapped = None if flow.tapped is None else flow.tapped.rows(rows)
    assert tapped is None or isinstance(tapped, DenseTappedMaps)
    at.linearise(p, q, flow.u[rows].detach(), tapped)
    ports = network.num_padded_ports
    place = network.terminal_place[terminal]
    slot, port = place // ports, place % ports
    gain_p, gain_q = (at.gain[slot, :, part, port] for part in (0, -1))  # [column, batch]
    re, im = (part[:, port].T for part in at.u_parts)
    column = torch.arange(len(terminal), device=p.device)
    right = p.new_zeros(batch, len(terminal), 2, ports)
    right[:, column, 0, port] = (gain_p * re + ratio[:, None] * gain_q * im).T
    right[:, column, 1, port] = (gain_p * im - ratio[:, None] * gain_q * re).T
    derivative = p.new_zeros(batch, 2, ports, 2, ports)
    for part, block in enumerate((at.d_re, at.d_im)):
        derivative[:, part].diagonal(dim1=1, dim2=3).copy_(block)
    # Row vectors: dj (1 - step D^T) = B ds, with nothing into the reference.
    adjoint = network.dense.adjoint if tapped is None else tapped.adjoint_matrix()
    system = adjoint.mT @ derivative.view(batch, 2 * ports, -1).transpose(1, 2)
    system = system.neg_()
    system.diagonal(dim1=1, dim2=2).add_(1.0)
    solved: Tensor = torch.linalg.solve(system, right.flatten(2), left=False)
    failed = ~flow.converged.reshape(-1)[rows]
    return solved.masked_fill(failed[:, None, None], torch.nan)


def _sparse(
    flow: PowerFlow, p_kw: Tensor, q_kvar: Tensor, terminal: Tensor, kvar_per_kw: Tensor
) -> Tensor:
    """The same of a sparse network, one factorisation a scenario."""
    slopes = SparseSlopes(flow, p_kw, q_kvar, terminal, kvar_per_kw)
    converged = flow.converged.reshape(-1).tolist()
    nothing = flow.j.new_full((len(terminal), flow.j.shape[-1]), torch.nan)
    each = [
        torch.from_numpy(slopes.port_currents(k)).to(flow.j) if is_solved else nothing
        for k, is_solved in enumerate(converged)
    ]
    return torch.stack(each).reshape(*p_kw.shape[:-1], *nothing.shape)

"""The gradient of the power flow, by the implicit function theorem.

At the solution `u = c - M j` and `j = i(u, s) - Y0 u`. With `D` the derivative
of `j` with respect to `u` (a real 2 x 2 block per port, for the law is not
holomorphic) and `B` that with respect to `s`, the cotangents `g_u`, `g_j` of
the two outputs give

    w = (g_j - M^T g_u) - M^T D^T w,      g_s = B^T w.

`w` is found by the same kind of iteration as the voltages, at the same rate
and cheaper, and nothing of the forward loop is kept. (The plane is real: `M`
here is the planar matrix, so transposes stand where complex notation has
conjugates.)
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from gradmap.feeders.powerflow.dense import DenseMaps
from gradmap.feeders.powerflow.fixed_point import chunks, fixed_point
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.slots import SlotPower, by_terminal
from gradmap.feeders.powerflow.sparse import SparseMaps
from gradmap.feeders.powerflow.taps import TappedMaps

_FLOAT32_TOLERANCE = 1e-5  # relative; the step after it is below rounding
_LIMIT = 24  # iterations; what is left then is solved directly
_FIRST_LOOK = 3  # no solve has been done before this iteration
_BLOCK = 4  # CUDA: iterations between two synchronisations
_DIRECT = 32  # scenarios eliminated at once: a matrix each


class ImplicitPowerFlow(torch.autograd.Function):
    """Power flow whose backward pass solves the adjoint fixed point.

    Inputs `p_kw`, `q_kvar` of `[batch, terminal]`; outputs planar `u` and `j`
    of `[batch, 2 port]`, then `converged`, `iterations` and `residual`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        p_kw: Tensor,
        q_kvar: Tensor,
        network: Network,
        guess: Tensor | None,
        tolerance_pu: float,
        max_iterations: int,
        tapped: TappedMaps | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Runs the loop and keeps the solution."""
        solved = fixed_point(network, p_kw, q_kvar, guess, tolerance_pu, max_iterations, tapped)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(solved.converged, solved.iterations, solved.residual)
        ctx.save_for_backward(p_kw, q_kvar, solved.u, solved.converged)
        ctx.network, ctx.tolerance, ctx.tapped = network, tolerance_pu, tapped
        return solved.u, solved.j, solved.converged, solved.iterations, solved.residual

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_u: Tensor | None, grad_j: Tensor | None, *_: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Solves the adjoint; scenarios without a solution get zero."""
        p_kw, q_kvar, u, converged = ctx.saved_tensors
        nothing = (None,) * 5
        if grad_u is None and grad_j is None:
            return None, None, *nothing
        network: Network = ctx.network
        tolerance = ctx.tolerance
        if network.real_dtype == torch.float32:
            tolerance = max(tolerance, _FLOAT32_TOLERANCE)
        if not bool(converged.all()):
            # NaN times zero is NaN: replace the operands, not the products.
            failed = ~converged[:, None]
            p_kw, q_kvar = p_kw.masked_fill(failed, 0.0), q_kvar.masked_fill(failed, 0.0)
            u = torch.where(failed, network.start, u)
            grad_u = None if grad_u is None else grad_u.masked_fill(failed, 0.0)
            grad_j = None if grad_j is None else grad_j.masked_fill(failed, 0.0)
        tapped: TappedMaps | None = ctx.tapped
        right = _right_side(network.maps if tapped is None else tapped, grad_u, grad_j)
        grads = []
        parts = chunks(network, len(u))
        for part in parts:
            rows = [x if len(parts) == 1 else x[part] for x in (p_kw, q_kvar, u, right)]
            maps = tapped if tapped is None or len(parts) == 1 else tapped.rows(part)
            batch = len(rows[0])
            make = functools.partial(Adjoint, network, batch)
            with network.pool.borrow(("adjoint", batch), make) as adjoint:
                adjoint.linearise(rows[0], rows[1], rows[2], maps)
                grads.append(adjoint.solve(rows[3], tolerance))
        if len(grads) == 1:
            return *grads[0], *nothing
        grad_p, grad_q = (torch.cat(column) for column in zip(*grads, strict=True))
        return grad_p, grad_q, *nothing


def _right_side(
    maps: DenseMaps | SparseMaps | TappedMaps, grad_u: Tensor | None, grad_j: Tensor | None
) -> Tensor:
    """Brings both cotangents to `j`. A scenario of zeros stays one to the end."""
    if grad_u is None:
        assert grad_j is not None
        return grad_j
    if grad_j is None:
        return maps.pull(grad_u)
    return maps.pull(grad_u, add=grad_j)


class Adjoint:
    """The linearised law of one chunk, and the adjoint solve on it."""

    def __init__(self, network: Network, batch: int) -> None:
        self.network = network
        self.slot_power = SlotPower(network, batch)
        shape = (batch, 2, network.num_padded_ports)
        buffers = network.start.new_empty(9, *shape)
        self.y, self.h, self.k, self.d_re, self.d_im, self.pulled, self.change = buffers[:7]
        self.iterates = buffers[7:].unbind(0)
        self.flat_pulled, self.flat_change = self.pulled.flatten(1), self.change.flatten(1)
        self.parts = [x.unbind(1) for x in (self.y, self.h, self.k, self.d_re, self.d_im)]
        self.offset, self.offset_gap = network.offset.unbind(0)
        self.is_blocked = network.device.type != "cpu"

    def linearise(
        self, p_kw: Tensor, q_kvar: Tensor, u: Tensor, tapped: TappedMaps | None = None
    ) -> None:
        """Takes the derivative of `j` at the solution `u`, `[batch, 2 port]`.

        `tapped` are the maps at each scenario's own taps, `None` the network's.
        `d_re` and `d_im` are the gradients, planar, of its real and imaginary
        parts with respect to the voltage.
        """
        self.maps = self.network.maps if tapped is None else tapped
        y, h, k = self.y, self.h, self.k
        (y_re, y_im), (h_re, h_im), (k_re, k_im), d_re, d_im = self.parts
        self.slot_power.load(p_kw, q_kvar)
        power = self.slot_power.power
        self.u = u.view_as(y)
        self.u_parts = re, im = self.u.unbind(1)
        square = torch.mul(re, re).addcmul_(im, im).unsqueeze(1)
        r = square.rsqrt()
        self.gain, slope = self.network.law.gain_and_slope(r)
        torch.addcmul(self.offset, power[0], self.gain[0], out=y)
        torch.mul(power[0], slope[0], out=h)
        for slot in range(1, len(power)):
            y.addcmul_(power[slot], self.gain[slot])
            h.addcmul_(power[slot], slope[slot])
        # How the magnitude moves the current: k = -r^3 sum conj(s) g' u.
        h.mul_(r.div_(square).neg_())
        torch.mul(h_re, re, out=k_re).addcmul_(h_im, im, value=-1)
        torch.mul(h_re, im, out=k_im).addcmul_(h_im, re)
        torch.mul(k[:, :1], self.u, out=self.d_re)
        d_re[0].add_(y_re)
        d_re[1].sub_(y_im)
        torch.mul(k[:, 1:], self.u, out=self.d_im)
        y.add_(self.offset_gap)
        d_im[0].add_(y_im)
        d_im[1].add_(y_re)

    def solve(self, right: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
        """Returns the gradients of P and Q, `[batch, terminal]`."""
        w_re, w_im = self._fixed_point(right, tolerance).unbind(1)
        re, im = self.u_parts
        along = torch.addcmul(w_re * re, w_im, im)
        across = torch.addcmul(w_re * im, w_im, re, value=-1)
        grad_p, grad_q = along * self.gain[:, :, 0], across * self.gain[:, :, -1]
        return by_terminal(self.network, grad_p), by_terminal(self.network, grad_q)

    def _fixed_point(self, right: Tensor, tolerance: float) -> Tensor:
        """Iterates `w = right + adjoint D^T w`; the map carries the minus."""
        pulled, change = self.flat_pulled, self.flat_change
        limit = right.abs().amax(1).mul_(tolerance)
        w = right.view_as(self.pulled)
        for k in range(1, _LIMIT + 1):
            torch.mul(self.d_re, w[:, :1], out=self.pulled).addcmul_(self.d_im, w[:, 1:])
            before, w = w, self.iterates[k % 2]
            self.maps.pull(pulled, add=right, out=w.view_as(right))
            if k < _FIRST_LOOK or (self.is_blocked and k % _BLOCK):
                continue
            torch.sub(w, before, out=self.change)
            excess = change.abs_().amax(1).sub_(limit)
            largest = float(excess.max())
            if largest <= 0 or (largest != largest and not bool((excess > 0).any())):
                return w
        slow = (excess > 0).nonzero().flatten()
        for rows in slow.split(_DIRECT):
            maps = self.maps.rows(rows) if isinstance(self.maps, TappedMaps) else self.maps
            found = maps.adjoint_direct(self.d_re[rows], self.d_im[rows], right[rows])
            w[rows] = found.view(len(rows), 2, -1)
        return w

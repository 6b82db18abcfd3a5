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

from typing import Any

import torch
from torch import Tensor

from gradmap.feeders.powerflow.fixed_point import chunks, fixed_point
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.slots import by_terminal, power_by_slot

_FLOAT32_TOLERANCE = 1e-5  # relative; the step after it is below rounding
_LIMIT = 24  # iterations; what is left then is solved directly
_BLOCK = 4  # CUDA: iterations between two synchronisations


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
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Runs the loop and keeps the solution."""
        solved = fixed_point(network, p_kw, q_kvar, guess, tolerance_pu, max_iterations)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(solved.converged, solved.iterations, solved.residual)
        ctx.save_for_backward(p_kw, q_kvar, solved.u, solved.converged)
        ctx.network, ctx.tolerance = network, tolerance_pu
        return solved.u, solved.j, solved.converged, solved.iterations, solved.residual

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(
        ctx: Any, grad_u: Tensor | None, grad_j: Tensor | None, *_: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Solves the adjoint; scenarios without a solution get zero."""
        p_kw, q_kvar, u, converged = ctx.saved_tensors
        nothing = (None,) * 4
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
        right = _right_side(network, grad_u, grad_j)
        grads = [
            _Adjoint(network, p_kw[part], q_kvar[part], u[part]).solve(right[part], tolerance)
            for part in chunks(network, p_kw.shape[0])
        ]
        if len(grads) == 1:
            return *grads[0], *nothing
        grad_p, grad_q = (torch.cat(column) for column in zip(*grads, strict=True))
        return grad_p, grad_q, *nothing


def _right_side(network: Network, grad_u: Tensor | None, grad_j: Tensor | None) -> Tensor:
    """Brings both cotangents to `j`. A scenario of zeros stays one to the end."""
    if grad_u is None:
        assert grad_j is not None
        return grad_j
    if grad_j is None:
        return torch.mm(grad_u, network.adjoint)
    return torch.addmm(grad_j, grad_u, network.adjoint)


class _Adjoint:
    """The linearised law of one chunk, and the adjoint solve on it."""

    def __init__(self, network: Network, p_kw: Tensor, q_kvar: Tensor, u: Tensor) -> None:
        self.network = network
        self.re, self.im = u.view(len(u), 2, -1).unbind(1)
        r = torch.addcmul(self.re * self.re, self.im, self.im).rsqrt_()
        self.gain_p, self.gain_q, slope_p, slope_q = network.law.gain_and_slope(r)
        p, minus_q = power_by_slot(network, p_kw, q_kvar).unbind(2)
        cube = r * r * r
        y_re, h_re = (p * self.gain_p).sum(0), (p * slope_p).sum(0).mul_(cube)
        y_im, h_im = (minus_q * self.gain_q).sum(0), (minus_q * slope_q).sum(0).mul_(cube)
        # y = sum conj(s) g, and k is how it moves the current with the magnitude.
        k_re = torch.addcmul(h_re * self.re, h_im, self.im, value=-1)
        k_im = torch.addcmul(h_re * self.im, h_im, self.re)
        (at_re_re, at_re_im), (gap_re, gap_im) = network.offset
        y_re += at_re_re
        y_im += at_re_im
        self.d_re_re = torch.addcmul(y_re, k_re, self.re, value=-1)
        self.d_re_im = torch.addcmul(y_im, k_re, self.im).neg_()
        self.d_im_re = torch.addcmul(y_im.add_(gap_im), k_im, self.re, value=-1)
        self.d_im_im = torch.addcmul(y_re.add_(gap_re), k_im, self.im, value=-1)

    def solve(self, right: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
        """Returns the gradients of P and Q, `[batch, terminal]`."""
        w_re, w_im = self._fixed_point(right, tolerance).view(len(right), 2, -1).unbind(1)
        along = torch.addcmul(w_re * self.re, w_im, self.im)
        across = torch.addcmul(w_re * self.im, w_im, self.re, value=-1)
        grad_p = by_terminal(self.network, along * self.gain_p)
        return grad_p, by_terminal(self.network, across * self.gain_q)

    def _fixed_point(self, right: Tensor, tolerance: float) -> Tensor:
        """Iterates `w = right + adjoint D^T w`; the map carries the minus."""
        on_cpu = right.device.type == "cpu"
        buffer = right.new_empty(4, *right.shape)
        pulled, change, iterates = buffer[0], buffer[1], buffer[2:]
        pulled_re, pulled_im = pulled.view(len(right), 2, -1).unbind(1)
        limit = right.abs().amax(1).mul_(tolerance)
        w = right
        for k in range(1, _LIMIT + 1):
            w_re, w_im = w.view(len(right), 2, -1).unbind(1)
            torch.mul(self.d_re_re, w_re, out=pulled_re).addcmul_(self.d_im_re, w_im)
            torch.mul(self.d_re_im, w_re, out=pulled_im).addcmul_(self.d_im_im, w_im)
            before, w = w, iterates[k % 2]
            torch.addmm(right, pulled, self.network.adjoint, out=w)
            if k < 3 or not (on_cpu or k % _BLOCK == 0):
                continue
            missed = torch.sub(w, before, out=change).abs_().amax(1) > limit
            if not bool(missed.any()):
                return w
        slow = missed.nonzero().flatten()
        w[slow] = self._direct(right[slow], slow)
        return w

    def _direct(self, right: Tensor, rows: Tensor) -> Tensor:
        """Solves some scenarios by elimination, exact whatever the load."""
        blocks = (self.d_re_re, self.d_re_im, self.d_im_re, self.d_im_im)
        re_re, re_im, im_re, im_im = (torch.diag_embed(block[rows]) for block in blocks)
        derivative = torch.cat([torch.cat([re_re, re_im], 2), torch.cat([im_re, im_im], 2)], 1)
        # Row vectors: w (1 - D adjoint) = right.
        system = torch.eye(right.shape[1]).to(right) - derivative @ self.network.adjoint
        return torch.linalg.solve(system, right.unsqueeze(1), left=False).squeeze(1)

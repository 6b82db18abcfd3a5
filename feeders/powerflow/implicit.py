"""The gradient of the power flow, by the implicit function theorem.

At the solution `u = c - M j`, `j = i(u, s) - y0 u`. With `D` the derivative of
`j` with respect to `u` (a real 2 x 2 block per port, for the law is not
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

from gradmap.feeders.powerflow.fixed_point import by_slot, by_terminal, chunks, fixed_point
from gradmap.feeders.powerflow.network import Network

_FLOAT32_TOLERANCE = 1e-5  # relative; the step after it is below rounding
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
        ctx.network, ctx.tolerance, ctx.limit = network, tolerance_pu, max_iterations
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
        grads = [
            _Adjoint(network, p_kw[part], q_kvar[part], u[part], converged[part]).solve(
                None if grad_u is None else grad_u[part],
                None if grad_j is None else grad_j[part],
                tolerance,
                ctx.limit,
            )
            for part in chunks(network, p_kw.shape[0])
        ]
        if len(grads) == 1:
            return *grads[0], *nothing
        grad_p, grad_q = (torch.cat(column) for column in zip(*grads, strict=True))
        return grad_p, grad_q, *nothing


class _Adjoint:
    """The linearised law of one chunk, and the adjoint solve on it."""

    def __init__(
        self, network: Network, p_kw: Tensor, q_kvar: Tensor, u: Tensor, converged: Tensor
    ) -> None:
        self.network = network
        self.failed = ~converged
        ports = network.num_padded_ports
        if u.device.type != "cpu" or bool(self.failed.any()):
            # NaN times zero is NaN: replace the voltages, not the products.
            u = torch.where(self.failed[:, None], network.start, u)
            self.any_failed = True
        else:
            self.any_failed = False
        self.re, self.im = u[:, :ports], u[:, ports:]
        r = torch.addcmul(self.re * self.re, self.im, self.im).rsqrt_()
        self.gain_p, self.gain_q, slope_p, slope_q = network.law.gain_and_slope(r)
        p, q = by_slot(network, p_kw), by_slot(network, q_kvar)
        if self.any_failed:
            mask = self.failed[:, None]
            p, q = p.masked_fill_(mask, 0.0), q.masked_fill_(mask, 0.0)
        # y = sum conj(s) g - y0; its slope along the voltage, times u, is k.
        y_re = (p * self.gain_p).sum(0) - network.compensation[0]
        y_im = -(q * self.gain_q).sum(0) - network.compensation[1]
        cube = r * r * r
        h_re, h_im = (p * slope_p).sum(0) * cube, -(q * slope_q).sum(0) * cube
        k_re = h_re * self.re - h_im * self.im
        k_im = h_re * self.im + h_im * self.re
        self.d_re_re = torch.addcmul(y_re, k_re, self.re, value=-1)
        self.d_re_im = torch.addcmul(y_im, k_re, self.im).neg_()
        self.d_im_re = torch.addcmul(y_im, k_im, self.re, value=-1)
        self.d_im_im = torch.addcmul(y_re, k_im, self.im, value=-1)

    def solve(
        self, grad_u: Tensor | None, grad_j: Tensor | None, tolerance: float, limit: int
    ) -> tuple[Tensor, Tensor]:
        """Returns the gradients of P and Q, `[batch, terminal]`."""
        w = self._fixed_point(self._right_side(grad_u, grad_j), tolerance, limit)
        ports = self.network.num_padded_ports
        w_re, w_im = w[:, :ports], w[:, ports:]
        along = torch.addcmul(w_re * self.re, w_im, self.im)
        across = torch.addcmul(w_re * self.im, w_im, self.re, value=-1)
        grad_p, grad_q = along * self.gain_p, across * self.gain_q
        if self.any_failed:
            mask = self.failed[:, None]
            grad_p, grad_q = grad_p.masked_fill_(mask, 0.0), grad_q.masked_fill_(mask, 0.0)
        return by_terminal(self.network, grad_p), by_terminal(self.network, grad_q)

    def _right_side(self, grad_u: Tensor | None, grad_j: Tensor | None) -> Tensor:
        if self.any_failed:
            mask = self.failed[:, None]
            grad_u = None if grad_u is None else grad_u.masked_fill(mask, 0.0)
            grad_j = None if grad_j is None else grad_j.masked_fill(mask, 0.0)
        if grad_u is None:
            assert grad_j is not None
            return grad_j
        through = torch.mm(grad_u, self.network.adjoint)
        return through if grad_j is None else through.add_(grad_j)

    def _fixed_point(self, right: Tensor, tolerance: float, limit: int) -> Tensor:
        """Iterates `w = right + step^T D^T w`; the map `step` carries the minus."""
        ports = self.network.num_padded_ports
        w, spare = right, torch.empty_like(right)
        pulled, change = torch.empty_like(right), torch.empty_like(right)
        block = 1 if right.device.type == "cpu" else _BLOCK
        scale = right.abs().amax(1).mul_(tolerance).clamp_min_(torch.finfo(right.dtype).tiny)
        for k in range(1, limit + 1):
            w_re, w_im = w[:, :ports], w[:, ports:]
            pulled_re, pulled_im = pulled[:, :ports], pulled[:, ports:]
            torch.mul(self.d_re_re, w_re, out=pulled_re).addcmul_(self.d_im_re, w_im)
            torch.mul(self.d_re_im, w_re, out=pulled_im).addcmul_(self.d_im_im, w_im)
            following = torch.addmm(right, pulled, self.network.adjoint, out=spare)
            spare = w if k > 1 else torch.empty_like(w)
            torch.sub(following, w, out=change)
            w = following
            look = k % block == 0 or k == limit
            if look and not bool((change.abs_().amax(1) > scale).any()):
                break
        return w

"""The fixed-point loop: port voltages of a batch of scenarios.

It runs on real arrays with preallocated buffers, one matrix product and some
fifteen elementwise passes per iteration, and tapes nothing. A batch is cut
into chunks whose buffers stay in a core's cache. Scenarios that a first sweep
does not finish, heavily loaded ones, go on by themselves, accelerated, and do
not hold the others up.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gradmap.feeders.powerflow.slots import power_by_slot

if TYPE_CHECKING:
    from gradmap.feeders.powerflow.network import Network

_CPU_CHUNK_BYTES = 3 * 2**16  # of one [chunk, port] buffer
_CUDA_CHUNK = 2**16
_CUDA_BLOCK = 4  # iterations between two looks at the result, each a synchronisation
_FIRST_SWEEP = 10  # iterations before acceleration; ordinary load needs 4 to 6
_COLD_LOOK = 3  # no cold start has converged to 1e-6 before this iteration


@dataclasses.dataclass(frozen=True, eq=False)
class FixedPoint:
    """Result of the loop, planar, reference port included.

    Attributes:
        u: Port voltages, `[batch, 2 port]`, p.u.; NaN where not converged.
        j: Port currents without their compensation, `[batch, 2 port]`, p.u.;
            NaN where not converged. `u` is the linear image of `j`.
        converged: Whether the last step met the tolerance. `[batch]`
        iterations: Iterations until the tolerance was first met, or all that
            were made. `[batch]`
        residual: Largest real or imaginary part by which the last iterate
            missed the fixed-point equation, p.u. `[batch]`
    """

    u: Tensor
    j: Tensor
    converged: Tensor
    iterations: Tensor
    residual: Tensor


def chunks(network: Network, batch: int) -> list[slice]:
    """Cuts a batch into slices whose buffers fit the cache.

    Args:
        network: The network.
        batch: Number of scenarios.

    Returns:
        Slices that cover `range(batch)`; all but the last of equal length.
    """
    size = _CUDA_CHUNK
    if network.device.type == "cpu":
        row = network.num_padded_ports * network.step.element_size()
        size = max(16, _CPU_CHUNK_BYTES // row // 16 * 16)
    return [slice(k, min(k + size, batch)) for k in range(0, max(batch, 1), size)]


def fixed_point(
    network: Network,
    p_kw: Tensor,
    q_kvar: Tensor,
    guess: Tensor | None,
    tolerance_pu: float,
    max_iterations: int,
) -> FixedPoint:
    """Solves a batch of scenarios.

    Args:
        network: The network.
        p_kw: Active power, `[batch, terminal]`, in the network's real dtype.
        q_kvar: Reactive power, same shape.
        guess: Port voltages to start from, planar, `[batch, 2 port]`, or
            `None` for those of the nominal load.
        tolerance_pu: Largest step of a real or imaginary part that counts as
            converged, p.u.
        max_iterations: Limit on iterations, at least 1.

    Returns:
        Voltages, currents and the state of each scenario.
    """
    batch = p_kw.shape[0]
    first_look = _COLD_LOOK if guess is None else 1
    start = network.start.expand(batch, -1) if guess is None else guess
    first = min(_FIRST_SWEEP, max_iterations)
    result = _sweep(network, p_kw, q_kvar, start, tolerance_pu, first, first_look)
    if bool(result.converged.all()):
        return result
    more = max_iterations - first
    # What is not finite by now has no finite power, or no way back.
    left = (~result.converged & result.residual.isfinite()).nonzero().flatten()
    if more and left.numel():
        again = _sweep(
            network, p_kw[left], q_kvar[left], result.u[left], tolerance_pu, more, 1, True
        )
        again.iterations.add_(first)
        for name in _FIELDS:
            getattr(result, name)[left] = getattr(again, name)
    failed = ~result.converged[:, None]
    result.u.masked_fill_(failed, torch.nan)
    result.j.masked_fill_(failed, torch.nan)
    return result


_FIELDS = [field.name for field in dataclasses.fields(FixedPoint)]


def _sweep(
    network: Network,
    p_kw: Tensor,
    q_kvar: Tensor,
    start: Tensor,
    tolerance_pu: float,
    max_iterations: int,
    first_look: int,
    accelerated: bool = False,
) -> FixedPoint:
    """Runs the loop chunk by chunk; what does not converge is left as it is."""
    results = []
    for part in chunks(network, p_kw.shape[0]):
        loop = _Loop(network, p_kw[part], q_kvar[part])
        run = loop.run_accelerated if accelerated else loop.run
        results.append(run(start[part], tolerance_pu, max_iterations, first_look))
    if len(results) == 1:
        return results[0]
    return FixedPoint(*(torch.cat([getattr(one, name) for one in results]) for name in _FIELDS))


class _Iterate:
    """A planar buffer `[batch, 2 port]` and its parts, sliced once."""

    def __init__(self, flat: Tensor, ports: int) -> None:
        self.flat = flat
        self.planes = flat.view(-1, 2, ports)
        self.re, self.im = self.planes.unbind(1)


class _Loop:
    """Buffers of one chunk and the passes over them."""

    def __init__(self, network: Network, p_kw: Tensor, q_kvar: Tensor) -> None:
        self.network = network
        self.power = power_by_slot(network, p_kw, q_kvar)
        slots, batch, _, ports = self.power.shape
        parts = [_Iterate(p_kw.new_empty(batch, 2 * ports), ports) for _ in range(6)]
        self.j, self.y, self.y_other, self.step, *self.iterates = parts
        work = p_kw.new_empty(2 * slots + 1, batch, ports)
        self.r, self.work = work[-1], (work[:slots], work[slots:-1])
        self.offset, self.offset_gap = network.offset.unbind(0)

    def run(
        self, start: Tensor, tolerance_pu: float, max_iterations: int, first_look: int
    ) -> FixedPoint:
        """Iterates from `start`, `[batch, 2 port]`, which is left as it is."""
        on_cpu = start.device.type == "cpu"
        steps: list[Tensor] = []
        now = _Iterate(start, self.r.shape[1])
        for k in range(1, max_iterations + 1):
            following = self.iterates[k % 2]
            self._currents(now)
            torch.mm(self.j.flat, self.network.step, out=following.flat)
            before, now = now, following
            if k < first_look:
                continue
            torch.sub(now.flat, before.flat, out=self.step.flat)
            steps.append(self.step.flat.abs_().amax(1))
            look = on_cpu or k % _CUDA_BLOCK == 0 or k == max_iterations
            if look and not bool((steps[-1] > tolerance_pu).any()):
                break  # a NaN is not above the tolerance: it never delays the others
        return self._result(now, steps, k, tolerance_pu)

    def run_accelerated(
        self, start: Tensor, tolerance_pu: float, max_iterations: int, first_look: int
    ) -> FixedPoint:
        """Iterates with Anderson's mixing of depth 1, for slow scenarios.

        At five times IEEE 123's load it takes 27 iterations in place of 75.
        """
        on_cpu = start.device.type == "cpu"
        steps: list[Tensor] = []
        ports = self.r.shape[1]
        now = _Iterate(start, ports)
        step_before = image_before = None
        for k in range(1, max_iterations + 1):
            self._currents(now)
            image = torch.mm(self.j.flat, self.network.step)
            step = image - now.flat
            steps.append(step.abs().amax(1))
            look = on_cpu or k % _CUDA_BLOCK == 0 or k == max_iterations
            if look and not bool((steps[-1] > tolerance_pu).any()):
                break
            mixed = image
            if step_before is not None and image_before is not None:
                turn = step - step_before
                square = (turn * turn).sum(1).clamp_min_(torch.finfo(turn.dtype).tiny)
                share = ((step * turn).sum(1) / square).unsqueeze(1)
                mixed = torch.addcmul(image, share, image - image_before, value=-1)
            step_before, image_before = step, image
            now = _Iterate(mixed, ports)
        # The image, not the mixture, is what the currents give.
        return self._result(_Iterate(image, ports), steps, k, tolerance_pu)

    def _result(
        self, now: _Iterate, steps: list[Tensor], count: int, tolerance_pu: float
    ) -> FixedPoint:
        residual = steps[-1]
        if len(steps) > 1:
            missed = ~(torch.stack(steps) <= tolerance_pu)  # NaN counts as missed
            iterations = missed.to(torch.int64).cumprod(0).sum(0)
            iterations.add_(1 + count - len(steps)).clamp_(max=count)
        else:
            iterations = torch.full_like(residual, count, dtype=torch.int64)
        return FixedPoint(now.flat, self.j.flat, residual <= tolerance_pu, iterations, residual)

    def _currents(self, u: _Iterate) -> None:
        """Writes the compensated currents at the voltages `u` into `j`."""
        y, other, j = self.y, self.y_other, self.j
        torch.mul(u.planes, u.planes, out=y.planes)
        torch.add(y.re, y.im, out=self.r).rsqrt_()
        self._admittance(*self.network.law.gain(self.r, self.work))
        torch.add(y.planes, self.offset_gap, out=other.planes)
        torch.mul(y.re, u.re, out=j.re).addcmul_(y.im, u.im, value=-1)
        torch.mul(other.re, u.im, out=j.im).addcmul_(other.im, u.re)

    def _admittance(self, gain_p: Tensor, gain_q: Tensor) -> None:
        """Writes `sum conj(s) g` less the compensation into `y`."""
        y = self.y
        if gain_p is gain_q:
            gain = gain_p.unsqueeze(2)
            torch.addcmul(self.offset, self.power[0], gain[0], out=y.planes)
            for slot in range(1, len(gain)):
                y.planes.addcmul_(self.power[slot], gain[slot])
            return
        y.planes.copy_(self.offset.expand_as(y.planes))
        for slot in range(len(gain_p)):
            y.re.addcmul_(self.power[slot, :, 0], gain_p[slot])
            y.im.addcmul_(self.power[slot, :, 1], gain_q[slot])

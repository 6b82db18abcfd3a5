"""The loop itself: iterates of one chunk of scenarios.

It runs on real arrays with preallocated buffers, one linear map and some
fifteen elementwise passes per iteration, and tapes nothing.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gradmap.feeders.powerflow.slots import SlotPower

if TYPE_CHECKING:
    from gradmap.feeders.powerflow.network import Network
    from gradmap.feeders.powerflow.taps import TappedMaps

_CUDA_BLOCK = 4  # iterations between two looks at the result, each a synchronisation


@dataclasses.dataclass(frozen=True, eq=False)
class FixedPoint:
    """Result of the loop, planar, reference port included.

    Attributes:
        u: Port voltages, `[batch, 2 port]`, p.u.; NaN where not converged.
        j: Port currents without their compensation, `[batch, 2 port]`, p.u.;
            NaN where not converged. `u` is the linear image of `j`.
        converged: Whether the last step met the tolerance. `[batch]`
        iterations: Iterations until the tolerance was met, or all that were
            made. `[batch]`
        residual: Largest real or imaginary part by which the last iterate
            missed the fixed-point equation, p.u. `[batch]`
    """

    u: Tensor
    j: Tensor
    converged: Tensor
    iterations: Tensor
    residual: Tensor


class _Planar(NamedTuple):
    """Views of planar values: `[batch, 2 port]`, `[batch, 2, port]`, parts."""

    flat: Tensor
    planes: Tensor
    re: Tensor
    im: Tensor


def _planar(flat: Tensor) -> _Planar:
    planes = flat.view(len(flat), 2, -1)
    return _Planar(flat, planes, planes[:, 0], planes[:, 1])


class Loop:
    """Buffers of one chunk and the passes over them.

    All views are made once: small batches spend their time on calls.

    Args:
        network: The network.
        batch: Number of scenarios.
    """

    def __init__(self, network: Network, batch: int) -> None:
        self.network = network
        self.slot_power = SlotPower(network, batch)
        self.power = self.slot_power.power.unbind(0)
        slots, ports = network.slot_terminal.shape
        buffers = network.start.new_empty(6, batch, 2 * ports).unbind(0)
        self.j, self.y, self.y_other, self.step, *self.iterates = map(_planar, buffers)
        work = network.start.new_empty(2, slots, batch, 1, ports)
        self.gains = work[0].unbind(0)
        self.work = work[0].squeeze(2), work[1].squeeze(2)
        self.r = network.start.new_empty(batch, ports)
        self.offset, self.offset_gap = network.offset.unbind(0)
        self.is_blocked = network.device.type != "cpu"

    def load(
        self,
        p_kw: Tensor,
        q_kvar: Tensor,
        start: Tensor,
        tolerance_pu: float,
        limit: int,
        tapped: TappedMaps | None = None,
    ) -> None:
        """Takes the next problem.

        Args:
            p_kw: Active power, `[batch, terminal]`.
            q_kvar: Reactive power, `[batch, terminal]`.
            start: Port voltages to start from, `[batch, 2 port]`, left as
                they are.
            tolerance_pu: Largest step that counts as converged, p.u.
            limit: Limit on iterations.
            tapped: The maps at each scenario's own taps, or `None`.
        """
        self.maps = self.network.maps if tapped is None else tapped
        self.slot_power.load(p_kw, q_kvar)
        self.start, self.tolerance, self.limit = _planar(start), tolerance_pu, limit

    def run(self, first_look: int) -> tuple[FixedPoint, bool]:
        """Iterates.

        Args:
            first_look: Iteration from which on the steps are looked at.

        Returns:
            The result, failed scenarios left as they are, and whether there
            is none of these.
        """
        steps: list[Tensor] = []
        now = self.start
        for k in range(1, self.limit + 1):
            before, now = now, self.iterates[k % 2]
            self._currents(before)
            self.maps.port_voltage(self.j.flat, out=now.flat)
            if k < first_look:
                continue
            torch.sub(now.flat, before.flat, out=self.step.flat)
            steps.append(self.step.flat.abs_().amax(1))
            if self._is_finished(steps[-1], k):
                break
        return self._result(now.flat.clone(), steps, k)

    def run_accelerated(self) -> tuple[FixedPoint, bool]:
        """Iterates with Anderson's mixing of depth 1, for slow scenarios.

        At five times IEEE 123's load it takes 27 iterations in place of 75.

        Returns:
            As `run` does.
        """
        steps: list[Tensor] = []
        now, past = self.start.flat, None
        for k in range(1, self.limit + 1):
            self._currents(_planar(now))
            image = self.maps.port_voltage(self.j.flat)
            step = image - now
            steps.append(step.abs().amax(1))
            if self._is_finished(steps[-1], k):
                break
            now = image
            if past is not None:
                turn = step - past[0]
                square = (turn * turn).sum(1).clamp_min_(torch.finfo(turn.dtype).tiny)
                share = ((step * turn).sum(1) / square).unsqueeze(1)
                now = torch.addcmul(image, share, image - past[1], value=-1)
            past = (step, image)
        # The image, not the mixture, is what the currents give.
        return self._result(image, steps, k)

    def _is_finished(self, step: Tensor, count: int) -> bool:
        """Looks at the last step; on CUDA, where looking waits, in blocks."""
        if self.is_blocked and count % _CUDA_BLOCK and count < self.limit:
            return False
        largest = float(step.max())
        if largest == largest:
            return largest <= self.tolerance
        # A scenario gone to NaN does not delay the others.
        return not bool((step > self.tolerance).any())

    def _result(self, u: Tensor, steps: list[Tensor], count: int) -> tuple[FixedPoint, bool]:
        residual = steps[-1]
        converged = residual <= self.tolerance
        if len(steps) == 1:
            iterations = torch.full_like(converged, count, dtype=torch.int64)
        else:
            iterations = (torch.stack(steps) > self.tolerance).sum(0)
            iterations.add_(1 + count - len(steps))
        is_done = bool(converged.all())
        if not is_done:
            iterations.masked_fill_(~converged, count)
        return FixedPoint(u, self.j.flat.clone(), converged, iterations, residual), is_done

    def _currents(self, u: _Planar) -> None:
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
        if gain_p is gain_q:  # and both are the buffer that `gains` looks into
            torch.addcmul(self.offset, self.power[0], self.gains[0], out=y.planes)
            for power, gain in zip(self.power[1:], self.gains[1:], strict=True):
                y.planes.addcmul_(power, gain)
            return
        y.planes.copy_(self.offset.expand_as(y.planes))
        for power, one, other in zip(self.power, gain_p, gain_q, strict=True):
            y.re.addcmul_(power[:, 0], one)
            y.im.addcmul_(power[:, 1], other)

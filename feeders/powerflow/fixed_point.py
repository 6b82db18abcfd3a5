"""The fixed-point loop: port voltages of a batch of scenarios.

It runs on real arrays with preallocated buffers, one matrix product and some
fifteen elementwise passes per iteration, and tapes nothing. A batch is cut
into chunks whose buffers stay in a core's cache.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gradmap.feeders.powerflow.network import Network

_CPU_CHUNK_BYTES = 2**16  # of one [chunk, port] buffer
_CUDA_CHUNK = 2**16
_CUDA_BLOCK = 4  # iterations between two looks at the result, each a synchronisation


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
        Slices that cover `range(batch)`, of near equal length.
    """
    size = _CUDA_CHUNK
    if network.device.type == "cpu":
        row = network.num_padded_ports * network.step.element_size()
        size = max(16, _CPU_CHUNK_BYTES // row // 16 * 16)
    return [slice(k, min(k + size, batch)) for k in range(0, batch, size)]


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
    width = network.step.shape[1]
    results = []
    for part in chunks(network, p_kw.shape[0]):
        loop = _Loop(network, p_kw[part], q_kvar[part])
        start = network.start.expand(loop.batch, width) if guess is None else guess[part]
        results.append(loop.run(start, tolerance_pu, max_iterations))
    if len(results) == 1:
        return results[0]
    names = [field.name for field in dataclasses.fields(FixedPoint)]
    return FixedPoint(*(torch.cat([getattr(one, name) for one in results]) for name in names))


class _Loop:
    """Buffers of one chunk and the passes over them."""

    def __init__(self, network: Network, p_kw: Tensor, q_kvar: Tensor) -> None:
        self.network = network
        self.batch = p_kw.shape[0]
        self.p = by_slot(network, p_kw)
        self.minus_q = by_slot(network, q_kvar).neg_()
        ports = network.num_padded_ports
        self.u = p_kw.new_empty(0)
        self.next_u, self.j, self.step = (p_kw.new_empty(self.batch, 2 * ports) for _ in range(3))
        self.r, self.y_re, self.y_im = (p_kw.new_empty(self.batch, ports) for _ in range(3))
        self.work = (torch.empty_like(self.p), torch.empty_like(self.p))
        self.minus_y0_re, self.minus_y0_im = (-network.compensation).unbind(0)

    def run(self, start: Tensor, tolerance_pu: float, max_iterations: int) -> FixedPoint:
        """Iterates from `start`, `[batch, 2 port]`, which is left as it is."""
        block = 1 if start.device.type == "cpu" else _CUDA_BLOCK
        steps: list[Tensor] = []
        self.u, spare = start, torch.empty_like(self.next_u)
        for k in range(1, max_iterations + 1):
            self.currents()
            torch.mm(self.j, self.network.step, out=self.next_u)
            torch.sub(self.next_u, self.u, out=self.step)
            steps.append(self.step.abs_().amax(1))
            self.u, self.next_u = self.next_u, spare if k == 1 else self.u
            look = k % block == 0 or k == max_iterations
            if look and not bool((steps[-1] > tolerance_pu).any()):
                break  # a NaN is not above the tolerance: it never delays the others
        return self._result(torch.stack(steps), tolerance_pu)

    def _result(self, steps: Tensor, tolerance_pu: float) -> FixedPoint:
        missed = ~(steps <= tolerance_pu)  # NaN counts as missed
        first = missed.to(torch.int64).cumprod(0).sum(0) + 1
        failed = missed[-1]
        if self.u.device.type != "cpu" or bool(failed.any()):
            self.u.masked_fill_(failed[:, None], torch.nan)
            self.j.masked_fill_(failed[:, None], torch.nan)
        return FixedPoint(self.u, self.j, ~failed, first.clamp_(max=steps.shape[0]), steps[-1])

    def currents(self) -> None:
        """Writes the compensated currents at the voltages `u` into `j`."""
        ports = self.network.num_padded_ports
        re, im = self.u[:, :ports], self.u[:, ports:]
        torch.mul(re, re, out=self.r)
        self.r.addcmul_(im, im).rsqrt_()
        gain_p, gain_q = self.network.law.gain(self.r, self.work)
        torch.addcmul(self.minus_y0_re, self.p[0], gain_p[0], out=self.y_re)
        torch.addcmul(self.minus_y0_im, self.minus_q[0], gain_q[0], out=self.y_im)
        for slot in range(1, self.p.shape[0]):
            self.y_re.addcmul_(self.p[slot], gain_p[slot])
            self.y_im.addcmul_(self.minus_q[slot], gain_q[slot])
        j_re, j_im = self.j[:, :ports], self.j[:, ports:]
        torch.mul(self.y_re, re, out=j_re)
        j_re.addcmul_(self.y_im, im, value=-1)
        torch.mul(self.y_re, im, out=j_im)
        j_im.addcmul_(self.y_im, re)


def by_slot(network: Network, power: Tensor) -> Tensor:
    """Arranges terminal values by slot and port.

    Args:
        network: The network.
        power: Values, `[batch, terminal]`.

    Returns:
        A new tensor `[slot, batch, port]`, 0 where there is no terminal.
    """
    slots, ports = network.slot_terminal.shape
    out = power.new_zeros(slots, power.shape[0], ports)
    if network.is_regular:
        for slot, values in enumerate(power.split(network.num_ports, dim=1)):
            out[slot, :, : network.num_ports] = values
        return out
    padded = torch.nn.functional.pad(power, (0, 1))
    for slot in range(slots):
        torch.index_select(padded, 1, network.slot_terminal[slot], out=out[slot])
    return out


def by_terminal(network: Network, values: Tensor) -> Tensor:
    """Undoes `by_slot`.

    Args:
        network: The network.
        values: `[slot, batch, port]`.

    Returns:
        `[batch, terminal]`.
    """
    if network.is_regular:
        return torch.cat([part[:, : network.num_ports] for part in values], dim=1)
    flat = values.transpose(0, 1).reshape(values.shape[1], -1)
    return flat.index_select(1, network.terminal_place)

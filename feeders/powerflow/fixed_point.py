"""The power flow of a batch: chunks, a first sweep, and a second for what is left.

A batch is cut into chunks whose buffers stay in a core's cache. Scenarios that
a first sweep does not finish, heavily loaded ones, go on by themselves,
accelerated, and do not hold the others up.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gradmap.feeders.powerflow.loop import FixedPoint, Loop

if TYPE_CHECKING:
    from gradmap.feeders.powerflow.network import Network
    from gradmap.feeders.powerflow.taps import TappedMaps

_CPU_CHUNK_BYTES = 3 * 2**16  # of one [chunk, port] buffer
_CUDA_CHUNK = 2**16
_CUDA_CHUNK_BYTES = 2**28  # at most, of one such buffer of a large feeder
_FIRST_SWEEP = 10  # iterations before acceleration; ordinary load needs 4 to 6
_COLD_LOOK = 3  # no cold start has converged to 1e-6 before this iteration


def chunks(network: Network, batch: int) -> list[slice]:
    """Cuts a batch into slices whose buffers fit the cache.

    Args:
        network: The network.
        batch: Number of scenarios.

    Returns:
        Slices that cover `range(batch)`; all but the last of equal length.
    """
    row = network.num_padded_ports * network.start.element_size()
    size = max(16, min(_CUDA_CHUNK, _CUDA_CHUNK_BYTES // row))
    if network.device.type == "cpu":
        size = max(16, _CPU_CHUNK_BYTES // row // 16 * 16)
    return [slice(k, min(k + size, batch)) for k in range(0, max(batch, 1), size)]


def fixed_point(
    network: Network,
    p_kw: Tensor,
    q_kvar: Tensor,
    guess: Tensor | None,
    tolerance_pu: float,
    max_iterations: int,
    tapped: TappedMaps | None = None,
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
        tapped: The maps at each scenario's own taps; `None` for the network's.

    Returns:
        Voltages, currents and the state of each scenario.
    """
    start = network.start.expand(len(p_kw), -1) if guess is None else guess
    first = min(_FIRST_SWEEP, max_iterations)
    first_look = min(_COLD_LOOK, first) if guess is None else 1
    given = (p_kw, q_kvar, start, tapped)
    result, is_done = _sweep(network, *given, tolerance_pu, first, first_look)
    if is_done:
        return result
    # What is not finite by now has no finite power, or no way back.
    left = (~result.converged & result.residual.isfinite()).nonzero().flatten()
    if max_iterations > first and left.numel():
        rest = (p_kw[left], q_kvar[left], result.u[left], tapped and tapped.rows(left))
        again, _ = _sweep(network, *rest, tolerance_pu, max_iterations - first, 0)
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
    tapped: TappedMaps | None,
    tolerance_pu: float,
    max_iterations: int,
    first_look: int,
) -> tuple[FixedPoint, bool]:
    """Runs the loop chunk by chunk; says also whether all converged.

    What does not converge is left as it is. The loop first looks at its steps
    at iteration `first_look`; 0 asks for the accelerated loop.
    """
    results = []
    parts = chunks(network, len(p_kw))
    for part in parts:
        is_whole = len(parts) == 1
        p, q, u = (x if is_whole else x[part] for x in (p_kw, q_kvar, start))
        maps = tapped if tapped is None or is_whole else tapped.rows(part)
        with network.pool.borrow(len(p), functools.partial(Loop, network, len(p))) as loop:
            loop.load(p, q, u, tolerance_pu, max_iterations, maps)
            results.append(loop.run(first_look) if first_look else loop.run_accelerated())
    if len(results) == 1:
        return results[0]
    pieces = [[getattr(one, name) for one, _ in results] for name in _FIELDS]
    return FixedPoint(*map(torch.cat, pieces)), all(is_done for _, is_done in results)

"""The same convex problem by HiGHS: slower, and nobody's work but its own.

It is the check on the interior-point method: written from the same blocks and
rows, solved by another solver. HiGHS through scipy takes linear problems, so
fuel's square is replaced by tangents from below; the optimum it finds is at
most the true one, and below it by the tangents' error alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from gradmap.baselines.dispatch.devices import Array, Block
from gradmap.baselines.dispatch.rows import Rows
from gradmap.feeders.errors import GradmapError


def solve_with_highs(
    blocks: Sequence[Block],
    group: Sequence[Any],
    rows: Rows,
    *,
    price_max: float,
    num_tangents: int = 32,
) -> float:
    """Solves the problem of one day.

    Args:
        blocks: The fleets.
        group: Group of each block's devices. `[device]` each, int64
        rows: The limits of the network.
        price_max: Price at which a limit gives way, $ per unit of a row.
        num_tangents: Tangents of each curved cost.

    Returns:
        The optimum of cost and what giving way is charged, $.

    Raises:
        GradmapError: If HiGHS does not find it.
    """
    parts = [_columns(block, num_tangents) for block in blocks]
    power = _power(blocks, group, parts, rows.per_kw.shape[2])
    num = int(rows.is_used.sum())
    step = np.nonzero(rows.is_used)[0]
    slopes = rows.per_kw[rows.is_used]
    spread = sp.csr_array(
        (
            slopes.ravel(),
            (
                np.repeat(np.arange(num), slopes.shape[1]),
                (step[:, None] * slopes.shape[1] + np.arange(slopes.shape[1])).ravel(),
            ),
        ),
        shape=(num, power.shape[0]),
    )
    # An elastic row: J p - excess <= h.
    limits = sp.hstack([spread @ power, -sp.eye_array(num)])
    equal = sp.block_diag([part[0] for part in parts])
    below = sp.block_diag([part[2] for part in parts])
    pad_equal = sp.hstack([equal, sp.csr_array((equal.shape[0], num))])
    pad_below = sp.hstack([below, sp.csr_array((below.shape[0], num))])
    bounds = np.concatenate([part[5] for part in parts] + [np.tile((0.0, np.inf), (num, 1))])
    found: Any = linprog(  # type: ignore[call-overload]  # stubs know no sparse matrix
        np.concatenate([part[4] for part in parts] + [np.full(num, price_max)]),
        A_ub=sp.vstack([pad_below, limits]).tocsc(),
        b_ub=np.concatenate([part[3] for part in parts] + [rows.right[rows.is_used]]),
        A_eq=pad_equal.tocsc(),
        b_eq=np.concatenate([part[1] for part in parts]),
        bounds=bounds,
        method="highs",
    )
    if found.status != 0:
        raise GradmapError(f"HiGHS did not solve the dispatch problem: {found.message}")
    return float(found.fun) + sum(block.constant for block in blocks)


def _columns(block: Block, num_tangents: int) -> tuple[Any, Array, Any, Array, Array, Array]:
    """A block as `A x = b, C x <= d`, cost and bounds; curved costs come last.

    The columns are the variables, in the order of `[variable, time, device]`,
    then one cost for each variable that is curved.
    """
    size, cells = int(np.prod(block.shape)), int(np.prod(block.shape[1:]))
    one = sp.eye_array(cells, format="csr")
    decay = np.broadcast_to(block.decay, block.shape[1:])[1:].ravel()
    follow = one - sp.diags_array(decay, offsets=-block.shape[2], shape=(cells, cells))
    state = [sign * follow for sign in block.sign]
    equal = sp.hstack([*(-sp.diags_array(gain.ravel()) for gain in block.gain), *state])
    curvature = np.broadcast_to(block.curvature, block.shape).ravel()
    curved = np.flatnonzero(curvature)
    upper, bend = block.upper.ravel(), curvature[curved]
    rows, right = [], []
    for share in np.linspace(0.0, 1.0, num_tangents):
        at = share * upper[curved]
        # bend at (x - at) + bend at^2 / 2 <= z
        pick = sp.csr_array((bend * at, (np.arange(len(curved)), curved)), (len(curved), size))
        rows.append(sp.hstack([pick, -sp.eye_array(len(curved))]))
        right.append(0.5 * bend * at**2)
    below = sp.vstack(rows) if len(curved) else sp.csr_array((0, size))
    wide = sp.hstack([equal, sp.csr_array((cells, len(curved)))])
    cost = np.broadcast_to(block.cost, block.shape).ravel()
    boxes = np.column_stack((np.zeros(size), upper))
    free = np.tile((-np.inf, np.inf), (len(curved), 1))
    return (
        wide,
        block.drift.ravel(),
        below,
        np.concatenate(right) if len(curved) else np.zeros(0),
        np.concatenate((cost, np.ones(len(curved)))),
        np.concatenate((boxes, free)),
    )


def _power(blocks: Sequence[Block], group: Sequence[Any], parts: Any, num_groups: int) -> Any:
    """Power of each step and group from all columns."""
    found = []
    for block, own, part in zip(blocks, group, parts, strict=True):
        time, devices = block.shape[1:]
        where = (np.arange(time)[:, None] * num_groups + own).ravel()
        gather = sp.csr_array(
            (np.ones(len(where)), (where, np.arange(len(where)))),
            shape=(time * num_groups, time * devices),
        )
        factors = [*block.power_control, *(block.power_state * block.sign)]
        rest = sp.csr_array((gather.shape[0], part[0].shape[1] - len(factors) * time * devices))
        found.append(sp.hstack([*(factor * gather for factor in factors), rest]))
    return sp.hstack(found).tocsr()

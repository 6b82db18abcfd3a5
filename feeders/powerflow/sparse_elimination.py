"""Sparse elimination in few rounds, for solves of many right-hand sides at once.

A solve by triangular factors goes node after node. Here every round
eliminates buses that are no neighbours of each other, all at once, so that a
solve is two sparse matrix products a round whatever the batch. Leaves and
buses on a line, all that a radial feeder has beside its forks, give fill of
at most one new line each, and each round takes a good third of what is left:
10,000 buses need some 20 rounds, where an elimination tree is hundreds deep.
Meshes end in a dense core.

Every bus is a block, inverted with pivoting. Between blocks there is no
pivoting: what rounding that leaves is measured and refined by the caller.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp

from gradmap.feeders.model import BoolArray, FloatArray, IntArray

_CORE = 24
"""Groups left at which the rest becomes one dense block."""

_SLACK = 2
"""Neighbours above the fewest that a group of the same round may have."""


@dataclasses.dataclass(frozen=True, eq=False)
class Factors:
    """`matrix = (1 + lower) blocks^-1 (1 + upper)`, rows and columns in `order`.

    Attributes:
        order: Row of the matrix at each place. `[n]`
        bounds: Where each round begins, then `n`. `[round + 1]`
        lower: Strictly lower part, rounds as blocks. `[n, n]`
        upper: Strictly upper part. `[n, n]`
        inverse: Block-diagonal inverses of the pivots. `[n, n]`
    """

    order: IntArray
    bounds: tuple[int, ...]
    lower: sp.csr_matrix
    upper: sp.csr_matrix
    inverse: sp.csr_matrix

    def transposed(self) -> Factors:
        """The factors of the transposed matrix."""
        lower, upper = sp.csr_matrix(self.upper.T), sp.csr_matrix(self.lower.T)
        return Factors(self.order, self.bounds, lower, upper, sp.csr_matrix(self.inverse.T))


def eliminate(matrix: sp.csr_matrix, group: IntArray) -> Factors:
    """Factorises a real matrix in rounds.

    Args:
        matrix: `[n, n]`, real.
        group: Group of each row: what is eliminated as one. Rows of a group
            that share no entry with each other are no fault. `[n]`

    Returns:
        The factors.

    Raises:
        numpy.linalg.LinAlgError: If a pivot block is singular.
    """
    left, rest = np.arange(matrix.shape[0]), sp.csr_matrix(matrix)
    rounds: list[IntArray] = []
    pieces: dict[str, list[sp.coo_matrix]] = {"lower": [], "upper": [], "inverse": []}
    while len(left):
        own = np.unique(group[left], return_inverse=True)[1].reshape(-1)
        chosen, is_core = _choose(rest, own)
        taken = chosen[own]
        inside, outside = np.flatnonzero(taken), np.flatnonzero(~taken)
        rows = rest[inside]
        blocks = np.zeros(len(inside), np.int64) if is_core else own[inside]
        inverse = _invert(sp.csr_matrix(rows[:, inside]), blocks)
        across = sp.csr_matrix(rows[:, outside])
        down = sp.csr_matrix(rest[outside])
        lower, upper = sp.csr_matrix(down[:, inside]) @ inverse, inverse @ across
        rounds.append(left[inside])
        for name, part, (row, column) in (
            ("lower", lower, (outside, inside)),
            ("upper", upper, (inside, outside)),
            ("inverse", inverse, (inside, inside)),
        ):
            pieces[name].append(_placed(part, left[row], left[column], matrix.shape))
        rest = sp.csr_matrix(down[:, outside] - lower @ across)
        left = left[outside]
    order = np.concatenate(rounds)
    bounds = (0, *np.cumsum([len(part) for part in rounds]).tolist())
    laid = {name: _permuted(parts, order) for name, parts in pieces.items()}
    return Factors(order=order, bounds=bounds, **laid)


def _choose(rest: sp.csr_matrix, own: IntArray) -> tuple[BoolArray, bool]:
    """Picks groups with few neighbours, none beside another.

    Returns:
        Whether each group is taken, and whether they are one dense core.
    """
    count = int(own.max()) + 1
    everything = np.ones(count, dtype=np.bool_)
    if count <= _CORE:
        return everything, True
    entries = rest.tocoo()
    joined = sp.coo_matrix(
        (np.ones(entries.nnz), (own[entries.row], own[entries.col])), (count, count)
    )
    graph = sp.csr_matrix(joined + joined.T)
    graph.setdiag(False)
    graph.eliminate_zeros()
    degree = np.diff(graph.indptr)
    limit = max(2, int(degree.min()) + (_SLACK if degree.min() > 2 else 0))
    taken, barred = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for k in np.argsort(degree, kind="stable")[: int((degree <= limit).sum())].tolist():
        if not barred[k]:
            taken[k] = True
            barred[graph.indices[graph.indptr[k] : graph.indptr[k + 1]]] = True
    # A round that takes next to nothing of a mesh leaves it to elimination at once.
    if degree.min() > 2 and degree.mean() > 0.5 * count:
        return everything, True
    return taken, False


def _invert(diagonal: sp.csr_matrix, block: IntArray) -> sp.csr_matrix:
    """Inverts a block-diagonal matrix; `block` numbers the block of each row."""
    number, size = np.unique(block, return_inverse=True, return_counts=True)[1:]
    number = number.reshape(-1)
    order = np.argsort(number, kind="stable")
    first = np.cumsum(size) - size
    place = np.empty(len(block), np.int64)
    place[order] = np.arange(len(block)) - first[number[order]]
    entries = diagonal.tocoo()
    rows, columns, values = [], [], []
    for width in np.unique(size).tolist():
        which = np.flatnonzero(size == width)
        slot = np.full(len(size), -1)
        slot[which] = np.arange(len(which))
        dense: FloatArray = np.zeros((len(which), width, width))
        held = slot[number[entries.row]] >= 0
        row, column = entries.row[held], entries.col[held]
        dense[slot[number[row]], place[row], place[column]] = entries.data[held]
        members = order[first[which][:, None] + np.arange(width)]
        rows.append(np.repeat(members, width, axis=1).ravel())
        columns.append(np.tile(members, (1, width)).ravel())
        values.append(np.linalg.inv(dense).ravel())
    return sp.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), diagonal.shape
    )


def _placed(
    part: sp.csr_matrix, row: IntArray, column: IntArray, shape: tuple[int, int]
) -> sp.coo_matrix:
    entries = part.tocoo()
    return sp.coo_matrix((entries.data, (row[entries.row], column[entries.col])), shape)


def _permuted(parts: list[sp.coo_matrix], order: IntArray) -> sp.csr_matrix:
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    row = place[np.concatenate([part.row for part in parts])]
    column = place[np.concatenate([part.col for part in parts])]
    data = np.concatenate([part.data for part in parts])
    return sp.csr_matrix((data, (row, column)), (len(order), len(order)))

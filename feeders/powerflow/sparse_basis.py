"""Differences in place of voltages where a sum of admittances would swallow the rest.

A closed switch of 1e7 S beside lines of 1 S, or a delta winding that only
stray admittances tie to ground: where such a node is eliminated, digits of
its neighbours are lost. With the voltage across the switch or the winding as
the unknown, the large admittances cancel before anything is rounded.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order, connected_components

from gradmap.feeders.model import Feeder, IntArray

_STIFF = 1e3
"""How far above the median of all admittances, per unit, a stiff one is."""

_FLOATING = 1e-3
"""Below it, of its largest admittance, a bus's sum of rows is that of a floating one."""


def difference_basis(feeder: Feeder, bus: IntArray) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Chooses the unknowns.

    Args:
        feeder: The feeder.
        bus: Number of each node's bus. `[node]`

    Returns:
        Node voltages as sums of the unknowns, `[node, node]`: of a node's own
        and those on its way to a node that stands for itself; and the unknowns
        as differences of node voltages.
    """
    count = feeder.num_nodes
    links = sp.csr_matrix(_stiff(feeder) + _floating(feeder, bus))
    number, island = connected_components(links, directed=False)
    parent = np.full(count, -1)
    size = np.bincount(island, minlength=number)
    first = np.unique(island, return_index=True)[1]
    for root in first[size > 1].tolist():
        order, before = breadth_first_order(links, root, directed=False)
        parent[order[1:]] = before[order[1:]]
    child = np.flatnonzero(parent >= 0)
    above = sp.csc_matrix((np.ones(len(child)), (child, parent[child])), (count, count))
    basis = power = sp.identity(count, format="csc")
    while power.nnz:  # 1 + P + P^2 ..., as long as the longest way
        power = sp.csc_matrix(above @ power)
        basis = sp.csc_matrix(basis + power)
    return sp.csr_matrix(basis), sp.csr_matrix(sp.identity(count) - above)


def _stiff(feeder: Feeder) -> sp.coo_matrix:
    """Pairs of nodes with an admittance far above all others'."""
    entries = sp.coo_matrix(feeder.y_siemens)
    row, column = entries.row.astype(np.int64), entries.col.astype(np.int64)
    kv = feeder.node_kv_base
    size = np.abs(entries.data) * kv[row] * kv[column]
    apart = (row != column) & (size > 0)
    if not apart.any():
        return _links(row[:0], column[:0], feeder.num_nodes)
    is_stiff = apart & (size > _STIFF * np.median(size[apart])) & (kv[row] == kv[column])
    return _links(row[is_stiff], column[is_stiff], feeder.num_nodes)


def _floating(feeder: Feeder, bus: IntArray) -> sp.coo_matrix:
    """Nodes of a floating bus, each beside the bus's first."""
    count = feeder.num_nodes
    y_siemens = sp.csr_matrix(feeder.y_siemens)
    member = sp.csr_matrix((np.ones(count), (bus, np.arange(count))))
    total = abs(member @ y_siemens).max(axis=1).toarray().ravel()
    own = sp.diags(np.abs(y_siemens.diagonal()))
    largest = (member @ own).max(axis=1).toarray().ravel()
    size = np.bincount(bus)
    is_floating = (size > 1) & (total < _FLOATING * largest)
    first = np.unique(bus, return_index=True)[1]
    rest = np.setdiff1d(np.flatnonzero(is_floating[bus]), first)
    return _links(first[bus[rest]], rest, count)


def _links(row: IntArray, column: IntArray, count: int) -> sp.coo_matrix:
    return sp.coo_matrix((np.ones(len(row)), (row, column)), (count, count))

"""A feeder's admittance and its ports as sparse matrices, for either kind of maps."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import GROUND, ComplexArray, Feeder, IntArray

_REFINEMENTS = 3  # a condition number of 1e12 lets each of them win four digits or more


def factorised(feeder: Feeder) -> spla.SuperLU:
    """Factorises the admittance without load.

    Args:
        feeder: The feeder.

    Returns:
        The factors.

    Raises:
        GradmapError: If the admittance is singular.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", spla.MatrixRankWarning)
            return spla.splu(sp.csc_matrix(feeder.y_siemens))
    except (RuntimeError, spla.MatrixRankWarning) as error:
        raise GradmapError(
            f"feeder {feeder.name} has a singular admittance matrix, expected every node to have "
            "a path to the source or to ground; look for an isolated bus"
        ) from error


def incidence_of(nodes: IntArray, num_nodes: int) -> sp.csr_matrix:
    """+1 at the first node of each port, -1 at the second. `[port, node]`"""
    port, end = np.nonzero(nodes != GROUND)
    sign = np.where(end == 0, 1.0, -1.0)
    return sp.csr_matrix((sign, (port, nodes[port, end])), shape=(len(nodes), num_nodes))


def refined(feeder: Feeder, factor: spla.SuperLU, right: ComplexArray) -> ComplexArray:
    """Solves the admittance without load, refined.

    What is left of the currents is taken in extended precision, where the machine has it:
    in double precision alone it is rounding by then, and voltages are known to some 1e-8 p.u.
    on IEEE 123, more or less by what library of linear algebra there is.

    Args:
        feeder: The feeder.
        factor: What `factorised` made of it.
        right: Currents, A. `[node]` or `[node, column]`

    Returns:
        Voltages, V, of the same shape.
    """
    admittance = feeder.y_siemens.astype(np.clongdouble)
    solution = factor.solve(right)
    for _ in range(_REFINEMENTS):
        left = (admittance @ solution.astype(np.clongdouble) - right).astype(np.complex128)
        solution = solution - factor.solve(left)
    return np.asarray(solution)

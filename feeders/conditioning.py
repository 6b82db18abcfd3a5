"""How well a feeder's linear equations can be solved in double precision."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from scipy.sparse.csgraph import connected_components

from gradmap.feeders.model import BoolArray, ComplexArray, Feeder

_BAD = 1e12  # above it a feeder says so; IEEE 123, a floating winding in it, has 9e12
_MOST_ERROR_PU = 1e-6  # what voltages are held to against OpenDSS


def condition_number(feeder: Feeder) -> float:
    """Estimates the condition number of a feeder's admittance, in the 1-norm.

    Infinite if the admittance is singular. IEEE 123 has 9e12, from a delta
    winding that nothing ties to ground; its voltages to ground mean little,
    those between its phases are right.

    Args:
        feeder: The feeder.
    """
    factor = _factorised(sp.csc_matrix(feeder.y_siemens))
    return np.inf if factor is None else _condition(feeder, factor)


def check_linear_part(feeder: Feeder) -> tuple[list[str], list[str]]:
    """Checks that the voltages without load can be found.

    Args:
        feeder: The feeder.

    Returns:
        Faults: one if the admittance is singular, or so badly conditioned that
        a refined solution is off by more than 1e-6 p.u. Then notes: one if it
        is badly conditioned.
    """
    factor = _factorised(sp.csc_matrix(feeder.y_siemens))
    if factor is None:
        return [f"the admittance is singular: {_islands(feeder)}"], []
    number = _condition(feeder, factor)
    error = _error_pu(feeder, factor)
    text = f"the admittance has a condition number of about {number:.1g}"
    if not error <= _MOST_ERROR_PU:
        return [f"{text}, so that voltages are off by {error:.1g} p.u.: {_islands(feeder)}"], []
    return [], [f"badly conditioned: {text}"] if number > _BAD else []


def _factorised(y_siemens: sp.csc_matrix) -> Any:
    """The sparse factors, or `None` if the matrix is singular."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", spla.MatrixRankWarning)
            return spla.splu(y_siemens)
    except (RuntimeError, spla.MatrixRankWarning):
        return None


def _condition(feeder: Feeder, factor: Any) -> float:
    def solve(right: ComplexArray) -> ComplexArray:
        return np.asarray(factor.solve(np.asarray(right, dtype=np.complex128)))

    def solve_adjoint(right: ComplexArray) -> ComplexArray:
        return np.asarray(factor.solve(np.asarray(right, dtype=np.complex128), "H"))

    inverse = spla.LinearOperator(
        feeder.y_siemens.shape,
        matvec=solve,
        rmatvec=solve_adjoint,
        matmat=solve,
        rmatmat=solve_adjoint,
        dtype=np.complex128,
    )
    return float(spla.norm(feeder.y_siemens, 1) * spla.onenormest(inverse))


def _error_pu(feeder: Feeder, factor: Any) -> float:
    """What one more refinement would still change of the voltages without load."""
    right = feeder.source_current_a
    first = factor.solve(right)
    refined = first + factor.solve(right - feeder.y_siemens @ first)
    change = factor.solve(right - feeder.y_siemens @ refined)
    return float(np.abs(change / (1e3 * feeder.node_kv_base)).max(initial=0.0))


def unfed_buses(
    y_siemens: sp.csc_matrix, is_source_node: BoolArray, node_bus: Sequence[str]
) -> tuple[str, ...]:
    """The buses that no admittance leads to from a source.

    Args:
        y_siemens: Admittance, `[node, node]`.
        is_source_node: Whether the node is a source's. `[node]`
        node_bus: Bus of each node. `[node]`
    """
    _, part = connected_components(abs(y_siemens), directed=False)
    fed = set(part[is_source_node])
    apart = [bus for bus, number in zip(node_bus, part, strict=True) if number not in fed]
    return tuple(dict.fromkeys(apart))


def _islands(feeder: Feeder) -> str:
    buses = unfed_buses(feeder.y_siemens, feeder.is_source_node, feeder.node_bus)
    if not buses:
        return "look for windings that nothing ties to ground"
    return f"no source feeds bus {', '.join(buses)}"

"""The linear part of an OpenDSS circuit: primitive matrices and the source."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from gradmap.feeders.model import GROUND, BoolArray, ComplexArray, IntArray


@dataclasses.dataclass(frozen=True, eq=False)
class Element:
    """A circuit element that carries current, as OpenDSS compiled it.

    Attributes:
        name: `class.name`, lower case.
        kind: The element's class, lower case.
        buses: Bus of each terminal, lower case, without nodes.
        num_phases: Phases.
        num_conductors: Conductors of each terminal.
        nodes: Node of each conductor, terminal by terminal, or `GROUND`.
        y_siemens: Primitive admittance, complex128, in the order of `nodes`.
    """

    name: str
    kind: str
    buses: tuple[str, ...]
    num_phases: int
    num_conductors: int
    nodes: IntArray
    y_siemens: ComplexArray


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Norton equivalent of a circuit's voltage sources.

    Attributes:
        y_siemens: Sparse `[node, node]` complex128: the sources' admittance.
        current_a: Current that they inject. `[node]`
        is_source_node: Whether the node is a source's bus. `[node]`
    """

    y_siemens: sp.csc_matrix
    current_a: ComplexArray
    is_source_node: BoolArray


def read_elements(circuit: Any) -> list[Element]:
    """Reads every enabled element, those without a primitive matrix too."""
    elements = []
    active = circuit.ActiveCktElement
    for name in circuit.AllElementNames:
        circuit.SetActiveElement(name)
        if not active.Enabled:
            continue
        nodes = np.asarray(active.NodeRef, dtype=np.int64) - 1
        values = np.asarray(active.Yprim, dtype=np.float64)
        order = len(nodes) if values.size == 2 * len(nodes) ** 2 else 0  # controls have none
        elements.append(
            Element(
                name=name.lower(),
                kind=name.lower().partition(".")[0],
                buses=tuple(bus.partition(".")[0].lower() for bus in active.BusNames),
                num_phases=int(active.NumPhases),
                num_conductors=int(active.NumConductors),
                nodes=nodes,
                # OpenDSS hands matrices out by columns.
                y_siemens=values[: 2 * order**2].view(np.complex128).reshape(order, order).T,
            )
        )
    return elements


def sum_admittances(elements: Sequence[Element], num_nodes: int) -> sp.csc_matrix:
    """Adds primitive matrices up to a nodal one.

    The sum leaves the loads out from the start. Taking them from OpenDSS's own
    system matrix instead would leave rounding of the switches' 1e6 S behind.

    Args:
        elements: The elements to add.
        num_nodes: Number of nodes.

    Returns:
        Sparse `[node, node]` complex128, S.
    """
    rows: list[IntArray] = []
    columns: list[IntArray] = []
    values: list[ComplexArray] = []
    for element in elements:
        live = np.flatnonzero(element.nodes != GROUND)
        if not element.y_siemens.size:
            continue
        nodes = element.nodes[live]
        rows.append(np.repeat(nodes, len(nodes)))
        columns.append(np.tile(nodes, len(nodes)))
        values.append(element.y_siemens[np.ix_(live, live)].ravel())
    return assemble(rows, columns, values, (num_nodes, num_nodes)).tocsc()


def assemble(
    rows: Sequence[IntArray],
    columns: Sequence[IntArray],
    values: Sequence[ComplexArray],
    shape: tuple[int, int],
) -> sp.csr_matrix:
    """Sums entries given in pieces into a sparse matrix of complex128."""
    # np.zeros(0) because there may be no pieces at all.
    value = np.concatenate([*values, np.zeros(0, dtype=np.complex128)])
    row = np.concatenate([*rows, np.zeros(0, dtype=np.int64)])
    column = np.concatenate([*columns, np.zeros(0, dtype=np.int64)])
    matrix = sp.csr_matrix((value, (row, column)), shape=shape, dtype=np.complex128)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def read_source(engine: Any, elements: Sequence[Element], num_nodes: int) -> Source:
    """Reads the Norton equivalent of the voltage sources.

    Args:
        engine: An OpenDSS context whose circuit has its matrix built.
        elements: All elements of the circuit.
        num_nodes: Number of nodes.
    """
    sources = [element for element in elements if element.kind in ("vsource", "isource")]
    engine.YMatrix.ZeroInjCurr()
    engine.YMatrix.GetSourceInjCurrents()
    # Entry 0 is ground.
    current = np.asarray(engine.YMatrix.getI(), dtype=np.float64).view(np.complex128)[1:].copy()
    is_source_node = np.zeros(num_nodes, dtype=np.bool_)
    for source in sources:
        is_source_node[source.nodes[source.nodes != GROUND]] = True
    return Source(sum_admittances(sources, num_nodes), current, is_source_node)

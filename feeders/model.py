"""The feeder as data: nodes, linear admittance, terminals, branches, regulators.

A [`Feeder`][gradmap.feeders.model.Feeder] is what the rest of the package
knows of a circuit. It is plain numpy and scipy, frozen, picklable, and holds
no handle on OpenDSS. Units are volt, ampere, siemens, kW and kvar; power is
positive when drawn from the network.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ComplexArray = npt.NDArray[np.complex128]

GROUND = -1
"""Index that stands for ground where a terminal's second node is expected."""


class LoadModel(enum.IntEnum):
    """Load laws, numbered as OpenDSS numbers its load models."""

    CONSTANT_POWER = 1
    CONSTANT_IMPEDANCE = 2
    CVR = 4
    CONSTANT_CURRENT = 5


def _freeze(value: Any) -> None:
    """Makes the memory behind an array or sparse matrix read-only."""
    if isinstance(value, np.ndarray):
        value.setflags(write=False)
    elif isinstance(value, (sp.csr_matrix, sp.csc_matrix)):
        for part in (value.data, value.indices, value.indptr):
            part.setflags(write=False)


class _Frozen:
    """Base of the records here: every array they hold is read-only."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            _freeze(getattr(self, field.name))

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Unpickled arrays come back writable; freeze them again.
        for name, value in state.items():
            object.__setattr__(self, name, value)
            _freeze(value)


@dataclasses.dataclass(frozen=True, eq=False)
class Terminals(_Frozen):
    """Load terminals: one single-phase load each, across a pair of nodes.

    A three-phase load is three terminals. All arrays are `[terminal]`.

    Attributes:
        name: `load` for a single-phase load, `load.1` .. `load.3` otherwise.
        load: Name of the load that the terminal belongs to.
        node_from: Index of the first node.
        node_to: Index of the second node, or `GROUND`.
        kv_rated: Voltage across the terminal at which P and Q are rated, kV.
        model: Load law, a `LoadModel` value.
        p_kw: Nominal active power, kW.
        q_kvar: Nominal reactive power, kvar.
        vmin_pu: Below it (of `kv_rated`) the law turns towards impedance.
        vmax_pu: Above it the law is a constant impedance.
        vlow_pu: Below it the law is the nominal constant impedance.
        cvr_p: Exponent of P with voltage, used by `LoadModel.CVR` only.
        cvr_q: Exponent of Q with voltage, used by `LoadModel.CVR` only.
        is_delta: Whether the terminal lies between two phases.
    """

    name: tuple[str, ...]
    load: tuple[str, ...]
    node_from: IntArray
    node_to: IntArray
    kv_rated: FloatArray
    model: IntArray
    p_kw: FloatArray
    q_kvar: FloatArray
    vmin_pu: FloatArray
    vmax_pu: FloatArray
    vlow_pu: FloatArray
    cvr_p: FloatArray
    cvr_q: FloatArray
    is_delta: BoolArray

    def __len__(self) -> int:
        """Number of terminals."""
        return len(self.name)


@dataclasses.dataclass(frozen=True, eq=False)
class Branches(_Frozen):
    """Lines, switches and transformers, and the conductors that they hold.

    Attributes:
        name: Element names, `line.l1`, `transformer.reg1a`. `[branch]`
        kind: `line`, `switch`, `transformer`, or a series `reactor` or
            `capacitor`. `[branch]`
        bus_from: Bus of the first terminal. `[branch]`
        bus_to: Bus of the second terminal. `[branch]`
        rating_a: Normal current rating of each phase conductor at the first
            terminal, A. `[branch]`
        conductor_branch: Branch of each conductor. `[conductor]`
        conductor_node: Node where the conductor leaves the first terminal.
            `[conductor]`
        current_siemens: Sparse `[conductor, node]` complex128: times the node
            voltages in volt it gives the current that flows into the branch
            at its first terminal, A.
        series_siemens: Sparse `[node, node]` complex128: sum of the primitive
            admittances of all branches; `Re(V^T conj(Y V))` is their loss, W.
    """

    name: tuple[str, ...]
    kind: tuple[str, ...]
    bus_from: tuple[str, ...]
    bus_to: tuple[str, ...]
    rating_a: FloatArray
    conductor_branch: IntArray
    conductor_node: IntArray
    current_siemens: sp.csr_matrix
    series_siemens: sp.csr_matrix

    def __len__(self) -> int:
        """Number of branches."""
        return len(self.name)


@dataclasses.dataclass(frozen=True, eq=False)
class Regulators(_Frozen):
    """Voltage regulators and their control settings. All `[regulator]`.

    Attributes:
        control: Name of the regulator control.
        transformer: Name of the regulated transformer.
        winding: Winding that carries the tap, counted from 1.
        bus: Bus on the regulated side.
        tap: Tap position at which the feeder's admittance was built.
        tap_min: Lowest position.
        tap_max: Highest position.
        tap_step_pu: Turns-ratio change of one position, per unit.
        vreg_v: Set point on the control's 120 V scale, V.
        band_v: Band width, V.
        pt_ratio: Ratio of the voltage transformer.
        ct_primary_a: Primary rating of the current transformer, A.
        ldc_r_v: Line-drop compensation, resistive setting, V.
        ldc_x_v: Line-drop compensation, reactive setting, V.
    """

    control: tuple[str, ...]
    transformer: tuple[str, ...]
    winding: IntArray
    bus: tuple[str, ...]
    tap: IntArray
    tap_min: IntArray
    tap_max: IntArray
    tap_step_pu: FloatArray
    vreg_v: FloatArray
    band_v: FloatArray
    pt_ratio: FloatArray
    ct_primary_a: FloatArray
    ldc_r_v: FloatArray
    ldc_x_v: FloatArray

    def __len__(self) -> int:
        """Number of regulators."""
        return len(self.control)


@dataclasses.dataclass(frozen=True, eq=False)
class Feeder(_Frozen):
    """A three-phase feeder at fixed taps, as OpenDSS compiled it.

    Attributes:
        name: Name in the catalog, or the circuit's own.
        origin: Where it was read from: a catalog name or the master file.
        node_names: `bus.phase`, lower case, in the order of `y_siemens`.
            `[node]`
        node_kv_base: Base voltage, line to neutral, kV. `[node]`
        y_siemens: Sparse `[node, node]` complex128: linear admittance with
            the source's own impedance, without any load.
        y_source_siemens: The source's part of `y_siemens`, same shape.
        source_current_a: Norton current of the source, A. `[node]`
        is_source_node: Whether the node is a source's own bus. `[node]`
        terminals: Load terminals.
        branches: Lines, switches and transformers.
        regulators: Regulators at the taps of `y_siemens`.
        bus_names: Buses in the circuit's order. `[bus]`
        bus_xy: Coordinates, NaN where the circuit gives none. `[bus, 2]`
    """

    name: str
    origin: str
    node_names: tuple[str, ...]
    node_kv_base: FloatArray
    y_siemens: sp.csc_matrix
    y_source_siemens: sp.csc_matrix
    source_current_a: ComplexArray
    is_source_node: BoolArray
    terminals: Terminals
    branches: Branches
    regulators: Regulators
    bus_names: tuple[str, ...]
    bus_xy: FloatArray

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self.node_names)

    @property
    def node_bus(self) -> tuple[str, ...]:
        """Bus of every node. `[node]`"""
        return tuple(name.rpartition(".")[0] for name in self.node_names)

    @property
    def node_phase(self) -> IntArray:
        """Phase number of every node. `[node]`"""
        return np.array([int(name.rpartition(".")[2]) for name in self.node_names])

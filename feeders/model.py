"""The feeder as data: nodes, linear admittance, terminals, branches, regulators.

A [`Feeder`][gradmap.feeders.model.Feeder] is what the rest of the package
knows of a circuit. It is plain numpy and scipy, frozen, picklable, and holds
no handle on OpenDSS. Units are volt, ampere, siemens, kW and kvar; power is
positive when drawn from the network.
"""

from __future__ import annotations

import dataclasses
import enum
import pathlib
from collections.abc import Mapping
from typing import Literal

import numpy as np
import scipy.sparse as sp

from gradmap.feeders.arrays import BoolArray as BoolArray
from gradmap.feeders.arrays import ComplexArray as ComplexArray
from gradmap.feeders.arrays import FloatArray as FloatArray
from gradmap.feeders.arrays import Frozen
from gradmap.feeders.arrays import IntArray as IntArray
from gradmap.feeders.controls import Controls
from gradmap.feeders.plants import Plants
from gradmap.feeders.trial import Trial

OnUnsupported = Literal["raise", "freeze"]
"""What becomes of elements that a `Feeder` cannot hold."""

GROUND = -1
"""Index that stands for ground where a terminal's second node is expected."""


class LoadModel(enum.IntEnum):
    """What a terminal draws at a voltage.

    Below 10 they are OpenDSS's load models by its own numbers; from 11 on, its
    laws of generators, PV systems and storage.

    Attributes:
        CONSTANT_POWER: P and Q.
        CONSTANT_IMPEDANCE: P and Q with the square of the voltage.
        MOTOR: Constant P, Q with the square of the voltage.
        CVR: P and Q with a power of the voltage each.
        CONSTANT_CURRENT: P and Q with the voltage.
        FIXED_KVAR: P and Q in the range of the voltage; outside it P as of an
            impedance, Q with the square of the voltage.
        FIXED_REACTANCE: The same, but Q with the square of the voltage always.
        ZIP: A weighted sum of constant impedance, current and power.
        GENERATOR: P and Q in the range of the voltage, an impedance below
            and above it.
        GENERATOR_ACROSS: The same for one phase connected in delta, whose
            impedance outside the range OpenDSS takes as a third.
        GENERATOR_LIMITED: P and Q, above the range too; below it no more than
            the current at `vmin`, with Q of the other sign, as OpenDSS has it.
    """

    CONSTANT_POWER = 1
    CONSTANT_IMPEDANCE = 2
    MOTOR = 3
    CVR = 4
    CONSTANT_CURRENT = 5
    FIXED_KVAR = 6
    FIXED_REACTANCE = 7
    ZIP = 8
    GENERATOR = 11
    GENERATOR_ACROSS = 12
    GENERATOR_LIMITED = 17


@dataclasses.dataclass(frozen=True, eq=False)
class Terminals(Frozen):
    """Where power is drawn or injected: one phase each, across a pair of nodes.

    A three-phase load is three terminals. Generators, PV systems and storage
    draw a negative power. All arrays are `[terminal]`.

    Attributes:
        name: The element's own, `one`, or with `.1` .. `.3` if it has several
            phases. A load's stands alone; others have their class before it,
            `generator.g1`. So has a load whose name another terminal has: no
            two are the same.
        load: Name of the element that the terminal belongs to.
        kind: Its class: `load`, `generator`, `pvsystem` or `storage`.
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
        zipv: Shares of constant impedance, current and power in P, then in Q,
            and the voltage below which the load drops out (0 for none), used
            by `LoadModel.ZIP` only. `[terminal, 7]`
        is_delta: Whether the terminal lies between two phases.
    """

    name: tuple[str, ...]
    load: tuple[str, ...]
    kind: tuple[str, ...]
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
    zipv: FloatArray
    is_delta: BoolArray

    def __len__(self) -> int:
        """Number of terminals."""
        return len(self.name)


@dataclasses.dataclass(frozen=True, eq=False)
class Branches(Frozen):
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
class Regulators(Frozen):
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
class Feeder(Frozen):
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
        source_current_a: Norton current of the sources, and of what is frozen,
            A. `[node]`
        is_source_node: Whether the node is a source's own bus. `[node]`
        frozen: Names of the elements that a constant current stands for, the
            one that they draw in OpenDSS's solution, and of the controls that
            rest where that solution has them.
        frozen_current_a: The part of `source_current_a` that stands for the
            frozen elements, A. `[node]`
        notes: What reading the circuit left out or found worth a word.
        terminals: Terminals of loads, generators, PV systems and storage.
        branches: Lines, switches and transformers.
        regulators: Regulators at the taps of `y_siemens`.
        bus_names: Buses in the circuit's order. `[bus]`
        bus_xy: Coordinates, NaN where the circuit gives none. `[bus, 2]`
        controls: What can move, how the admittance follows, and the controls.
        plants: Ratings of generators, PV systems and storage.
    """

    name: str
    origin: str
    node_names: tuple[str, ...]
    node_kv_base: FloatArray
    y_siemens: sp.csc_matrix
    y_source_siemens: sp.csc_matrix
    source_current_a: ComplexArray
    is_source_node: BoolArray
    frozen: tuple[str, ...]
    frozen_current_a: ComplexArray
    notes: tuple[str, ...]
    terminals: Terminals
    branches: Branches
    regulators: Regulators
    bus_names: tuple[str, ...]
    bus_xy: FloatArray
    controls: Controls = dataclasses.field(default_factory=Controls.none)
    plants: Plants = dataclasses.field(default_factory=Plants.none)

    @classmethod
    def from_dss(
        cls,
        path: str | pathlib.Path,
        *,
        on_unsupported: OnUnsupported = "raise",
        taps: Mapping[str, int] | int | None = None,
        name: str | None = None,
        trial: Trial | bool = True,
    ) -> Feeder:
        """Reads any circuit from OpenDSS files.

        The circuit stands as a snapshot finds it: regulators, capacitors and
        switches where `taps` and the files put them (or, if the files solve
        the circuit, where that leaves them), loads at their multipliers,
        generators, PV systems and storage at the powers of OpenDSS's solution.

        The files are not trusted: nothing in them opens an editor, runs a
        command, loads code or writes a file. Commands that only report
        (`Show`, `Export`, `Plot`, ...) are skipped, and `notes` lists them;
        what runs a program is refused. OpenDSS itself crashes on some
        mistakes, so a circuit is read in a process of its own first.

        Args:
            path: The circuit's master file.
            on_unsupported: What becomes of elements that no terminal and no
                matrix can stand for: "raise" names all of them in one error;
                "freeze" puts the constant current in their place that they
                draw in OpenDSS's solution, and `frozen` lists them.
            taps: Positions of the regulators, counted from the neutral one:
                one for all, or by control's name; `None` leaves them as found.
            name: Name of the feeder; the circuit's own by default.
            trial: What the circuit may take in a process of its own, where it
                is read first: `True` for 300 s and 4 GiB, a `Trial` of
                `gradmap.feeders.trial` for others, `False` to read a file
                that you trust at once. A circuit that came through is not
                tried again until one of its files changes.

        Returns:
            The feeder.

        Raises:
            GradmapError: If a file is missing or refused, if OpenDSS crashes,
                takes too long or too much memory, reports an error or finds
                no solution, if an element is not supported,
                or if a tap cannot be set; with OpenDSS's message and the file.
        """
        from gradmap.feeders.dss import read_feeder

        return read_feeder(path, name=name, taps=taps, on_unsupported=on_unsupported, trial=trial)

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

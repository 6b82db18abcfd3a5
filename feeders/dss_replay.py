"""OpenDSS's own power flow at given terminal powers, taps frozen.

The reference that our power flow is validated against, and the last word on
the voltages that a trained policy causes.
"""

from __future__ import annotations

import dataclasses
import itertools
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from dss import DSSException

from gradmap.feeders.catalog import compile_origin
from gradmap.feeders.dss import set_taps
from gradmap.feeders.dss_batch import Batch, NodeVoltages
from gradmap.feeders.dss_engine import borrow_engine, return_engine
from gradmap.feeders.dss_stand_in import replace_elements
from gradmap.feeders.dss_text import one_line
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import GROUND, ComplexArray, Feeder, IntArray


@dataclasses.dataclass(frozen=True, eq=False)
class ReplaySolution:
    """OpenDSS's answer. If it did not converge, every number is NaN.

    Attributes:
        v_pu: Node voltages, per unit of the node's base, complex128. `[node]`
        converged: Whether OpenDSS converged.
        iterations: Iterations that OpenDSS took.
        losses_kw: Losses of lines, transformers and series elements, kW.
        source_kw: Power drawn from the source, kW.
        branch_current_a: Current into each conductor at its branch's first
            terminal, A, complex128. `[conductor]`
    """

    v_pu: ComplexArray
    converged: bool
    iterations: int
    losses_kw: float
    source_kw: float
    branch_current_a: ComplexArray


class OpenDSSReplay:
    """A feeder held in an OpenDSS context of its own, ready to be solved often.

    Every terminal of the feeder becomes a single-phase load or generator of its
    law, so that the phases of a three-phase load take powers of their own; what
    is frozen becomes its current. With `devices`, one constant-power load (0.8
    to 1.2 per unit) follows for each terminal, across the same nodes.

    A solve starts from the solution before, which moves the answer by less
    than `tolerance_pu`. Not safe to share between threads.

    Args:
        feeder: The feeder, at the taps to use; read again from its `origin`.
        devices: Whether to add the device terminals.
        tolerance_pu: OpenDSS's tolerance on a step in voltage.
        max_iterations: Iterations after which a solve counts as failed.

    Raises:
        GradmapError: If the circuit at `feeder.origin` cannot be compiled, or
            has other nodes or branches than the feeder.
    """

    def __init__(
        self,
        feeder: Feeder,
        *,
        devices: bool = True,
        tolerance_pu: float = 1e-10,
        max_iterations: int = 2000,
    ) -> None:
        self.feeder = feeder
        self.num_terminals = len(feeder.terminals) * (2 if devices else 1)
        self._engine = borrow_engine()
        self._finalizer = weakref.finalize(self, return_engine, self._engine)
        self._finalizer.atexit = False  # nobody borrows it after that
        try:
            compile_origin(self._engine, feeder.origin)
            regulators = feeder.regulators
            taps = dict(zip(regulators.control, map(int, regulators.tap), strict=True))
            set_taps(self._engine, taps, feeder.origin)
            names = replace_elements(self._engine, feeder, devices)
            self._engine.Text.Command = (
                f"Set LoadMult=1 Tolerance={tolerance_pu} MaxIterations={max_iterations}"
            )
            self._engine.ActiveCircuit.Solution.Solve()
            self._attach(names)
        except DSSException as error:
            self.close()
            raise GradmapError(f"{feeder.origin}: OpenDSS reports: {one_line(error)}") from error
        except GradmapError:
            self.close()
            raise

    def _attach(self, names: Sequence[str]) -> None:
        """Finds loads, nodes and conductors in the compiled circuit."""
        feeder, circuit = self.feeder, self._engine.ActiveCircuit
        node_names = [str(node).lower() for node in circuit.YNodeOrder]
        branch_names = {str(name).lower() for name in circuit.AllElementNames}
        if set(node_names) != set(feeder.node_names) or not branch_names.issuperset(
            feeder.branches.name
        ):
            raise GradmapError(
                f"{feeder.origin}: the circuit's nodes or branches are not those of feeder "
                f"{feeder.name!r}: read the feeder again"
            )
        position = {node: i for i, node in enumerate(node_names)}
        self._order = np.array([position[node] for node in feeder.node_names])
        self._volts = feeder.node_kv_base * 1e3
        is_load = np.array([name.startswith("load.") for name in names], dtype=np.bool_)
        self._at_loads, self._at_generators = np.flatnonzero(is_load), np.flatnonzero(~is_load)
        self._loads = Batch(self._engine, list(itertools.compress(names, is_load)))
        self._generators = Batch(self._engine, list(itertools.compress(names, ~is_load)))
        self._branches = Batch(self._engine, feeder.branches.name)
        self._conductors = _conductor_positions(circuit, feeder)
        self._voltages = NodeVoltages(self._engine)

    def move(
        self, taps: npt.ArrayLike | None = None, capacitors: npt.ArrayLike | None = None
    ) -> None:
        """Moves taps and switches capacitors for the solves to come.

        Args:
            taps: Position of every regulator of the feeder; `None` leaves them.
                `[regulator]`
            capacitors: Whether each of `feeder.controls.capacitors` is on.
                `[capacitor]`

        Raises:
            GradmapError: If a tap is not a position of its regulator.
        """
        if taps is not None:
            positions = map(int, np.asarray(taps).tolist())
            by_name = dict(zip(self.feeder.regulators.control, positions, strict=True))
            set_taps(self._engine, by_name, self.feeder.origin)
        if capacitors is not None:
            banks = self._engine.ActiveCircuit.Capacitors
            states = np.asarray(capacitors).tolist()
            for name, is_on in zip(self.feeder.controls.capacitors.name, states, strict=True):
                banks.Name = name
                banks.States = [int(is_on)]

    def solve(self, p_kw: npt.ArrayLike, q_kvar: npt.ArrayLike) -> ReplaySolution:
        """Solves one power flow.

        Args:
            p_kw: Active power drawn at each terminal at its rated voltage, kW:
                the feeder's terminals in their order, then the devices in the
                same order. `[terminal]`
            q_kvar: Reactive power drawn, kvar. `[terminal]`

        Raises:
            GradmapError: If a shape is wrong or a power not finite.
        """
        p, q = self._powers("p_kw", p_kw), self._powers("q_kvar", q_kvar)
        # Setting kW rescales kvar, so kvar comes last.
        for name, power in (("kW", p), ("kvar", q)):
            self._loads.set(name, power[self._at_loads])
            if len(self._at_generators):
                self._generators.set(name, -power[self._at_generators])
        circuit = self._engine.ActiveCircuit
        solution = circuit.Solution
        try:
            solution.Solve()
            converged = bool(solution.Converged)
        except DSSException:
            converged = False
        v_pu = self._voltages.read()[self._order] / self._volts
        converged = converged and bool(np.isfinite(v_pu).all())
        if not converged:
            # Start the next solve from no load, not from here.
            self._engine.YMatrix.SolutionInitialized = False
            nan = np.full(len(self._conductors), np.nan, dtype=np.complex128)
            gone = np.full_like(v_pu, np.nan)
            return ReplaySolution(gone, False, int(solution.Iterations), np.nan, np.nan, nan)
        return ReplaySolution(
            v_pu=v_pu,
            converged=True,
            iterations=int(solution.Iterations),
            losses_kw=float(circuit.Losses[0]) / 1e3,
            source_kw=-float(circuit.TotalPower[0]) - self._frozen_kw(v_pu),
            branch_current_a=self._branches.currents_a()[self._conductors],
        )

    def _frozen_kw(self, v_pu: ComplexArray) -> float:
        """What the frozen elements inject, kW: OpenDSS counts it as a source's."""
        injected = v_pu * self.feeder.node_kv_base * np.conj(self.feeder.frozen_current_a)
        return float(injected.real.sum())

    def _powers(self, name: str, values: npt.ArrayLike) -> Any:
        array = np.asarray(values, dtype=np.float64)
        if array.shape != (self.num_terminals,):
            raise GradmapError(
                f"{name} has shape {array.shape}, expected ({self.num_terminals},): "
                f"{len(self.feeder.terminals)} terminals, then the devices if there are any"
            )
        if not np.isfinite(array).all():
            raise GradmapError(f"{name} holds a value that is not finite")
        return array

    def close(self) -> None:
        """Gives the OpenDSS context back; the replay cannot solve any more."""
        self._finalizer()

    def __enter__(self) -> OpenDSSReplay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _conductor_positions(circuit: Any, feeder: Feeder) -> IntArray:
    """Where each of the feeder's conductors lies among a batch's currents."""
    positions: list[int] = []
    start = 0
    node_index = {name: i for i, name in enumerate(feeder.node_names)}
    names = [str(node).lower() for node in circuit.YNodeOrder]
    conductor_node = iter(feeder.branches.conductor_node)
    for name in feeder.branches.name:
        circuit.SetActiveElement(name)
        active = circuit.ActiveCktElement
        nodes = [int(node) - 1 for node in active.NodeRef]
        for conductor in range(int(active.NumPhases)):
            if nodes[conductor] != GROUND:
                positions.append(start + conductor)
                if node_index[names[nodes[conductor]]] != next(conductor_node):
                    raise GradmapError(f"{feeder.origin}: {name} lies at other nodes than before")
        start += len(nodes)
    return np.array(positions, dtype=np.int64)

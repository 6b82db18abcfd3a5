"""OpenDSS circuits read into a `Feeder`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dss import DSSException

from gradmap.feeders import dss_trial
from gradmap.feeders.conditioning import check_linear_part, unfed_buses
from gradmap.feeders.dss_controls import read_controls
from gradmap.feeders.dss_engine import (
    Engine,
    borrow_engine,
    compile_circuit,
    return_engine,
    solve_snapshot,
)
from gradmap.feeders.dss_freeze import freeze
from gradmap.feeders.dss_journal import Journal
from gradmap.feeders.dss_linear import read_elements, read_source, sum_admittances
from gradmap.feeders.dss_names import duplicate_faults
from gradmap.feeders.dss_plants import read_plants
from gradmap.feeders.dss_read import (
    read_branches,
    read_buses,
    read_regulators,
    regulator_faults,
)
from gradmap.feeders.dss_support import (
    HAS_OPEN_CONDUCTOR,
    LINEAR_KINDS,
    study_faults,
    unsupported,
)
from gradmap.feeders.dss_terminals import read_terminals
from gradmap.feeders.dss_text import one_line
from gradmap.feeders.errors import GradmapError, raise_faults
from gradmap.feeders.model import Feeder, OnUnsupported, Regulators
from gradmap.feeders.trial import Trial

Taps = Mapping[str, int] | int | None
"""Regulator taps: as the files have them, one for all, or by control's name."""

_WHOLE_MATRIX = 2  # 1 would leave shunts out


def set_taps(engine: Engine, taps: Taps, subject: str) -> None:
    """Moves the regulators of a compiled circuit.

    Args:
        engine: A context with a circuit.
        taps: Positions counted from the neutral one; `None` moves nothing.
        subject: What to name in an error, such as the file's path.

    Raises:
        GradmapError: If a control is unknown or a position out of its range.
    """
    if taps is None:
        return
    regulators = read_regulators(engine.ActiveCircuit)
    if not isinstance(taps, Mapping):
        taps = dict.fromkeys(regulators.control, taps)
    wanted = {control.lower(): tap for control, tap in taps.items()}
    raise_faults(subject, _tap_faults(wanted, regulators))
    controls = engine.ActiveCircuit.RegControls
    for control, tap in wanted.items():
        controls.Name = control
        controls.TapNumber = int(tap)


def _tap_faults(taps: Mapping[str, int], regulators: Regulators) -> list[str]:
    """One phrase per tap that cannot be set."""
    faults = []
    index = {control: i for i, control in enumerate(regulators.control)}
    known = ", ".join(regulators.control) or "none"
    for control, tap in taps.items():
        i = index.get(control)
        if i is None:
            faults.append(f"no regulator control {control!r} (known: {known})")
            continue
        low, high = int(regulators.tap_min[i]), int(regulators.tap_max[i])
        if isinstance(tap, bool) or not isinstance(tap, int | np.integer):
            faults.append(f"tap of {control} is {tap!r}, expected a whole number")
        elif not low <= tap <= high:
            faults.append(f"tap of {control} is {tap}, expected {low} to {high}")
    return faults


def read_feeder(
    path: str | pathlib.Path,
    *,
    name: str | None = None,
    origin: str | None = None,
    taps: Taps = None,
    on_unsupported: OnUnsupported = "raise",
    trial: Trial | bool = True,
    journal: Journal | None = None,
) -> Feeder:
    """Reads a circuit from OpenDSS files: what `Feeder.from_dss` does.

    Args:
        path: The circuit's master file.
        name: Name of the feeder; the circuit's own by default.
        origin: What `Feeder.origin` says; the file's absolute path by default.
        taps: Positions of the regulators, counted from the neutral one: one
            for all, or by control's name; `None` leaves them as found.
        on_unsupported: "raise" or "freeze".
        trial: As for `Feeder.from_dss`.
        journal: Told of every file before it is read and of all that OpenDSS
            is about to do.

    Raises:
        GradmapError: As `Feeder.from_dss` does.
    """
    if on_unsupported not in ("raise", "freeze"):
        raise GradmapError(f"on_unsupported is {on_unsupported!r}, expected 'raise' or 'freeze'")
    dss_trial.try_circuit(path, trial, taps=taps, on_unsupported=on_unsupported)
    journal = Journal() if journal is None else journal
    engine = borrow_engine()
    try:
        notes = compile_circuit(engine, path, journal)
        set_taps(engine, taps, str(path))
        journal.begins("the solution of the snapshot")
        # Fixes the order of the nodes, allocates their vectors and refreshes the
        # primitive matrices after a change of taps.
        engine.ActiveCircuit.Solution.BuildYMatrix(_WHOLE_MATRIX, 1)
        try:
            solve_snapshot(engine, str(path))
        except GradmapError as error:
            raise GradmapError("; ".join([str(error), *_suspects(engine)])) from None
        journal.begins("what is read of the solved circuit")
        feeder = _read(engine, str(path), on_unsupported)
        origin = origin or str(pathlib.Path(path).resolve())
        faults, doubts = check_linear_part(feeder)
        raise_faults(str(path), faults)
        notes = (*notes, *feeder.notes, *doubts)
        controls = read_controls(engine, feeder)  # moves what can move, so it comes last
        dss_trial.remember(path, journal)
        return dataclasses.replace(
            feeder, name=name or feeder.name, origin=origin, notes=notes, controls=controls
        )
    except DSSException as error:
        raise GradmapError(f"{path}: OpenDSS reports: {one_line(error)}") from error
    finally:
        return_engine(engine)


def _suspects(engine: Engine) -> list[str]:
    """One phrase per thing that may keep OpenDSS from solving a circuit."""
    circuit = engine.ActiveCircuit
    elements = read_elements(circuit)
    odd = unsupported(circuit, elements, is_solved=False)
    node_bus = [str(node).lower().rpartition(".")[0] for node in circuit.YNodeOrder]
    y = sum_admittances([e for e in elements if e.kind in LINEAR_KINDS], len(node_bus))
    unfed = unfed_buses(y, read_source(engine, elements, len(node_bus)).is_source_node, node_bus)
    found = [f"{name} {reason}" for name, reason in odd.items()]
    return [*found, f"no source feeds bus {', '.join(unfed)}"] if unfed else found


def _read(engine: Engine, subject: str, on_unsupported: OnUnsupported) -> Feeder:
    """Reads the circuit that an engine holds solved."""
    circuit = engine.ActiveCircuit
    node_names = tuple(str(node).lower() for node in circuit.YNodeOrder)
    num_nodes = len(node_names)
    elements = read_elements(circuit)
    raise_faults(subject, duplicate_faults(element.name for element in elements))
    odd = {**unsupported(circuit, elements), **regulator_faults(circuit)}
    held = [element for element in elements if element.name not in odd]
    buses, kv_base, xy = read_buses(circuit)
    node_kv_base = np.array([kv_base[node.rpartition(".")[0]] for node in node_names])
    linear = [element for element in held if element.kind in LINEAR_KINDS]
    y = sum_admittances(linear, num_nodes)
    faults = _odd_faults(odd, on_unsupported)
    faults += study_faults(circuit) + _bus_faults(buses, kv_base)
    faults += _lone_nodes(y.diagonal(), node_names)
    raise_faults(subject, faults)
    terminals = read_terminals(circuit, held)
    regulators = read_regulators(circuit, odd)
    frozen_current_a = freeze(circuit, [e for e in elements if e.name in odd], num_nodes)
    source = read_source(engine, elements, num_nodes)
    return Feeder(
        name=str(circuit.Name).lower(),
        origin=subject,
        node_names=node_names,
        node_kv_base=node_kv_base,
        y_siemens=y,
        y_source_siemens=source.y_siemens,
        source_current_a=source.current_a + frozen_current_a if odd else source.current_a,
        is_source_node=source.is_source_node,
        frozen=tuple(odd),
        frozen_current_a=frozen_current_a,
        notes=tuple(f"{name} {reason}: frozen" for name, reason in odd.items()),
        terminals=terminals,
        branches=read_branches(circuit, held, num_nodes),
        regulators=regulators,
        bus_names=buses,
        bus_xy=xy,
        plants=read_plants(circuit, held),
    )


def _odd_faults(odd: Mapping[str, str], on_unsupported: OnUnsupported) -> list[str]:
    """One phrase per element that is not supported, or that cannot be frozen."""
    if on_unsupported == "raise":
        faults = [f"{name} {reason}" for name, reason in odd.items()]
        return [*faults, "on_unsupported='freeze' takes these as they rest"] if faults else []
    return [
        f"{name} {reason} and cannot be frozen: take it out, or write a load for each phase"
        for name, reason in odd.items()
        if reason == HAS_OPEN_CONDUCTOR and name.startswith("load.")
    ]


def _bus_faults(buses: Sequence[str], kv_base: Mapping[str, float]) -> list[str]:
    """One phrase if some bus has no base voltage."""
    bare = [bus for bus in buses if not kv_base[bus] > 0.0]
    if not bare:
        return []
    return [
        f"no base voltage at bus {', '.join(bare)}: "
        "add `Set VoltageBases=[...]` and `CalcVoltageBases`"
    ]


def _lone_nodes(diagonal: Any, node_names: Sequence[str]) -> list[str]:
    """One phrase if some node is reached by loads only."""
    lone = [name for name, y in zip(node_names, diagonal, strict=True) if y == 0]
    return [f"nothing but loads connects node {', '.join(lone)}"] if lone else []

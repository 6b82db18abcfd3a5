"""Readers of an OpenDSS circuit's branches, regulators and buses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from gradmap.feeders.dss_linear import Element, assemble, sum_admittances
from gradmap.feeders.model import (
    GROUND,
    Branches,
    ComplexArray,
    FloatArray,
    IntArray,
    Regulators,
)


def regulator_faults(circuit: Any) -> dict[str, str]:
    """Regulators whose tap is not a whole position around 1: the reason by name."""
    faults = {}
    for control in circuit.RegControls:
        low, high, num, tap = _tap_range(circuit, control.Transformer, control.TapWinding)
        position = (tap - 1.0) * num / (high - low)
        name = control.Name.lower()
        if abs(low + high - 2.0) > 1e-9:
            faults[f"regcontrol.{name}"] = f"has taps from {low} to {high}, not around 1"
        elif abs(position - round(position)) > 1e-6:
            faults[f"regcontrol.{name}"] = f"has its tap at {tap}, between two positions"
    return faults


def read_branches(circuit: Any, elements: Sequence[Element], num_nodes: int) -> Branches:
    """Reads lines, switches and transformers, and reactors in series."""
    chosen = [e for e in elements if _is_branch(e)]
    rows: list[IntArray] = []
    columns: list[IntArray] = []
    values: list[ComplexArray] = []
    branch: list[int] = []
    node: list[int] = []
    for i, element in enumerate(chosen):
        live = np.flatnonzero(element.nodes != GROUND)
        for conductor in range(element.num_phases):
            if element.nodes[conductor] == GROUND:
                continue
            rows.append(np.full(len(live), len(branch)))
            columns.append(element.nodes[live])
            values.append(element.y_siemens[conductor, live])
            branch.append(i)
            node.append(int(element.nodes[conductor]))
    kinds_ratings = [_kind_and_rating(circuit, element) for element in chosen]
    return Branches(
        name=tuple(e.name for e in chosen),
        kind=tuple(kind for kind, _ in kinds_ratings),
        bus_from=tuple(e.buses[0] for e in chosen),
        bus_to=tuple(e.buses[1] for e in chosen),
        rating_a=np.array([rating for _, rating in kinds_ratings], dtype=np.float64),
        conductor_branch=np.array(branch, dtype=np.int64),
        conductor_node=np.array(node, dtype=np.int64),
        current_siemens=assemble(rows, columns, values, (len(branch), num_nodes)),
        series_siemens=sp.csr_matrix(sum_admittances(chosen, num_nodes)),
    )


def _is_branch(element: Element) -> bool:
    """Whether an element leads from one bus to another."""
    if element.kind in ("line", "transformer", "autotrans"):
        return True
    second = element.nodes[element.num_conductors :]
    return element.kind in ("reactor", "capacitor") and bool((second != GROUND).any())


def _kind_and_rating(circuit: Any, element: Element) -> tuple[str, float]:
    """A branch's kind and the rating of its conductors at terminal 1, A."""
    circuit.SetActiveElement(element.name)
    if element.kind == "transformer":
        return "transformer", _transformer_rating_a(circuit, element)
    if element.kind == "line":
        circuit.Lines.Name = element.name.partition(".")[2]
        kind = "switch" if circuit.Lines.IsSwitch else "line"
        return kind, float(circuit.Lines.NormAmps)
    kind = "transformer" if element.kind == "autotrans" else element.kind
    return kind, float(circuit.ActiveCktElement.NormalAmps)


def _transformer_rating_a(circuit: Any, element: Element) -> float:
    """Rated current of winding 1 in its lines: kVA, without OpenDSS's 110 %."""
    circuit.Transformers.Name = element.name.partition(".")[2]
    circuit.Transformers.Wdg = 1
    line_factor = 1.0 if element.num_phases == 1 else 3.0**0.5
    return float(circuit.Transformers.kVA) / (line_factor * float(circuit.Transformers.kV))


def read_regulators(circuit: Any, leave_out: Collection[str] = ()) -> Regulators:
    """Reads the regulator controls at their present taps.

    Args:
        circuit: The circuit.
        leave_out: Controls to leave out, as `regcontrol.name`.
    """
    records: list[tuple[Any, ...]] = []
    for control in circuit.RegControls:
        name, transformer = control.Name.lower(), control.Transformer.lower()
        if f"regcontrol.{name}" in leave_out:
            continue
        winding = int(control.TapWinding)
        low, high, num, tap = _tap_range(circuit, transformer, winding)
        step = (high - low) / num
        circuit.SetActiveElement(f"transformer.{transformer}")
        bus = circuit.ActiveCktElement.BusNames[winding - 1].partition(".")[0].lower()
        record = [name, transformer, winding, bus, round((tap - 1.0) / step)]
        record += [round((low - 1.0) / step), round((high - 1.0) / step), step]
        record += [float(control.ForwardVreg), float(control.ForwardBand), float(control.PTratio)]
        record += [float(control.CTPrimary), float(control.ForwardR), float(control.ForwardX)]
        records.append(tuple(record))
    columns = list(zip(*records, strict=True)) or [()] * 14
    whole = {2, 4, 5, 6}
    fields: list[Any] = [
        tuple(c) if i in (0, 1, 3) else np.array(c, dtype=np.int64 if i in whole else np.float64)
        for i, c in enumerate(columns)
    ]
    return Regulators(*fields)


def _tap_range(circuit: Any, transformer: str, winding: int) -> tuple[float, float, int, float]:
    """Lowest and highest tap, number of steps and present tap of a winding."""
    circuit.Transformers.Name = transformer
    circuit.Transformers.Wdg = winding
    t = circuit.Transformers
    return float(t.MinTap), float(t.MaxTap), int(t.NumTaps), float(t.Tap)


def read_buses(circuit: Any) -> tuple[tuple[str, ...], dict[str, float], FloatArray]:
    """Reads the buses.

    Returns:
        Names; base voltage of each, line to neutral, kV; coordinates
        `[bus, 2]`, NaN where the circuit gives none.
    """
    names = tuple(name.lower() for name in circuit.AllBusNames)
    kv_base = {}
    xy = np.full((len(names), 2), np.nan)
    for i, name in enumerate(names):
        circuit.SetActiveBus(name)
        bus = circuit.ActiveBus
        kv_base[name] = float(bus.kVBase)
        if bus.Coorddefined:
            xy[i] = float(bus.x), float(bus.y)
    return names, kv_base, xy

"""Reads what can move in an OpenDSS circuit: taps, capacitors and their controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradmap.feeders.controls import (
    Adjustable,
    Capacitors,
    Controls,
)
from gradmap.feeders.dss_capacitors import read_capacitor_controls
from gradmap.feeders.dss_linear import Element, read_elements
from gradmap.feeders.dss_regulators import read_regulator_controls
from gradmap.feeders.model import GROUND, ComplexArray, Feeder

_WHOLE_MATRIX = 2  # 1 would leave shunts out
_FIT = 1e-9  # relative; the primitive matrix follows the tap to rounding


@dataclasses.dataclass(frozen=True, eq=False)
class _Law:
    """One element: its matrices over the wires that it keeps.

    Attributes:
        wires: Conductors that are not at ground, in the order of the element.
        fixed: `[wire, wire]`
        linear: `[wire, wire]`
        square: `[wire, wire]`
    """

    element: Element
    wires: Any
    fixed: ComplexArray
    linear: ComplexArray
    square: ComplexArray


def read_controls(engine: Any, feeder: Feeder) -> Controls:
    """Reads what can move. It leaves the taps and capacitors of the circuit moved.

    Args:
        engine: The context that holds the feeder's circuit.
        feeder: The feeder as read from it.
    """
    circuit = engine.ActiveCircuit
    names = _movable(circuit, feeder)
    if not len(feeder.regulators) and not names:
        return Controls.none(feeder.num_nodes)
    elements = {element.name: element for element in read_elements(circuit)}
    found, capacitors = _capacitors(circuit, elements, names)
    faults = _regulator_faults(feeder, elements)
    before = [elements.get(f"transformer.{name}") for name in feeder.regulators.transformer]
    _move_all(circuit, feeder)
    after = {element.name: element for element in read_elements(circuit)}
    laws: list[_Law | None] = []
    for k, element in enumerate(before):
        law = None if element is None else _regulator_law(feeder, k, element, after[element.name])
        if law is None:
            faults.setdefault(k, "does not scale with its tap as a transformer's winding does")
        laws.append(None if k in faults else law)
    laws += [_capacitor_law(after[f"capacitor.{name}"]) for name in found]
    return Controls(
        adjustable=_adjustable(laws, feeder),
        capacitors=capacitors,
        regulator=read_regulator_controls(circuit, feeder, elements, _wire_index(laws), faults),
        **read_capacitor_controls(circuit, feeder, elements, found),
    )


def _movable(circuit: Any, feeder: Feeder) -> list[str]:
    """Shunt capacitors of one step."""
    series = {name.partition(".")[2] for name in feeder.branches.name if name[:4] == "capa"}
    found = []
    for capacitor in circuit.Capacitors:
        name = capacitor.Name.lower()
        circuit.SetActiveElement(f"capacitor.{name}")
        if name not in series and int(capacitor.NumSteps) == 1 and circuit.ActiveCktElement.Enabled:
            found.append(name)
    return found


def _capacitors(
    circuit: Any, elements: Mapping[str, Element], names: list[str]
) -> tuple[list[str], Capacitors]:
    """Names and record of those that are wholly on or wholly off."""
    rows = []
    for name in names:
        element = elements[f"capacitor.{name}"]
        circuit.SetActiveElement(element.name)
        active = circuit.ActiveCktElement
        is_open = {
            bool(active.IsOpen(terminal, conductor))
            for terminal in range(1, int(active.NumTerminals) + 1)
            for conductor in range(1, element.num_phases + 1)
        }
        circuit.Capacitors.Name = name
        has_step = bool(circuit.Capacitors.States[0])
        if len(is_open) == 1 or not has_step:
            is_on = has_step and is_open == {False}
            rows.append((name, element.buses[0], float(circuit.Capacitors.kvar), is_on))
    columns = list(zip(*rows, strict=True)) or [()] * 4
    record = Capacitors(
        columns[0], columns[1], np.array(columns[2], np.float64), np.array(columns[3], np.bool_)
    )
    return list(record.name), record


def _regulator_faults(feeder: Feeder, elements: Mapping[str, Element]) -> dict[int, str]:
    """Regulators whose transformer no tap of their own can move: the reason by index."""
    names = feeder.regulators.transformer
    faults = {}
    for k, name in enumerate(names):
        if f"transformer.{name}" not in elements:
            faults[k] = "its transformer is an autotransformer or disabled"
        elif names.count(name) > 1:
            faults[k] = "its transformer has another regulator's control too"
    return faults


def _move_all(circuit: Any, feeder: Feeder) -> None:
    """Puts every tap elsewhere and every capacitor in service, and rebuilds the matrices."""
    regulators = feeder.regulators
    for k, transformer in enumerate(regulators.transformer):
        circuit.Transformers.Name = transformer
        circuit.Transformers.Wdg = int(regulators.winding[k])
        circuit.Transformers.Tap = _other_ratio(feeder, k)
    for capacitor in circuit.Capacitors:
        circuit.SetActiveElement(f"capacitor.{capacitor.Name}")
        for terminal in range(1, int(circuit.ActiveCktElement.NumTerminals) + 1):
            circuit.ActiveCktElement.Close(terminal, 0)
        capacitor.States = [1] * int(capacitor.NumSteps)
    circuit.Solution.BuildYMatrix(_WHOLE_MATRIX, 0)


def _other_ratio(feeder: Feeder, k: int) -> float:
    """A turns ratio far from the present one."""
    r = feeder.regulators
    other = r.tap_min[k] if r.tap[k] > 0 else r.tap_max[k]
    return 1.0 + float(other) * float(r.tap_step_pu[k])


def _regulator_law(feeder: Feeder, k: int, at: Element, other: Element) -> _Law | None:
    """Splits a transformer's matrix by the powers of the tap; None if it does not fit."""
    r = feeder.regulators
    ratio, other_ratio = 1.0 + float(r.tap[k]) * float(r.tap_step_pu[k]), _other_ratio(feeder, k)
    wires = np.flatnonzero(at.nodes != GROUND)
    y, y_other = (each.y_siemens[np.ix_(wires, wires)] for each in (at, other))
    is_tapped = wires // at.num_conductors == int(r.winding[k]) - 1
    own, cross = np.outer(is_tapped, is_tapped), is_tapped[:, None] ^ is_tapped
    square = np.where(own, (y - y_other) / (ratio**-2 - other_ratio**-2), 0.0)
    linear = np.where(cross, y * ratio, 0.0)
    fixed = np.where(cross, 0.0, y - square / ratio**2)
    again = fixed + linear / other_ratio + square / other_ratio**2
    if np.abs(again - y_other).max() > _FIT * np.abs(y).max():
        return None
    return _Law(at, wires, fixed, linear, square)


def _capacitor_law(element: Element) -> _Law:
    wires = np.flatnonzero(element.nodes != GROUND)
    linear = element.y_siemens[np.ix_(wires, wires)]
    return _Law(element, wires, np.zeros_like(linear), linear, np.zeros_like(linear))


def _adjustable(laws: list[_Law | None], feeder: Feeder) -> Adjustable:
    """Puts the elements one after the other."""
    wires, entries, start = [], [], 0
    branch = {name: i for i, name in enumerate(feeder.branches.name)}
    for k, law in enumerate(laws):
        if law is None:
            continue
        element, count = law.element, len(law.wires)
        conductors = np.full(count, -1)
        conductors[law.wires < element.num_phases] = (
            np.flatnonzero(feeder.branches.conductor_branch == branch[element.name])
            if element.name in branch
            else -1
        )
        wires.append((np.full(count, k), element.nodes[law.wires], conductors))
        row, column = (x.ravel() for x in np.indices((count, count)))
        matrices = (law.fixed, law.linear, law.square)
        entries.append((start + row, start + column, *(m.ravel() for m in matrices)))
        start += count
    none = Controls.none().adjustable
    if not wires:
        return none
    whole: list[Any] = [np.concatenate(part).astype(np.int64) for part in zip(*wires, strict=True)]
    numbers: list[Any] = [np.concatenate(part) for part in zip(*entries, strict=True)]
    return Adjustable(*whole, *(n.astype(np.int64) for n in numbers[:2]), *numbers[2:])


def _wire_index(laws: list[_Law | None]) -> dict[tuple[int, int], int]:
    """Place among all wires by element and its conductor."""
    pairs = [(k, int(w)) for k, law in enumerate(laws) if law is not None for w in law.wires]
    return {pair: place for place, pair in enumerate(pairs)}

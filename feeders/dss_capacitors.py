"""Settings of OpenDSS's capacitor controls, and what they measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from gradmap.feeders.controls import GREATEST, LEAST, MEAN, CapacitorControls, CapacitorKind
from gradmap.feeders.dss_linear import Element, assemble
from gradmap.feeders.model import GROUND, Feeder

_KINDS = {
    "voltage": CapacitorKind.VOLTAGE,
    "kvar": CapacitorKind.KVAR,
    "current": CapacitorKind.CURRENT,
    "time": CapacitorKind.TIME,
}
_PHASES = {"max": GREATEST, "min": LEAST, "avg": MEAN}


def read_capacitor_controls(
    circuit: Any, feeder: Feeder, elements: Mapping[str, Element], capacitors: Sequence[str]
) -> dict[str, Any]:
    """Reads the controls of capacitors.

    Args:
        circuit: The circuit.
        feeder: The feeder as read from it.
        elements: The circuit's elements by name, as the feeder has them.
        capacitors: Names of the capacitors that can be switched.

    Returns:
        `capacitor` and `held` of `Controls`.
    """
    rows: list[tuple[Any, ...]] = []
    held: list[str] = []
    probes: list[tuple[int, int, int]] = []
    currents: list[Any] = []
    moving = {f"transformer.{name}" for name in feeder.regulators.transformer}
    moving |= {f"capacitor.{name}" for name in capacitors}
    taken: set[str] = set()
    for name in [str(control.Name).lower() for control in circuit.CapControls]:
        control = _Control(circuit, name)
        reason = control.reason(elements, capacitors, moving)
        if not reason and control.capacitor in taken:
            reason = "its capacitor has another control too"
        if reason:
            held.append(f"capcontrol.{name}: {reason}")
            continue
        taken.add(control.capacitor)
        for node, other, current in control.probes(elements):
            probes.append((len(rows), node, other))
            currents.append(current)
        rows.append((name, capacitors.index(control.capacitor), *control.settings()))
    return {"capacitor": _record(rows, probes, currents, feeder), "held": tuple(held)}


def _record(
    rows: Sequence[tuple[Any, ...]], probes: Any, currents: Any, feeder: Feeder
) -> CapacitorControls:
    columns = list(zip(*rows, strict=True)) or [()] * 12
    whole = {1, 2, 9}
    fields: list[Any] = [
        np.array(c, np.int64 if i in whole else float) for i, c in enumerate(columns) if i
    ]
    table = np.array(probes, np.int64).reshape(-1, 3)
    counts = [np.full(len(nodes), i) for i, (nodes, _) in enumerate(currents)]
    shape = (len(table), feeder.num_nodes)
    siemens = sp.csr_matrix(
        assemble(counts, [n for n, _ in currents], [v for _, v in currents], shape)
    )
    fields += [*(np.ascontiguousarray(part) for part in table.T), siemens]
    return CapacitorControls(columns[0], *fields)


class _Control:
    """One control."""

    def __init__(self, circuit: Any, name: str) -> None:
        circuit.SetActiveElement(f"capcontrol.{name}")
        active = circuit.ActiveCktElement
        self.value = {
            str(n).lower(): str(active.Properties(n).Val) for n in active.AllPropertyNames
        }
        self.capacitor = self.value["capacitor"].lower().removeprefix("capacitor.")
        self.element = self.value["element"].lower()
        self.kind = self.value["type"].lower()
        circuit.Capacitors.Name = self.capacitor
        self.is_delta = bool(circuit.Capacitors.IsDelta)

    def _is(self, name: str) -> bool:
        return self.value[name].lower().startswith(("y", "t"))

    def _number(self, name: str) -> float:
        return float(self.value[name])

    def _phase(self) -> str:
        return self.value["ctphase" if self.kind == "current" else "ptphase"].lower()

    def reason(
        self, elements: Mapping[str, Element], capacitors: Sequence[str], moving: set[str]
    ) -> str:
        """Why the control is not followed; "" if it is."""
        if not self._is("enabled"):
            return "is disabled"
        if self.kind not in _KINDS:
            return f"is of type {self.kind}, expected one of {', '.join(_KINDS)}"
        if self.capacitor not in capacitors:
            return "its capacitor is not a shunt of one step, wholly on or off"
        if self._is("voltoverride") and (self.value["vbus"].strip() or self.kind != "kvar"):
            return "overrides by voltage, which is followed for type kvar alone, without VBus"
        monitored = elements.get(self.element)
        if self.kind == "time":
            return ""
        if monitored is None:
            return f"monitors {self.element}, which is not there"
        if self.kind != "voltage" and self.element in moving:
            return f"measures a current of {self.element}, which itself moves"
        phase = self._phase()
        if phase not in _PHASES and int(phase) > monitored.num_phases:
            return "measures a phase that is not there"
        if self.is_delta and (self.kind != "voltage" or phase in _PHASES):
            return "its capacitor is in delta"
        return ""

    def settings(self) -> tuple[Any, ...]:
        """The row of the record, from `kind` on."""
        phase, is_override = self._phase(), self._is("voltoverride")
        return (
            int(_KINDS[self.kind]),
            *map(self._number, ("onsetting", "offsetting", "delay", "delayoff")),
            *map(self._number, ("ptratio", "ctratio")),
            _PHASES[phase] if phase in _PHASES else int(phase) - 1,
            self._number("vmin") if is_override else 0.0,
            self._number("vmax") if is_override else 0.0,
        )

    def probes(self, elements: Mapping[str, Element]) -> list[tuple[int, int, Any]]:
        """Node, node against it, and the current as nodes and siemens, of each phase."""
        element = elements.get(self.element)
        if self.kind == "time" or element is None:
            return []
        start = (int(self.value["terminal"]) - 1) * element.num_conductors
        nodes = element.nodes[start : start + element.num_phases]
        live = np.flatnonzero(element.nodes != GROUND)
        is_moving = self.kind == "voltage"
        found = []
        for phase in range(element.num_phases):
            other = int(nodes[(phase + 1) % len(nodes)]) if self.is_delta else GROUND
            row = element.y_siemens[start + phase, live]
            none = live[:0]
            current = (none, row[:0]) if is_moving else (element.nodes[live], row)
            found.append((int(nodes[phase]), other, current))
        return found

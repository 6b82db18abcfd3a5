"""Settings of OpenDSS's regulator controls, and what they measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gradmap.feeders.controls import GREATEST, LEAST, RegulatorControls
from gradmap.feeders.dss_linear import Element
from gradmap.feeders.model import GROUND, Feeder

_PHASES = {"max": GREATEST, "min": LEAST}
_ROOT3 = 3.0**0.5
Probe = tuple[int, int, int]
"""Node, node against it, wire of the compensating current."""


def read_regulator_controls(
    circuit: Any,
    feeder: Feeder,
    elements: Mapping[str, Element],
    wire_index: Mapping[tuple[int, int], int],
    faults: Mapping[int, str],
) -> RegulatorControls:
    """Reads the controls of a feeder's regulators.

    Args:
        circuit: The circuit.
        feeder: The feeder as read from it.
        elements: The circuit's elements by name.
        wire_index: Place of a wire by regulator and conductor of its transformer.
        faults: Regulators that cannot move, by index: why.
    """
    rows, probes = [], []
    for k, name in enumerate(feeder.regulators.control):
        circuit.SetActiveElement(f"regcontrol.{name}")
        element = elements.get(f"transformer.{feeder.regulators.transformer[k]}")
        row, measured, reason = _Reader(circuit, feeder, k, element, wire_index).read()
        reason = faults.get(k, reason)
        rows.append((reason, *row))
        probes += [(k, *probe) for probe in measured if not reason]
    whole = {2, 3, 4, 8}
    columns = list(zip(*rows, strict=True)) or [()] * 9
    fields: list[Any] = [columns[0]]
    for i, column in enumerate(columns[1:], 1):
        fields.append(np.array(column, np.bool_ if i == 2 else np.int64 if i in whole else float))
    table = np.array(probes, np.int64).reshape(-1, 4)
    return RegulatorControls(*fields, *(np.ascontiguousarray(part) for part in table.T))


class _Reader:
    """Reads one control, the active element of the circuit."""

    def __init__(
        self,
        circuit: Any,
        feeder: Feeder,
        k: int,
        element: Element | None,
        wire_index: Mapping[tuple[int, int], int],
    ) -> None:
        self.circuit, self.feeder, self.k = circuit, feeder, k
        self.element, self.wire_index = element, wire_index
        active = circuit.ActiveCktElement
        self.value = {
            str(n).lower(): str(active.Properties(n).Val) for n in active.AllPropertyNames
        }

    def read(self) -> tuple[tuple[Any, ...], list[Probe], str]:
        """Returns the settings, the probes, and why it is held, if it is."""
        winding = int(self.value["winding"])
        conn, winding_v = self._winding(winding)
        phase = self.value["ptphase"].lower()
        is_remote = bool(self.value["bus"].strip())
        probes, reason = [], self._reason(conn)
        if self.element is not None and not reason:
            probes = self._remote() if is_remote else self._local(winding, conn)
            if not probes or (phase not in _PHASES and int(phase) > len(probes)):
                reason = "measures a phase or bus that is not there"
        ratio = self.value["remoteptratio" if is_remote else "ptratio"]
        tapped = int(self.feeder.regulators.winding[self.k])
        row = (
            float(self.value["delay"]),
            self._is("inversetime"),
            int(self.value["maxtapchange"]),
            1 if winding == tapped else -1,
            winding_v,
            float(ratio),
            float(self.value["vlimit"]),
            _PHASES[phase] if phase in _PHASES else int(phase) - 1,
        )
        return row, probes, reason

    def _is(self, name: str) -> bool:
        return self.value[name].lower().startswith(("y", "t"))

    def _reason(self, conn: str) -> str:
        """Why the control is not followed; "" if it is."""
        if not self._is("enabled"):
            return "it is disabled"
        for name in ("reversible", "cogen", "revneutral"):
            if self._is(name):
                return f"it is {name}, and only forward regulation is followed"
        if float(self.value["ldc_z"]) != 0.0:
            return "it compensates by LDC_Z, and only R and X are followed"
        if int(self.value["maxtapchange"]) == 0:
            return "its MaxTapChange is 0"
        if float(self.value["vlimit"]) > 0.0 and self.value["bus"].strip():
            return "it has a VLimit beside a remote bus"
        is_many = self.element is not None and self.element.num_phases > 1
        if conn == "delta" and (is_many or self.value["bus"].strip()):
            return "it measures a winding in delta"
        return ""

    def _winding(self, winding: int) -> tuple[str, float]:
        """Connection and rated voltage, V, of the regulated winding."""
        if self.element is None:
            return "wye", 1.0
        transformers = self.circuit.Transformers
        transformers.Name = self.feeder.regulators.transformer[self.k]
        transformers.Wdg = winding
        is_delta = bool(transformers.IsDelta)
        volt = 1e3 * float(transformers.kV)
        is_phase = is_delta or self.element.num_phases == 1
        return ("delta" if is_delta else "wye"), (volt if is_phase else volt / _ROOT3)

    def _local(self, winding: int, conn: str) -> list[Probe]:
        """Each phase of the winding, against its neutral or other end."""
        element = self.element
        assert element is not None
        start = (winding - 1) * element.num_conductors
        nodes = element.nodes[start : start + element.num_conductors]
        compensates = float(self.value["r"]) != 0.0 or float(self.value["x"]) != 0.0
        return [
            (
                int(nodes[phase]),
                int(nodes[-1]),
                self.wire_index.get((self.k, start + phase), -1) if compensates else -1,
            )
            for phase in range(element.num_phases)
        ]

    def _remote(self) -> list[Probe]:
        """Nodes of the bus that it names, against ground; no drop is compensated."""
        assert self.element is not None
        bus, *phases = self.value["bus"].strip().lower().split(".")
        count = self.element.num_phases
        numbers = [*phases, "1", "2", "3"][:count] if not phases else phases[:count]
        place = {name: i for i, name in enumerate(self.feeder.node_names)}
        names = [f"{bus}.{number}" for number in numbers]
        known = all(name in place for name in names)
        return [(place[name], GROUND, -1) for name in names] if known else []

"""What of an OpenDSS circuit a `Feeder` holds, and what it does not, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradmap.feeders.dss_linear import Element
from gradmap.feeders.dss_terminals import (
    GENERATOR_KINDS,
    VARIABLE,
    is_nowhere,
    is_switched_on,
    read_generator,
)
from gradmap.feeders.model import LoadModel

LINEAR_KINDS = frozenset(
    {
        *("vsource", "isource", "line", "transformer", "autotrans"),
        *("capacitor", "reactor", "fault"),
    }
)
"""Classes whose primitive matrix says all about an element, sources included."""

# Controls that do nothing once frozen, and what carries no current.
_PASSIVE = {
    *("regcontrol", "capcontrol", "swtcontrol", "relay", "recloser", "fuse"),
    *("energymeter", "monitor", "sensor"),
}
# Controls of a power that go on with every voltage.
_CONTROLS = {
    *("invcontrol", "expcontrol", "storagecontroller", "gendispatcher"),
    *("espvlcontrol", "upfccontrol"),
}
_LOAD_MODELS = tuple(int(model) for model in LoadModel if model < LoadModel.GENERATOR)
HAS_OPEN_CONDUCTOR = "has an open conductor"
"""Why such an element is refused; OpenDSS 0.14 has another current of such a load every time."""
_FIXED_Q = (LoadModel.FIXED_KVAR, LoadModel.FIXED_REACTANCE)
_SNAPSHOT_POWER_FLOW = 1  # Solution.LoadModel


def unsupported(
    circuit: Any, elements: Sequence[Element], *, is_solved: bool = True
) -> dict[str, str]:
    """Finds what a `Feeder` cannot hold as it is, though it could freeze it.

    Args:
        circuit: A circuit.
        elements: Its elements.
        is_solved: Whether the circuit is solved; what generators draw is then
            held to their laws.

    Returns:
        The reason by name of the element, in the circuit's order.
    """
    found = {}
    for element in elements:
        if element.kind == "load":
            reason = _load_reason(circuit, element)
        elif element.kind in GENERATOR_KINDS:
            reason = _generator_reason(circuit, element, is_solved)
        elif element.kind in _CONTROLS:
            reason = "sets a power by the voltage, which is not supported"
        elif element.kind not in LINEAR_KINDS | _PASSIVE:
            reason = "is of a class that is not supported"
        else:
            reason = ""
        if reason:
            found[element.name] = reason
    return found


def _load_reason(circuit: Any, element: Element) -> str:
    load = circuit.Loads
    load.Name = element.name.partition(".")[2]
    model = int(load.Model)
    if model not in _LOAD_MODELS:
        return f"has model {model}, expected one of {', '.join(map(str, _LOAD_MODELS))}"
    if model == LoadModel.ZIP and not any(load.ZIPV):
        return "has model 8 without its ZIPV"
    if model in _FIXED_Q and int(load.Status) == VARIABLE and circuit.Solution.LoadMult != 1.0:
        return f"has model {model}, whose Q the load multiplier moves below Vlowpu alone"
    return _place_reason(circuit, element)


def _place_reason(circuit: Any, element: Element) -> str:
    if is_nowhere(circuit, element):
        return "has a phase with both ends at one node"
    return "" if is_switched_on(circuit, element).all() else HAS_OPEN_CONDUCTOR


def _generator_reason(circuit: Any, element: Element, is_solved: bool) -> str:
    circuit.SetActiveElement(element.name)
    get = circuit.ActiveCktElement.Properties
    model = int(get("Model").Val)
    is_inverter = element.kind != "generator"
    if model == 3 and not is_inverter:
        return "holds the magnitude of its voltage (model 3), which is not supported"
    models = (1, 2) if is_inverter else (1, 2, 7)
    if model not in models:
        return f"has model {model}, expected one of {', '.join(map(str, models))}"
    if _is_yes(get("Balanced").Val) and element.num_phases == 3 and (is_inverter or model == 7):
        return "balances its phases, which is not supported"
    if is_inverter and _is_yes(get("LimitCurrent").Val):
        return "limits its current, which is not supported"
    if is_inverter and get("ControlMode").Val.lower().startswith("gfm"):
        return "forms the grid, which is not supported"
    if reason := _place_reason(circuit, element):
        return reason
    if is_solved and not read_generator(circuit, element).fit(circuit, element)[2]:
        return "draws a current that is not that of its model"
    return ""


def _is_yes(value: str) -> bool:
    return value.lower().startswith(("y", "t"))


def study_faults(circuit: Any) -> list[str]:
    """One phrase per setting of the whole circuit that changes what its loads draw."""
    faults = []
    solution = circuit.Solution
    if int(solution.Year):
        faults.append(f"year is {int(solution.Year)}: growth is not supported, `Set Year=0`")
    if int(solution.LoadModel) != _SNAPSHOT_POWER_FLOW:
        faults.append("loads are admittances: not supported, `Set LoadModel=PowerFlow`")
    hz = float(solution.Frequency)
    sources = [float(source.Frequency) for source in circuit.Vsources]
    if not any(math.isclose(hz, of_source) for of_source in sources):
        faults.append(
            f"frequency is {hz:g} Hz, at which no source feeds: `Set Frequency={sources[0]:g}`"
        )
    return faults

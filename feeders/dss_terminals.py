"""Loads, generators, PV systems and storage of an OpenDSS circuit as terminals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradmap.feeders.dss_linear import Element
from gradmap.feeders.dss_names import unique_names
from gradmap.feeders.model import (
    GROUND,
    BoolArray,
    ComplexArray,
    FloatArray,
    IntArray,
    LoadModel,
    Terminals,
)

GENERATOR_KINDS = ("generator", "pvsystem", "storage")
"""Classes whose elements draw a negative power."""

VARIABLE = 0
"""`Loads.Status` of a load that follows the load multiplier."""

# By the element's own number of its model. A PV system's or storage's 1 and 2
# are a generator's.
_GENERATOR_LAWS = {
    1: LoadModel.GENERATOR,
    2: LoadModel.CONSTANT_IMPEDANCE,
    7: LoadModel.GENERATOR_LIMITED,
}
_LINE_TO_LINE = (2, 3)  # numbers of phases at which OpenDSS rates a wye line to line
_FIT = 1e-6  # relative; OpenDSS's currents follow its own law to rounding


class _Row(NamedTuple):
    """A terminal: the fields of `Terminals`, in their order."""

    name: str
    load: str
    kind: str
    node_from: int
    node_to: int
    kv_rated: float
    model: int
    p_kw: float
    q_kvar: float
    vmin_pu: float
    vmax_pu: float
    vlow_pu: float
    cvr_p: float
    cvr_q: float
    zipv: Sequence[float]
    is_delta: bool


_TYPES: dict[str, Any] = dict.fromkeys(
    ("kv_rated", "p_kw", "q_kvar", "vmin_pu", "vmax_pu", "vlow_pu", "cvr_p", "cvr_q", "zipv"),
    np.float64,
) | {"node_from": np.int64, "node_to": np.int64, "model": np.int64, "is_delta": np.bool_}
_NO_ZIPV = (0.0,) * 7


def read_terminals(circuit: Any, elements: Sequence[Element]) -> Terminals:
    """Reads everything that draws or injects a power, a terminal for each phase.

    P and Q are those that OpenDSS solves a snapshot with: multipliers, limits
    and dispatch are in them. The circuit has been solved.

    Args:
        circuit: The circuit.
        elements: Those of its elements that are to be read, whatever they are.
    """
    rows: list[_Row] = []
    for element in elements:
        if element.kind == "load":
            rows += _load_rows(circuit, element)
    for element in elements:
        if element.kind in GENERATOR_KINDS:
            rows += _generator_rows(circuit, element)
    columns = dict(zip(_Row._fields, zip(*rows, strict=True), strict=True)) if rows else {}
    if rows:
        columns["name"] = unique_names(columns["name"], columns["kind"], columns["load"])
    fields: dict[str, Any] = {}
    for name in _Row._fields:
        values = columns.get(name, ())
        fields[name] = np.array(values, _TYPES[name]) if name in _TYPES else tuple(values)
    fields["zipv"] = fields["zipv"].reshape(-1, 7)
    return Terminals(**fields)


def _load_rows(circuit: Any, element: Element) -> list[_Row]:
    """One load's terminals."""
    name = element.name.partition(".")[2]
    circuit.SetActiveElement(element.name)
    active, load = circuit.ActiveCktElement, circuit.Loads
    load.Name = name
    num_phases, is_delta = element.num_phases, bool(load.IsDelta)
    kv = float(load.kV)
    if not is_delta and num_phases in _LINE_TO_LINE:
        kv /= 3.0**0.5
    is_variable = int(load.Status) == VARIABLE
    scale = (float(circuit.Solution.LoadMult) if is_variable else 1.0) / num_phases
    model = int(load.Model)
    pairs = node_pairs(element.nodes, num_phases, is_delta)
    return [
        _Row(
            name=name if num_phases == 1 else f"{name}.{phase + 1}",
            load=name,
            kind="load",
            node_from=one,
            node_to=other,
            kv_rated=kv,
            model=model,
            p_kw=float(load.kW) * scale,
            q_kvar=float(load.kvar) * scale,
            vmin_pu=float(load.Vminpu),
            vmax_pu=float(load.Vmaxpu),
            vlow_pu=float(active.Properties("Vlowpu").Val),
            cvr_p=float(load.CVRwatts),
            cvr_q=float(load.CVRvars),
            zipv=list(load.ZIPV) if model == LoadModel.ZIP else _NO_ZIPV,
            is_delta=other != GROUND and is_delta,
        )
        for phase, (one, other) in enumerate(_from_nodes(pairs))
    ]


def node_pairs(nodes: IntArray, num_phases: int, is_delta: bool) -> IntArray:
    """The two nodes of each phase of a load or generator, `[phase, 2]`.

    Delta goes round; the neutral of a wye is the last conductor.
    """
    phase = np.arange(num_phases)
    other = nodes[(phase + 1) % len(nodes)] if is_delta else np.full(num_phases, nodes[-1])
    return np.stack([nodes[:num_phases], other], axis=1).astype(np.int64)


def _from_nodes(pairs: IntArray) -> list[tuple[int, int]]:
    """The pairs with ground, if it is in one, as the second; no law knows the difference."""
    return [(b, a) if a == GROUND else (a, b) for a, b in pairs.tolist()]


def is_nowhere(circuit: Any, element: Element) -> bool:
    """Whether a phase of a load or generator begins and ends at one node."""
    if element.kind == "load":
        circuit.Loads.Name = element.name.partition(".")[2]
        pairs = node_pairs(element.nodes, element.num_phases, bool(circuit.Loads.IsDelta))
    else:
        pairs = read_generator(circuit, element).pairs
    return bool((pairs[:, 0] == pairs[:, 1]).any())


def _generator_rows(circuit: Any, element: Element) -> list[_Row]:
    """Terminals of a generator, PV system or storage as the solution has it."""
    circuit.SetActiveElement(element.name)
    law = read_generator(circuit, element)
    p_kw, q_kvar, _ = law.fit(circuit, element)
    many = element.num_phases > 1
    return [
        _Row(
            name=f"{element.name}.{phase + 1}" if many else element.name,
            load=element.name,
            kind=element.kind,
            node_from=one,
            node_to=other,
            kv_rated=law.kv,
            model=int(law.model),
            p_kw=p_kw,
            q_kvar=q_kvar,
            vmin_pu=law.vmin_pu,
            vmax_pu=law.vmax_pu,
            vlow_pu=0.0,
            cvr_p=1.0,
            cvr_q=2.0,
            zipv=_NO_ZIPV,
            is_delta=other != GROUND and law.is_delta,
        )
        for phase, (one, other) in enumerate(_from_nodes(law.pairs))
    ]


class GeneratorLaw(NamedTuple):
    """The law of a generator, PV system or storage.

    Attributes:
        model: The law.
        kv: Rated voltage across each phase, kV.
        vmin_pu: Lower end of its range.
        vmax_pu: Upper end.
        is_delta: Whether it is connected in delta.
        pairs: The nodes of each phase, `[phase, 2]`.
    """

    model: LoadModel
    kv: float
    vmin_pu: float
    vmax_pu: float
    is_delta: bool
    pairs: IntArray

    def gains(self, u: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gains of P and Q at voltages per unit of rated voltage."""
        if self.model == LoadModel.CONSTANT_IMPEDANCE:
            return np.ones_like(u), np.ones_like(u)
        inside = np.maximum(u, 1e-9) ** -2
        if self.model == LoadModel.GENERATOR_LIMITED:
            limit = 1.0 / (self.vmin_pu * np.maximum(u, 1e-9))
            is_low = u < self.vmin_pu
            return np.where(is_low, limit, inside), np.where(is_low, -limit, inside)
        outside = 1.0 / 3.0 if self.model == LoadModel.GENERATOR_ACROSS else 1.0
        below, above = (outside * (v**-2 if v else 1.0) for v in (self.vmin_pu, self.vmax_pu))
        gain = np.where(u <= self.vmin_pu, below, np.where(u > self.vmax_pu, above, inside))
        return gain, gain

    def fit(self, circuit: Any, element: Element) -> tuple[float, float, bool]:
        """Finds P and Q of each phase from the currents of OpenDSS's solution.

        Returns:
            kW and kvar drawn by each phase, and whether the currents are
            those of the law at all.
        """
        volt = np.append(np.asarray(circuit.YNodeVarray).view(np.complex128), 0.0)
        across = volt[self.pairs[:, 0]] - volt[self.pairs[:, 1]]
        gain_p, gain_q = self.gains(np.abs(across) / (1e3 * self.kv))
        base = across / (1e3 * self.kv**2)  # A per kW at the gain of 1
        incidence = _incidence(element, self)
        circuit.SetActiveElement(element.name)
        current: ComplexArray = np.asarray(circuit.ActiveCktElement.Currents).view(np.complex128)
        one = incidence @ np.stack([gain_p * base, -1j * gain_q * base], axis=1)
        system = np.concatenate([one.real, one.imag])
        right = np.concatenate([current.real, current.imag])
        power = np.linalg.lstsq(system, right, rcond=None)[0]
        left = np.abs(system @ power - right).max(initial=0.0)
        is_law = bool(left <= _FIT * np.abs(right).max(initial=0.0) + 1e-9)
        return float(power[0]), float(power[1]), is_law


def _incidence(element: Element, law: GeneratorLaw) -> FloatArray:
    """+1 where a phase leaves a conductor, -1 where it comes back."""
    num_phases, last = element.num_phases, element.num_conductors - 1
    incidence = np.zeros((element.num_conductors, num_phases))
    for phase in range(num_phases):
        incidence[phase, phase] += 1.0
        back = (phase + 1) % element.num_conductors if law.is_delta else last
        incidence[back, phase] -= 1.0
    return incidence


def read_generator(circuit: Any, element: Element) -> GeneratorLaw:
    """Reads the law of a generator, PV system or storage that is supported."""
    circuit.SetActiveElement(element.name)
    get = circuit.ActiveCktElement.Properties
    is_delta = get("Conn").Val.lower().startswith(("d", "l"))
    kv = float(get("kV").Val)
    if not is_delta and element.num_phases in _LINE_TO_LINE:
        kv /= 3.0**0.5
    model = _GENERATOR_LAWS.get(int(get("Model").Val), LoadModel.GENERATOR)
    if is_delta and element.num_phases == 1 and model == LoadModel.GENERATOR:
        model = LoadModel.GENERATOR_ACROSS
    return GeneratorLaw(
        model=model,
        kv=kv,
        vmin_pu=float(get("VMinpu").Val),
        vmax_pu=float(get("VMaxpu").Val),
        is_delta=is_delta,
        pairs=node_pairs(element.nodes, element.num_phases, is_delta),
    )


def is_switched_on(circuit: Any, element: Element) -> BoolArray:
    """Whether each conductor of an element is closed. `[conductor]`"""
    circuit.SetActiveElement(element.name)
    active = circuit.ActiveCktElement
    terminals = range(1, int(active.NumTerminals) + 1)
    conductors = range(1, element.num_conductors + 1)
    return np.array([not active.IsOpen(t, c) for t in terminals for c in conductors])

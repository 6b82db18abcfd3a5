"""What a circuit's files say beyond the power flow: elements by class, links, lengths."""

from __future__ import annotations

import collections
import dataclasses
import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradmap.feeders.catalog import compile_origin
from gradmap.feeders.dss_engine import borrow_engine, return_engine
from gradmap.feeders.model import Feeder, FloatArray

# OpenDSS's length units; 0 stands for none.
_KM = {1: 1.609344, 2: 0.3048, 3: 1.0, 4: 1e-3, 5: 3.048e-4, 6: 2.54e-5, 7: 1e-5}


@dataclasses.dataclass(frozen=True)
class Link:
    """Two buses that an element connects.

    Attributes:
        element: `class.name`, lower case.
        one: Bus of its first terminal.
        other: Bus of another terminal.
        length_km: Of a line; 0 for switches and other elements.
    """

    element: str
    one: str
    other: str
    length_km: float


@dataclasses.dataclass(frozen=True)
class CircuitFacts:
    """What the files say of a circuit.

    Attributes:
        counts: Enabled elements by class, in the order of their first one.
        links: Every pair of buses that an element connects.
        has_units: Whether every line says in what units its length is; lengths
            without are taken as kilometres.
        capacitor_kvar: Rated power of all shunt capacitors, kvar.
    """

    counts: Mapping[str, int]
    links: tuple[Link, ...]
    has_units: bool
    capacitor_kvar: float


def read_facts(feeder: Feeder) -> CircuitFacts:
    """Compiles a feeder's circuit once more and looks at its elements.

    Args:
        feeder: The feeder; its `origin` says where the circuit is.

    Raises:
        GradmapError: If the circuit cannot be compiled.
    """
    engine = borrow_engine()
    try:
        compile_origin(engine, feeder.origin)
        return _facts(engine.ActiveCircuit)
    finally:
        return_engine(engine)


def distances_km(feeder: Feeder, facts: CircuitFacts) -> FloatArray:
    """Distance of every bus from the nearest source along the lines, km.

    Args:
        feeder: The feeder.
        facts: What its circuit says.

    Returns:
        In the order of `feeder.bus_names`, NaN where no link leads to. `[bus]`
    """
    near: dict[str, list[tuple[str, float]]] = collections.defaultdict(list)
    for link in facts.links:
        near[link.one].append((link.other, link.length_km))
        near[link.other].append((link.one, link.length_km))
    nodes = zip(feeder.node_bus, feeder.is_source_node, strict=True)
    open_ = [(0.0, bus) for bus in sorted({bus for bus, is_source in nodes if is_source})]
    found: dict[str, float] = {}
    while open_:
        distance, bus = heapq.heappop(open_)
        if bus not in found:
            found[bus] = distance
            for other, length_km in near[bus]:
                heapq.heappush(open_, (distance + length_km, other))
    return np.array([found.get(bus, np.nan) for bus in feeder.bus_names])


def _facts(circuit: Any) -> CircuitFacts:
    """Looks at every enabled element of a compiled circuit."""
    lengths, has_units = _line_lengths(circuit)
    counts: collections.Counter[str] = collections.Counter()
    links = []
    active = circuit.ActiveCktElement
    for name in map(str, circuit.AllElementNames):
        circuit.SetActiveElement(name)
        if not active.Enabled:
            continue
        element = name.lower()
        counts[element.partition(".")[0]] += 1
        buses = [bus.partition(".")[0].lower() for bus in active.BusNames]
        # A shunt's second terminal is the ground of its own bus.
        links += [
            Link(element, buses[0], other, lengths.get(element, 0.0))
            for other in dict.fromkeys(buses[1:])
            if other != buses[0]
        ]
    kvar = sum(float(capacitor.kvar) for capacitor in circuit.Capacitors)
    return CircuitFacts(dict(counts), tuple(links), has_units, kvar)


def _line_lengths(circuit: Any) -> tuple[dict[str, float], bool]:
    """Length of each line, km, switches at 0, and whether all say in what units."""
    lengths, has_units = {}, True
    for line in circuit.Lines:
        if line.IsSwitch:
            continue
        units = int(line.Units)
        # A jumper of next to nothing does without.
        has_units = has_units and (units in _KM or float(line.Length) == 0.0)
        lengths[f"line.{line.Name.lower()}"] = float(line.Length) * _KM.get(units, 1.0)
    return lengths, has_units

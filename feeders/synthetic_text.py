"""A synthetic circuit as OpenDSS text, in the form of the bundled feeders."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gradmap.feeders.synthetic_codes import ALL_CODES
from gradmap.feeders.synthetic_design import SET_POINT_PU, TAP_STEP_PU, Design, Regulator
from gradmap.feeders.synthetic_loads import KV, KV_SERVICE, SyntheticLoad
from gradmap.feeders.synthetic_tree import TreeBus

KV_SOURCE = 115.0
"""Nominal voltage of the source, line to line, kV."""

_SHORT_CIRCUIT_MVA = 2000.0
_SOURCE_PU = 1.02
_KV_LN = KV / 3.0**0.5
_SUBSTATION_KVA = (1500, 2500, 5000, 7500, 10000, 15000, 20000, 30000, 40000, 60000, 90000, 120000)
_SERVICE_KVA = (45, 75, 112.5, 150, 225, 300, 500, 750, 1000, 1500, 2500)
# Per cent of the substation transformer's rating.
_SUBSTATION_X, _SUBSTATION_R = 8.0, 0.5


@dataclasses.dataclass(frozen=True)
class FeederPlan:
    """One feeder of a synthetic circuit.

    Attributes:
        name: What its elements' names begin with, `f1`.
        buses: Its medium-voltage buses.
        places: x and y of each, m. `[bus, 2]`
        service: Buses that have a service transformer.
        loads: Its loads.
        design: Conductors, capacitors, regulators.
    """

    name: str
    buses: Sequence[TreeBus]
    places: Sequence[tuple[float, float]]
    service: Sequence[int]
    loads: Sequence[SyntheticLoad]
    design: Design

    def bus(self, i: int) -> str:
        """Name of a bus; -1 is the substation's."""
        return f"{self.name}_{i + 1}" if i >= 0 else "sub"


def circuit_text(title: str, name: str, plans: Sequence[FeederPlan]) -> dict[str, str]:
    """All files of a circuit.

    Args:
        title: What it is, for the first line.
        name: Name of the circuit.
        plans: Its feeders.

    Returns:
        Text by the file's name; `Master.dss` is the circuit's.
    """
    makers: dict[str, Callable[[FeederPlan], Iterator[str]]] = {
        "lines": _lines,
        "transformers": _transformers,
        "regulators": _controls,
        "capacitors": _capacitors,
        "loads": _loads,
    }
    parts = {part: [line for plan in plans for line in make(plan)] for part, make in makers.items()}
    parts["transformers"].insert(0, _substation(plans))
    parts["regulators"].insert(0, _control("sub", "sub", 700.0))
    parts = {"line_codes": [code.dss() for code in ALL_CODES], **parts}
    places = [line for plan in plans for line in _coordinates(plan)]
    files = {
        "Master.dss": [_master(title, name, list(parts))],
        **{f"{part}.dss": lines for part, lines in parts.items()},
        "bus_coordinates.csv": ["source, 0, 0", "sub, 0, 0", *places],
    }
    return {file: "".join(f"{line}\n" for line in lines) for file, lines in files.items()}


def _master(title: str, name: str, parts: Sequence[str]) -> str:
    x_ohm = KV_SOURCE**2 / _SHORT_CIRCUIT_MVA
    redirects = "\n".join(f"Redirect {part}.dss" for part in parts)
    return (
        f"! {title}\n\nClear\n\n"
        f"New Circuit.{name} Bus1=source.1.2.3 BasekV={KV_SOURCE:g} pu={_SOURCE_PU:g} Angle=30\n"
        f"~ R1={x_ohm / 10:.6g} X1={x_ohm:.6g} R0={x_ohm / 10:.6g} X0={0.8 * x_ohm:.6g}\n\n"
        f"{redirects}\n\n"
        f"Set VoltageBases=[{KV_SOURCE:g} {KV:g} {KV_SERVICE:g}]\n"
        "CalcVoltageBases\nBusCoords bus_coordinates.csv"
    )


def _substation(plans: Sequence[FeederPlan]) -> str:
    """The transformer, its tap where it holds the set point at the nominal load."""
    by_phase = np.sum([plan.design.kva for plan in plans], axis=0)
    rating = _next_rating(_SUBSTATION_KVA, 1.2 * 3.0 * float(np.abs(by_phase).max()))
    kva = complex(by_phase.sum())
    drop = (_SUBSTATION_R * kva.real + _SUBSTATION_X * kva.imag) / 100.0 / rating
    tap = round((SET_POINT_PU - _SOURCE_PU + drop) / TAP_STEP_PU)
    return (
        f"New Transformer.sub Phases=3 Windings=2 Buses=[source.1.2.3 sub.1.2.3] "
        f"Conns=[Delta Wye] kVs=[{KV_SOURCE:g} {KV:g}] kVAs=[{rating:g} {rating:g}] "
        f"XHL={_SUBSTATION_X:g} %LoadLoss={_SUBSTATION_R:g} {_tap(tap)}"
    )


def _lines(plan: FeederPlan) -> Iterator[str]:
    regulated = {regulator.bus for regulator in plan.design.regulators}
    for i, (bus, code) in enumerate(zip(plan.buses, plan.design.codes, strict=True)):
        if i not in regulated:
            nodes = "." + ".".join(map(str, bus.phases))
            yield (
                f"New Line.{plan.bus(i)} Phases={len(bus.phases)} "
                f"Bus1={plan.bus(bus.parent)}{nodes} Bus2={plan.bus(i)}{nodes} "
                f"LineCode={code.name} Length={bus.length_m:g} Units=m"
            )


def _transformers(plan: FeederPlan) -> Iterator[str]:
    """Regulators, then service transformers."""
    for regulator in plan.design.regulators:
        ends = plan.bus(plan.buses[regulator.bus].parent), plan.bus(regulator.bus)
        kva = f"{regulator.rating_a * _KV_LN:.1f}"
        for phase, tap in enumerate(regulator.taps, 1):
            yield (
                f"New Transformer.{_unit(plan, regulator, phase)} Phases=1 Windings=2 "
                f"Bank=reg_{ends[1]} Buses=[{ends[0]}.{phase} {ends[1]}.{phase}] "
                f"Conns=[Wye Wye] kVs=[{_KV_LN:.4f} {_KV_LN:.4f}] kVAs=[{kva} {kva}] "
                f"XHL=0.1 %LoadLoss=0.01 {_tap(tap)}"
            )
    power = {load.bus: abs(complex(load.kw, load.kvar)) for load in plan.loads if load.is_service}
    for host in plan.service:
        rating = _next_rating(_SERVICE_KVA, 1.25 * power[host])
        yield (
            f"New Transformer.{plan.bus(host)}_s Phases=3 Windings=2 "
            f"Buses=[{plan.bus(host)}.1.2.3 {plan.bus(host)}_s.1.2.3] Conns=[Delta Wye] "
            f"kVs=[{KV:g} {KV_SERVICE:g}] kVAs=[{rating:g} {rating:g}] XHL=5 %LoadLoss=1.2"
        )


def _controls(plan: FeederPlan) -> Iterator[str]:
    for regulator in plan.design.regulators:
        for phase in (1, 2, 3):
            name = _unit(plan, regulator, phase)
            yield _control(name, name, regulator.rating_a)


def _control(name: str, transformer: str, rating_a: float) -> str:
    """A control without line-drop compensation, at the set point."""
    return (
        f"New RegControl.{name} Transformer={transformer} Winding=2 "
        f"VReg={120.0 * SET_POINT_PU:g} Band=2 PTRatio=60 CTPrim={rating_a:g} R=0 X=0"
    )


def _unit(plan: FeederPlan, regulator: Regulator, phase: int) -> str:
    return f"reg_{plan.bus(regulator.bus)}{'abc'[phase - 1]}"


def _tap(tap: int) -> str:
    return f"NumTaps=32 MinTap=0.9 MaxTap=1.1 Taps=[1 {1.0 + TAP_STEP_PU * tap:g}]"


def _capacitors(plan: FeederPlan) -> Iterator[str]:
    for bus, kvar in plan.design.capacitors:
        name = plan.bus(bus)
        yield f"New Capacitor.{name} Phases=3 Bus1={name}.1.2.3 kV={KV:g} kvar={kvar:g}"


def _loads(plan: FeederPlan) -> Iterator[str]:
    for load in plan.loads:
        bus = plan.bus(load.bus) + ("_s" if load.is_service else "")
        law = "Vminpu={:g} Vmaxpu={:g}".format(*load.range_pu)
        yield (
            f"New Load.{bus} Phases={load.num_phases} Bus1={bus}.{'.'.join(map(str, load.phases))} "
            f"Conn={'Delta' if load.is_delta else 'Wye'} Model={load.model} kV={load.kv:.6g} "
            f"kW={load.kw:g} kvar={load.kvar:g} {law}"
        )


def _coordinates(plan: FeederPlan) -> Iterator[str]:
    for i, (x, y) in enumerate(plan.places):
        yield f"{plan.bus(i)}, {x:.1f}, {y:.1f}"
    for host in plan.service:
        x, y = plan.places[host]
        yield f"{plan.bus(host)}_s, {x + 15.0:.1f}, {y + 15.0:.1f}"


def _next_rating(ratings: Sequence[float], wanted: float) -> float:
    """The smallest standard size that is enough; above the largest, a whole number of those."""
    for rating in ratings:
        if rating >= wanted:
            return rating
    return ratings[-1] * math.ceil(wanted / ratings[-1])

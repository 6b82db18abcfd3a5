"""A feeder in figures: what it holds, how it stands at its nominal load, what to watch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradmap.feeders.circuit_facts import CircuitFacts, distances_km, read_facts
from gradmap.feeders.dss_replay import OpenDSSReplay, ReplaySolution
from gradmap.feeders.feeder_warnings import feeder_warnings, loading
from gradmap.feeders.model import Feeder, FloatArray, LoadModel


@dataclasses.dataclass(frozen=True)
class NominalState:
    """A feeder at its nominal load and its taps, as OpenDSS solves it.

    Attributes:
        v_min_pu: Lowest voltage magnitude, per unit of the node's base.
        v_min_node: Where that is.
        v_max_pu: Highest voltage magnitude.
        v_max_node: Where that is.
        source_kw: Power from the source, kW.
        losses_kw: Losses, kW.
        max_loading: Largest current over its rating; NaN without ratings.
        max_loading_branch: Where that is.
    """

    v_min_pu: float
    v_min_node: str
    v_max_pu: float
    v_max_node: str
    source_kw: float
    losses_kw: float
    max_loading: float
    max_loading_branch: str


@dataclasses.dataclass(frozen=True)
class FeederDescription:
    """A feeder in figures.

    Attributes:
        name: Its name.
        origin: Where it was read from.
        sizes: Buses, nodes, loads, terminals, branches, regulators.
        elements: Enabled elements of the circuit by OpenDSS's class.
        buses_by_kv: Number of buses by base voltage, line to line, kV.
        load_kw: Nominal load, kW.
        load_kvar: Nominal reactive load, kvar.
        generation_kw: What generators, PV systems and storage inject, kW.
        delta_kw: Load between phases, kW.
        kw_by_law: Load by its law, kW.
        capacitor_kvar: Shunt capacitors, kvar.
        length_km: Lines, added up, km.
        farthest_km: The farthest bus from the source, km.
        ratings_a: Lowest and highest rating by kind of branch, A.
        regulators: Each control with its bus, tap, range and settings.
        nominal: The state at the nominal load; None without a solution.
        warnings: What to watch, a phrase each.
    """

    name: str
    origin: str
    sizes: Mapping[str, int]
    elements: Mapping[str, int]
    buses_by_kv: Mapping[str, int]
    load_kw: float
    load_kvar: float
    generation_kw: float
    delta_kw: float
    kw_by_law: Mapping[str, float]
    capacitor_kvar: float
    length_km: float
    farthest_km: float
    ratings_a: Mapping[str, tuple[float, float]]
    regulators: tuple[Mapping[str, Any], ...]
    nominal: NominalState | None
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The description as plain values."""
        return dataclasses.asdict(self)


def feeder_sizes(feeder: Feeder) -> dict[str, int]:
    """Buses, nodes, loads, terminals, branches and regulators of a feeder.

    Args:
        feeder: The feeder.
    """
    t = feeder.terminals
    return {
        "buses": len(feeder.bus_names),
        "nodes": feeder.num_nodes,
        "loads": len({load for load, kind in zip(t.load, t.kind, strict=True) if kind == "load"}),
        "terminals": len(t),
        "branches": len(feeder.branches),
        "regulators": len(feeder.regulators),
    }


def solve_nominal(feeder: Feeder) -> ReplaySolution:
    """OpenDSS's solution at the feeder's nominal powers and taps.

    Args:
        feeder: The feeder.

    Raises:
        GradmapError: If its circuit cannot be compiled again.
    """
    with OpenDSSReplay(feeder, devices=False, tolerance_pu=1e-8) as replay:
        return replay.solve(feeder.terminals.p_kw, feeder.terminals.q_kvar)


def describe_feeder(feeder: Feeder) -> FeederDescription:
    """Describes a feeder.

    Args:
        feeder: The feeder.

    Raises:
        GradmapError: If its circuit cannot be compiled again.
    """
    facts, solution = read_facts(feeder), solve_nominal(feeder)
    t = feeder.terminals
    drawn = t.p_kw > 0
    laws = {
        LoadModel(model).name.lower().replace("_", " "): float(
            t.p_kw[drawn & (t.model == model)].sum()
        )
        for model in np.unique(t.model[drawn])
    }
    far_km = distances_km(feeder, facts)
    return FeederDescription(
        name=feeder.name,
        origin=feeder.origin,
        sizes=feeder_sizes(feeder),
        elements=facts.counts,
        buses_by_kv=_buses_by_kv(feeder),
        load_kw=float(t.p_kw[drawn].sum()),
        load_kvar=float(t.q_kvar[drawn].sum()),
        generation_kw=abs(float(t.p_kw[~drawn].sum())),
        delta_kw=float(t.p_kw[drawn & t.is_delta].sum()),
        kw_by_law=laws,
        capacitor_kvar=facts.capacitor_kvar,
        length_km=_total_km(facts),
        farthest_km=float(np.nanmax(far_km)) if np.isfinite(far_km).any() else math.nan,
        ratings_a=_ratings(feeder),
        regulators=_regulators(feeder),
        nominal=_nominal(feeder, solution) if solution.converged else None,
        warnings=feeder_warnings(feeder, facts, solution),
    )


def _buses_by_kv(feeder: Feeder) -> dict[str, int]:
    """Number of buses by base voltage, line to line, highest first."""
    kv = dict(zip(feeder.node_bus, (feeder.node_kv_base * 3.0**0.5).tolist(), strict=True))
    rounded = sorted((round(value, 3) for value in kv.values()), reverse=True)
    return {f"{value:g}": rounded.count(value) for value in dict.fromkeys(rounded)}


def _total_km(facts: CircuitFacts) -> float:
    """Length of all lines; one that links several pairs counts once."""
    return sum({link.element: link.length_km for link in facts.links}.values())


def _ratings(feeder: Feeder) -> dict[str, tuple[float, float]]:
    """Lowest and highest rating by kind of branch, A."""
    ratings: dict[str, list[float]] = {}
    for kind, rating_a in zip(feeder.branches.kind, feeder.branches.rating_a.tolist(), strict=True):
        ratings.setdefault(kind, []).append(rating_a)
    return {kind: (min(values), max(values)) for kind, values in ratings.items()}


def _regulators(feeder: Feeder) -> tuple[dict[str, Any], ...]:
    r = feeder.regulators
    return tuple(
        {
            "control": r.control[i],
            "bus": r.bus[i],
            "tap": int(r.tap[i]),
            "tap_min": int(r.tap_min[i]),
            "tap_max": int(r.tap_max[i]),
            "vreg_v": float(r.vreg_v[i]),
            "band_v": float(r.band_v[i]),
            "pt_ratio": float(r.pt_ratio[i]),
        }
        for i in range(len(r))
    )


def _nominal(feeder: Feeder, solution: ReplaySolution) -> NominalState:
    """Sums up a solution."""
    v_pu: FloatArray = np.abs(solution.v_pu)
    low, high = int(v_pu.argmin()), int(v_pu.argmax())
    used = loading(feeder, solution)
    known = np.flatnonzero(np.isfinite(used))
    most = int(known[used[known].argmax()]) if len(known) else None
    return NominalState(
        v_min_pu=float(v_pu[low]),
        v_min_node=feeder.node_names[low],
        v_max_pu=float(v_pu[high]),
        v_max_node=feeder.node_names[high],
        source_kw=solution.source_kw,
        losses_kw=solution.losses_kw,
        max_loading=math.nan if most is None else float(used[most]),
        max_loading_branch="" if most is None else feeder.branches.name[most],
    )

"""What a newcomer to a feeder should know before working with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradmap.feeders.circuit_facts import CircuitFacts
from gradmap.feeders.dss_replay import ReplaySolution
from gradmap.feeders.model import GROUND, BoolArray, Feeder, FloatArray

# What OpenDSS gives a line that says nothing.
_DEFAULT_RATING_A = 400.0
_BAND_PU = (0.95, 1.05)
_SHOWN = 5


def loading(feeder: Feeder, solution: ReplaySolution) -> FloatArray:
    """Largest conductor current of each branch over its rating.

    Args:
        feeder: The feeder.
        solution: A solution of it.

    Returns:
        NaN where there is no rating. `[branch]`
    """
    branches = feeder.branches
    current_a = np.zeros(len(branches))
    np.maximum.at(current_a, branches.conductor_branch, np.abs(solution.branch_current_a))
    rated = np.isfinite(branches.rating_a) & (branches.rating_a > 0)
    used: FloatArray = np.full(len(branches), np.nan)
    used[rated] = current_a[rated] / branches.rating_a[rated]
    return used


def feeder_warnings(
    feeder: Feeder, facts: CircuitFacts, solution: ReplaySolution
) -> tuple[str, ...]:
    """Finds what is missing in a feeder or unusual about it.

    Args:
        feeder: The feeder.
        facts: What its circuit says.
        solution: Its solution at the nominal load.

    Returns:
        A phrase each.
    """
    found = [*feeder.notes, *_data_warnings(feeder, facts)]
    if not solution.converged:
        return (*found, "OpenDSS finds no solution at the nominal load")
    return (*found, *_state_warnings(feeder, solution))


def _data_warnings(feeder: Feeder, facts: CircuitFacts) -> list[str]:
    """What the files leave out."""
    found = []
    bare = [
        bus
        for bus, xy in zip(feeder.bus_names, feeder.bus_xy, strict=True)
        if not np.isfinite(xy).all()
    ]
    if len(bare) == len(feeder.bus_names):
        found.append("no bus has coordinates: drawn as a tree")
    elif bare:
        found.append(f"no coordinates: {_some(bare, 'bus', 'buses')}")
    if not facts.has_units:
        found.append("some lines give their length without units: taken as kilometres")
    lines = np.array([kind == "line" for kind in feeder.branches.kind], dtype=np.bool_)
    if lines.any() and (feeder.branches.rating_a[lines] == _DEFAULT_RATING_A).all():
        found.append(
            "every line is rated 400 A, which is OpenDSS's default: ratings may be unknown"
        )
    unrated = [
        name
        for name, rating_a in zip(feeder.branches.name, feeder.branches.rating_a, strict=True)
        if not rating_a > 0
    ]
    if unrated:
        found.append(f"no rating: {_some(unrated, 'branch', 'branches')}")
    return found


def _state_warnings(feeder: Feeder, solution: ReplaySolution) -> list[str]:
    """What stands out at the nominal load."""
    found = []
    used = loading(feeder, solution)
    over = [i for i in np.argsort(-np.nan_to_num(used)) if used[i] > 1.0]
    if over:
        names = [f"{feeder.branches.name[i]} ({100 * used[i]:.0f} %)" for i in over]
        found.append(f"above its rating at the nominal load: {_some(names, 'branch', 'branches')}")
    v_pu = np.abs(solution.v_pu)
    outside = (v_pu < _BAND_PU[0]) | (v_pu > _BAND_PU[1])
    if outside.any():
        low, high = v_pu.min(), v_pu.max()
        found.append(
            f"{outside.sum():,} of {len(v_pu):,} nodes are outside {_BAND_PU[0]} to {_BAND_PU[1]} "
            f"p.u. at the nominal load ({low:.3f} to {high:.3f})"
        )
    num = int(_outside_law(feeder, solution).sum())
    if num:
        found.append(
            f"{num:,} of {len(feeder.terminals):,} terminals have a voltage outside their law's "
            "range at the nominal load: they draw as impedances do"
        )
    regulators = feeder.regulators
    at_end = (regulators.tap == regulators.tap_min) | (regulators.tap == regulators.tap_max)
    ends = [control for control, is_end in zip(regulators.control, at_end, strict=True) if is_end]
    if ends:
        found.append(f"at the end of its range: {_some(ends, 'regulator', 'regulators')}")
    return found


def _outside_law(feeder: Feeder, solution: ReplaySolution) -> BoolArray:
    """Whether each terminal's voltage is outside its law's vmin..vmax. `[terminal]`"""
    t = feeder.terminals
    # A last entry for ground, which GROUND = -1 then picks.
    assert GROUND == -1
    v_kv = np.append(solution.v_pu * feeder.node_kv_base, 0.0)
    u = np.abs(v_kv[t.node_from] - v_kv[t.node_to]) / t.kv_rated
    outside: BoolArray = (u < t.vmin_pu) | (u > t.vmax_pu)
    return outside


def _some(names: Sequence[str], one: str, many: str) -> str:
    """The number of things and the first few of their names."""
    shown = ", ".join(names[:_SHOWN])
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names):,} {one if len(names) == 1 else many} ({shown}{more})"

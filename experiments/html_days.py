"""Whole days for the HTML report: voltages, multipliers and a few agents."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt

from gradmap.experiments.html_grid import grid_data
from gradmap.experiments.html_pack import VOLTAGE_QUANTUM, choose_days, pack, rounded
from gradmap.experiments.judged import day_values
from gradmap.experiments.plot_feeder import largest_by_bus
from gradmap.experiments.results import Results, RunResult
from gradmap.experiments.trace import STATE_UNITS
from gradmap.feeders.model import Feeder

Arrays = dict[str, npt.NDArray[Any]]


def days_data(results: Results, task: str, feeder: Feeder, num_days: int) -> dict[str, Any]:
    """What the report shows of whole days, of the first judged run of each method.

    Args:
        results: The comparison.
        task: Name of the task.
        feeder: Its feeder.
        num_days: Days at most.

    Returns:
        `grid`, `days`, `voltages`, `multipliers` and `traces`; the last four
        empty where no run has kept anything.
    """
    split = results.config.split
    kept: dict[str, Arrays] = {}
    runs: dict[str, RunResult] = {}
    for method in results.methods:
        for run in results.of(task, method):
            arrays = _load(run.folder / "evaluation" / f"{split}-best.npz")
            if split in run.judgements and arrays is not None and method not in kept:
                kept[method], runs[method] = arrays, run
    if not kept:
        empty: dict[str, Any] = {"agents": [], "methods": {}, "tariff": [], "load": [], "sun": []}
        grid = grid_data(feeder, [])
        return {"grid": grid, "days": [], "voltages": {}, "multipliers": {}, "traces": empty}
    shown = "selfish" if "selfish" in kept else next(iter(kept))
    judgement = runs[shown].judgements[split]
    chosen = choose_days(
        judgement["dates"],
        _mean_temperature(kept, len(judgement["dates"])),
        day_values(judgement, "node_step_violation_pct"),
        num_days,
    )
    days = [day for day, _ in chosen]
    grid = grid_data(feeder, [str(node) for node in kept[shown]["node"]])
    return {
        "grid": grid,
        "days": [{"label": label} for _, label in chosen],
        "voltages": {
            method: pack(arrays["v_pu_torch"][days], VOLTAGE_QUANTUM)
            for method, arrays in kept.items()
        },
        "multipliers": {
            method: _multipliers(arrays, grid["buses"])
            for method, arrays in kept.items()
            if {"multiplier_over", "multiplier_under"} <= arrays.keys()
        },
        "traces": _traces(kept, days),
    }


def _load(path: pathlib.Path) -> Arrays | None:
    """Reads what a judgement kept; None where there is none."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as file:
        unused = ("v_pu_opendss", "action")
        return {name: file[name] for name in file.files if name not in unused}


def _mean_temperature(kept: dict[str, Arrays], num_days: int) -> npt.NDArray[np.float64]:
    for arrays in kept.values():
        if "trace_temp_outdoor_degc" in arrays:
            mean: npt.NDArray[np.float64] = arrays["trace_temp_outdoor_degc"].mean(1, np.float64)
            return mean
    return np.zeros(num_days)


def _multipliers(arrays: Arrays, buses: list[str]) -> dict[str, Any]:
    """The largest price over the phases of each bus; both sides have a quantum of their own."""
    nodes = [str(node) for node in arrays["node"]]
    found = {}
    for side in ("over", "under"):
        price = largest_by_bus(arrays[f"multiplier_{side}"], nodes, buses)
        found[side] = pack(price[None], max(float(price.max()) / 4000.0, 1e-9))
    return found


def _traces(kept: dict[str, Arrays], days: list[int]) -> dict[str, Any]:
    """The chosen agents' days by method. `[day][agent][time]`"""
    own = {method: arrays for method, arrays in kept.items() if "trace_agent" in arrays}
    first = next(iter(own.values()), None)
    if first is None:
        return {"agents": [], "methods": {}, "tariff": [], "load": [], "sun": []}

    def picked(arrays: Arrays, name: str, digits: int) -> list[Any]:
        return rounded(arrays[f"trace_{name}"][days].transpose(0, 2, 1), digits)

    agents = zip(
        *(first[f"trace_{name}"] for name in ("agent", "kind", "rank", "bus", "comfort_degc")),
        strict=True,
    )
    return {
        "agents": [
            {
                "name": str(name),
                "kind": str(kind),
                "rank": str(rank),
                "bus": str(bus),
                "unit": STATE_UNITS.get(str(kind), "own state").replace("degC", "°C"),
                "comfort": rounded(band, 2) if np.isfinite(band).all() else None,
            }
            for name, kind, rank, bus, band in agents
        ],
        # Cents: a price has few digits, and the axis no leading zeros.
        "tariff": rounded(100.0 * first["trace_tariff_usd_per_kwh"][days], 2),
        "load": picked(first, "base_kw", 1),
        "sun": picked(first, "pv_kw", 1),
        "methods": {
            method: {
                "power": picked(arrays, "p_kw", 2),
                "voltage": picked(arrays, "v_pu", 4),
                "state": picked(arrays, "state", 2),
                "action": picked(arrays, "action", 2),
                # Where agents choose it themselves.
                **({"reactive": picked(arrays, "q_kvar", 2)} if "trace_q_kvar" in arrays else {}),
            }
            for method, arrays in own.items()
        },
    }

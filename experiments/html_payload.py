"""Everything that the HTML report shows, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from gradmap.envs.config import TaskConfig
from gradmap.envs.fleet import agent_counts
from gradmap.envs.task_feeder import load_task_feeder
from gradmap.experiments.compare_table import calibration
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import run_configs
from gradmap.experiments.files import finite
from gradmap.experiments.html_days import days_data
from gradmap.experiments.html_pack import rounded
from gradmap.experiments.metrics import QUANTITIES
from gradmap.experiments.plot_style import COLOURS, MARKERS
from gradmap.experiments.registry import METHODS
from gradmap.experiments.results import Results, RunResult
from gradmap.experiments.seeds import PRICED
from gradmap.experiments.summary import (
    differences,
    improvement_matrix,
    profiles,
    summarise_results,
)

MAX_POINTS = 120
"""Judgements in training that the report keeps of each run, evenly spread."""

QUIET_SHARE = 0.1
"""A method is quiet with at most this share of selfish devices' violations."""

_KINDS = {
    "battery": "batteries",
    "heat_pump": "heat pumps",
    "generator": "generators",
    "ev_charger": "EV chargers",
    "pv_inverter": "PV inverters",
}
_PROFILED = {
    PRICED: ("cost + priced violations", "excess over the day's best cost, $"),
    "cost_usd_per_day": ("cost", "excess over the day's best cost, $"),
    "node_step_violation_pct": ("violations", "node-steps in violation, %"),
}
_SEVERAL_TASKS = 2
_BUDGETS = {
    "seconds": "{:g} s",
    "iterations": "{:,} iterations",
    "env_steps": "{:,} environment steps",
    "power_flow_solves": "{:,} power flows",
}


def payload(results: Results) -> dict[str, Any]:
    """Draws together what the report shows.

    Args:
        results: The comparison.

    Returns:
        Values that JSON can hold: what is the same for all tasks, and `tasks`.
    """
    config = results.config
    limits = config.budget.limits()
    budget = " or ".join(_BUDGETS[name].format(value) for name, value in limits.items())
    return {
        "facts": finite(results.facts),
        "budget": budget,
        "seeds": len(results.seeds),
        "methods": [_method(name) for name in results.methods],
        "tasks": [_task(results, task) for task in results.tasks],
        "quantities": QUANTITIES,
        "config": yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
        "commands": _commands(results),
    }


def _task(results: Results, task: str) -> dict[str, Any]:
    config, setting = results.config, _setting(results.config, task)
    feeder = load_task_feeder(setting)
    tables: dict[str, Any] = {
        split: finite(summarise_results(results, task, split)) for split in config.splits
    }
    steps = setting.scenarios.steps_per_day
    num_days = 4 if len(results.tasks) <= _SEVERAL_TASKS else 2
    counts = agent_counts(setting, feeder)
    return {
        "name": task,
        "title": f"{setting.name}, {setting.num_agents:,} agents",
        "agents": setting.num_agents,
        "mix": ", ".join(f"{num:,} {_KINDS.get(kind, kind)}" for kind, num in counts.items()),
        "feeder": setting.feeder,
        "vmin": setting.vmin_pu,
        "vmax": setting.vmax_pu,
        "steps": steps,
        "dtHours": 24.0 / steps,
        "splits": list(config.splits),
        "splitNotes": _split_notes(config.splits),
        "methods": [
            {**_method(name), "unfinished": _unfinished(results.of(task, name))}
            for name in results.methods
        ],
        "calibration": calibration(tables[config.split]),
        "best": _best(results, task, tables[config.split]),
        "tables": tables,
        "curves": {name: _curves(results.of(task, name)) for name in results.methods},
        "profiles": {
            quantity: {"label": label, "axis": axis, **_profiles(results, task, quantity)}
            for quantity, (label, axis) in _PROFILED.items()
        },
        "improvement": _improvement(results, task),
        **days_data(results, task, feeder, num_days),
    }


def _setting(config: CompareConfig, task: str) -> TaskConfig:
    return next(run.task for key, run in run_configs(config).items() if key.task == task)


def _method(name: str) -> dict[str, Any]:
    spec = METHODS[name]
    return {
        "name": name,
        "title": spec.title,
        "summary": spec.summary,
        "family": spec.family,
        "decentralised": spec.is_decentralised,
        "isReference": spec.is_reference,
        "learns": spec.needs_training and not spec.is_reference,
        "colour": COLOURS.get(name, "#5F6B7A"),
        "marker": MARKERS.get(name, "o"),
    }


def _best(results: Results, task: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The cheapest method that learns, is decentralised and is quiet, and which are as cheap."""
    by_method = {row["method"]: row for row in rows}
    selfish = by_method.get("selfish", {}).get("node_step_violation_pct")
    if selfish is None:
        return None
    fit = {
        name: row["cost_usd_per_day"]
        for name, row in by_method.items()
        if row["cost_usd_per_day"] is not None
        and row["node_step_violation_pct"] <= QUIET_SHARE * selfish
        and METHODS[name].needs_training
        and METHODS[name].is_decentralised
        and not METHODS[name].is_reference
        and not METHODS[name].ignores_network
    }
    if not fit:
        return None
    best = min(fit, key=lambda name: fit[name])
    above = differences(results, task, best, results.config.split)
    tied = [name for name in fit if name in above and above[name].low <= 0.0]
    return {"method": best, "tied": tied}


def _unfinished(runs: Sequence[RunResult]) -> list[dict[str, Any]]:
    return [{"seed": run.seed, "status": run.status} for run in runs if run.status != "done"]


def _split_notes(splits: Sequence[str]) -> dict[str, str]:
    """What each stress split is, in a line."""
    from gradmap.envs.scenarios.stress import STRESSES

    return {name: STRESSES[name].summary for name in splits if name in STRESSES}


def _curves(runs: Sequence[RunResult]) -> list[dict[str, Any]]:
    """Learning curves of a method that learns, a run each."""
    if not runs or not _method(runs[0].method)["learns"]:
        return []
    curves = []
    for run in runs:
        rows = run.validation()
        if rows:
            every = np.unique(np.linspace(0, len(rows) - 1, MAX_POINTS).astype(int))
            curves.append(_curve(run.seed, [rows[i] for i in every]))
    return curves


def _curve(seed: int, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    def metric(name: str, digits: int) -> list[float | None]:
        values = [row["metrics"].get(name) for row in rows]
        return [None if value is None else round(value, digits) for value in values]

    cost, fines = metric("cost_usd_per_day", 2), metric("violation_usd_per_day", 2)
    return {
        "seed": seed,
        "seconds": [round(row["seconds"], 2) for row in rows],
        "power_flow_solves": [row["power_flow_solves"] for row in rows],
        "env_gradients": [row["env_gradients"] for row in rows],
        "cost": cost,
        "priced": [
            None if c is None or f is None else round(c + f, 2)
            for c, f in zip(cost, fines, strict=True)
        ],
        "violation": metric("node_step_violation_pct", 5),
    }


def _profiles(results: Results, task: str, quantity: str) -> dict[str, Any]:
    found = profiles(results, task, results.config.split, quantity)
    thresholds = next((rounded(own.thresholds, 4) for own in found.values()), [])
    methods = {
        name: {part: rounded(getattr(own, part), 4) for part in ("share", "low", "high")}
        for name, own in found.items()
    }
    return {"thresholds": thresholds, "methods": methods}


def _improvement(results: Results, task: str) -> dict[str, Any]:
    found = improvement_matrix(results, task, results.config.split)
    label = "cost with violations priced"
    if not found.methods:
        return {"methods": [], "values": [], "label": label}
    return {
        "methods": list(found.methods),
        "values": rounded(found.probability, 3),
        "label": label,
    }


def _commands(results: Results) -> list[str]:
    """How to make the comparison again, and how to look closer at a run of it."""
    version = results.facts.get("gradmap")
    known = f"gradmap {version}" if version else "gradmap"
    lines = [
        f"# with {known}; config.yaml: the configuration below",
        "gradmap compare config.yaml --out results/again",
    ]
    run = next((run for run in results.runs if run.status == "done"), None)
    if run is not None and math.isfinite(run.seed):
        folder = f"results/again/runs/{run.task}/{run.method}/seed-{run.seed}"
        lines.append(f"gradmap evaluate {folder} --split {results.config.split}")
    return lines

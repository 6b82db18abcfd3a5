"""The table of a comparison, as data: one row a method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gradmap.experiments.compare_jobs import Job
from gradmap.experiments.judgement import load_judgement
from gradmap.experiments.registry import METHODS

COLUMNS = (
    "method",
    "cost_usd_per_day",
    "node_step_violation_pct",
    "step_violation_pct",
    "violation_max_pu",
    "discomfort_kh",
    "optimality_gap_pct",
    "opendss_node_step_violation_pct",
    "train_seconds",
    "env_gradients",
    "power_flow_solves",
    "title",
    "status",
    "violation_mean_pu",
    "violation_p95_pu",
    "thermal_overload_step_pct",
    "loading_max_pct",
    "losses_kwh_per_day",
    "unbalance_max_pct",
    "solver_failures",
    "opendss_step_violation_pct",
    "opendss_violation_max_pu",
    "opendss_solver_failures",
    "iterations",
    "best_iteration",
    "env_steps",
    "days",
    "peak_memory_mib",
    "violation_usd_per_day",
)
"""Columns of `table.csv`; those that a published table needs come first."""

REFERENCE = "perfect-foresight"
"""The method whose cost the optimality gap is measured from."""

BINDS_PCT = 5.0
"""The task binds if selfish devices violate at this share of node-steps or more."""

SOLVABLE_PCT = 0.05
"""The task is solvable if perfect foresight violates at this share or less."""

_OWN = (
    "cost_usd_per_day",
    "node_step_violation_pct",
    "step_violation_pct",
    "violation_max_pu",
    "violation_mean_pu",
    "violation_p95_pu",
    "discomfort_kh",
    "thermal_overload_step_pct",
    "loading_max_pct",
    "losses_kwh_per_day",
    "unbalance_max_pct",
    "solver_failures",
    "days",
    "violation_usd_per_day",
)
_BY_OPENDSS = (
    "node_step_violation_pct",
    "step_violation_pct",
    "violation_max_pu",
    "solver_failures",
)


def table_rows(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Builds the table.

    Args:
        jobs: The methods, in the table's order.

    Returns:
        A row a method, with a value (or None) for each of `COLUMNS`.
    """
    rows = [_row(job) for job in jobs]
    reference = next((row for row in rows if row["method"] == REFERENCE), None)
    for row in rows:
        row["optimality_gap_pct"] = _gap(row, reference)
    return [{name: row.get(name) for name in COLUMNS} for row in rows]


def calibration(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Whether the task binds and can be solved, from the table's rows.

    Args:
        rows: From `table_rows`.

    Returns:
        The share of node-steps that violate under selfish devices and under
        perfect foresight, percent, and whether each is as it should be; None
        where the method is not in the table.
    """
    found = {row["method"]: row["node_step_violation_pct"] for row in rows}
    selfish, reference = found.get("selfish"), found.get(REFERENCE)
    return {
        "selfish_node_step_violation_pct": selfish,
        "perfect_foresight_node_step_violation_pct": reference,
        "binds": None if selfish is None else selfish >= BINDS_PCT,
        "is_solvable": None if reference is None else reference <= SOLVABLE_PCT,
    }


def _row(job: Job) -> dict[str, Any]:
    method = job.config.method
    row: dict[str, Any] = {"method": method, "title": METHODS[method].title}
    if job.state != "done":
        return {**row, "status": f"{job.state}: {job.reason}" if job.reason else job.state}
    found = load_judgement(job.judgement)
    own = found["engines"]["torch"]["metrics"]
    opendss = found["engines"].get("opendss", {}).get("metrics", {})
    row.update({name: own[name] for name in _OWN})
    row.update({f"opendss_{name}": opendss.get(name) for name in _BY_OPENDSS})
    for name in ("train_seconds", "iterations", "env_gradients", "env_steps", "power_flow_solves"):
        row[name] = found[name]
    row["peak_memory_mib"] = found["session"].get("peak_memory_mib")
    return {**row, "best_iteration": found["iteration"], "status": "done"}


def _gap(row: Mapping[str, Any], reference: Mapping[str, Any] | None) -> float | None:
    """Cost above perfect foresight's, percent of that cost's size."""
    cost = row.get("cost_usd_per_day")
    base = None if reference is None else reference.get("cost_usd_per_day")
    if cost is None or base is None or math.isclose(base, 0.0):
        return None
    return 100.0 * (float(cost) - float(base)) / abs(float(base))

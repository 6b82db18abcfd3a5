"""The table of a comparison, as data: one row a method."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import has_seeds, run_configs
from gradmap.experiments.registry import METHODS
from gradmap.experiments.results import Results, RunResult
from gradmap.experiments.target import Race, race

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
    "num_seeds",
    "family",
    "is_decentralised",
    "cost_usd_per_day_low",
    "cost_usd_per_day_high",
    "node_step_violation_pct_low",
    "node_step_violation_pct_high",
    "optimality_gap_high_pct",
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
_USED = ("train_seconds", "iterations", "env_gradients", "env_steps", "power_flow_solves")
_BY_OPENDSS = (
    "node_step_violation_pct",
    "step_violation_pct",
    "violation_max_pu",
    "solver_failures",
)


@dataclasses.dataclass(frozen=True)
class Report:
    """What a comparison found on a task.

    Attributes:
        task: Name of the task in the comparison.
        num_agents: Its agents.
        config: The comparison.
        rows: The table.
        stress: Tables of the other splits, by split.
        races: Time to the target, the one that counts first.
        facts: Hardware, versions and days, for the reader.
    """

    task: str
    num_agents: int
    config: CompareConfig
    rows: Sequence[Mapping[str, Any]]
    stress: Mapping[str, Sequence[Mapping[str, Any]]]
    races: Sequence[Race]
    facts: Mapping[str, Any]

    def task_line(self) -> str:
        """Task, agents and seeds, in a line."""
        seeds = self.config.seeds
        named = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        return f"{self.task}: {self.num_agents:,} agents, {named}"


def make_report(results: Results, task: str) -> Report:
    """Draws a task's judgements together.

    Args:
        results: The comparison; runs that are not done stand in the table
            without figures.
        task: Name of the task.
    """
    config = results.config
    configs = {key: run for key, run in run_configs(config).items() if key.task == task}
    return Report(
        task,
        next(iter(configs.values())).task.num_agents,
        config,
        table_rows(results, task),
        {split: table_rows(results, task, split) for split in config.splits[1:]},
        races(results, task),
        results.facts,
    )


def races(results: Results, task: str) -> list[Race]:
    """Time to the target of every method that learns to keep the limits.

    Args:
        results: The comparison.
        task: Name of the task.

    Returns:
        A race for each margin of `config.target`, in its order.
    """
    rows: dict[str, Any] = {}
    for run in results.runs:
        spec = METHODS[run.method]
        learns = has_seeds(spec) and not spec.ignores_network
        if run.task == task and learns and run.status == "done":
            rows.setdefault(run.method, {})[run.seed] = run.validation()
    target = results.config.target
    level = target.node_step_violation_pct
    return [race(rows, level, margin) for margin in target.cost_margin_pct] if rows else []


def table_rows(results: Results, task: str, split: str | None = None) -> list[dict[str, Any]]:
    """Builds the table of a task.

    Args:
        results: The comparison.
        task: Name of the task.
        split: Days; those of the comparison's table if None.

    Returns:
        A row a method, with a value (or None) for each of `COLUMNS`: means
        over its seeds.
    """
    split = results.config.split if split is None else split
    rows = [_row(results, task, method, split) for method in results.methods]
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


def run_rows(results: Results) -> list[dict[str, Any]]:
    """A row a run and split, for those who want to do their own statistics.

    Args:
        results: The comparison.

    Returns:
        Place, status, split and what the run has used, and every quantity of
        its judgement: those by OpenDSS with `opendss_` before them.
    """
    rows = []
    for run in results.runs:
        row: dict[str, Any] = {
            "task": run.task,
            "method": run.method,
            "seed": run.seed,
            "status": run.status,
        }
        if not run.judgements:
            rows.append(row)
        for split, judged in run.judgements.items():
            engines = judged["engines"]
            opendss = engines.get("opendss", {}).get("metrics", {})
            rows.append(
                {
                    **row,
                    "split": split,
                    **{name: judged[name] for name in _USED},
                    "best_iteration": judged["iteration"],
                    **engines["torch"]["metrics"],
                    **{f"opendss_{name}": value for name, value in opendss.items()},
                }
            )
    return rows


def _row(results: Results, task: str, method: str, split: str) -> dict[str, Any]:
    runs = results.of(task, method)
    done = [run for run in runs if split in run.judgements]
    row: dict[str, Any] = {
        "method": method,
        "title": METHODS[method].title,
        "family": METHODS[method].family,
        "is_decentralised": METHODS[method].is_decentralised,
        "num_seeds": len(done),
        "status": combined_status(runs),
    }
    found = [run.judgements[split] for run in done]
    own = [each["engines"]["torch"]["metrics"] for each in found]
    opendss = [each["engines"].get("opendss", {}).get("metrics", {}) for each in found]
    row.update({name: _mean([metrics[name] for metrics in own]) for name in _OWN})
    row.update({f"opendss_{name}": _mean([m.get(name) for m in opendss]) for name in _BY_OPENDSS})
    for name in _USED:
        row[name] = _mean([each[name] for each in found])
    row["peak_memory_mib"] = _mean([each["session"].get("peak_memory_mib") for each in found])
    return {**row, "best_iteration": _mean([each["iteration"] for each in found])}


def combined_status(runs: Sequence[RunResult]) -> str:
    """Status of a method's runs together: `done` if all are, otherwise what is with the others.

    Args:
        runs: Its runs.
    """
    others = [run for run in runs if run.status != "done"]
    if not others:
        return "done"
    if len(runs) == 1:
        return others[0].status
    phrases = dict.fromkeys(run.status for run in others)
    return f"{len(runs) - len(others)} of {len(runs)} done; " + "; ".join(
        f"seed {', '.join(str(r.seed) for r in others if r.status == phrase)} {phrase}"
        for phrase in phrases
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean; None where there is nothing, or a value is missing."""
    if not values or any(value is None for value in values):
        return None
    return math.fsum(float(v) for v in values if v is not None) / len(values)


def _gap(row: Mapping[str, Any], reference: Mapping[str, Any] | None) -> float | None:
    """Cost above perfect foresight's, percent of that cost's size."""
    cost = row.get("cost_usd_per_day")
    base = None if reference is None else reference.get("cost_usd_per_day")
    if cost is None or base is None or math.isclose(base, 0.0):
        return None
    return 100.0 * (float(cost) - float(base)) / abs(float(base))

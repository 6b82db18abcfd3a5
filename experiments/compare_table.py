"""The table of a comparison, as data: one row a method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import has_seeds, run_configs
from gradmap.experiments.judged import REFERENCE
from gradmap.experiments.registry import METHODS
from gradmap.experiments.results import Results
from gradmap.experiments.summary import COUNTERS, summarise_results
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
    "optimality_gap_high_pct",
    "title",
    "status",
    "family",
    "is_decentralised",
    "num_seeds",
)
"""Columns of `table.csv` that a published table needs; all other figures come after them."""

BINDS_PCT = 5.0
"""The task binds if selfish devices violate at this share of node-steps or more."""

SOLVABLE_PCT = 0.05
"""The task is solvable if perfect foresight violates at this share or less."""


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
        summarise_results(results, task, config.split),
        {split: summarise_results(results, task, split) for split in config.splits[1:]},
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


def calibration(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Whether the task binds and can be solved, from the table's rows.

    Args:
        rows: From `gradmap.experiments.summary.summarise_results`.

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
                    **{name: judged[name] for name in COUNTERS},
                    "best_iteration": judged["iteration"],
                    **engines["torch"]["metrics"],
                    **{f"opendss_{name}": value for name, value in opendss.items()},
                }
            )
    return rows

"""What the trials of a search found, and the files that say it.

trials.csv     a row a trial: what was tried, how good it was
trials.json    the same, with the search and the machine
table.md       the same as a table, best first
best.yaml      settings of the best trial, for `gradmap train METHOD --config`

They lie in the folder of the method, beside the runs themselves.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gradmap.experiments.compare_jobs import Job
from gradmap.experiments.config import Budget, Selection
from gradmap.experiments.config_load import RunKey
from gradmap.experiments.files import write_json, write_text, write_yaml
from gradmap.experiments.judgement import number
from gradmap.experiments.registry import METHODS
from gradmap.experiments.runs import read_rows
from gradmap.experiments.search_space import nested
from gradmap.experiments.tune_plan import SearchConfig, Trial

Status = Literal["done", "failed", "waiting"]

FACTS = (
    "trial",
    "name",
    "status",
    "score_usd_per_day",
    "cost_usd_per_day",
    "node_step_violation_pct",
    "best_iteration",
    "iterations",
    "seconds",
    "power_flow_solves",
    "seed",
    "agents",
    "budget",
    "reason",
)
"""Columns of `trials.csv`; those of the settings follow."""

SETTINGS_FILE = "settings.yaml"
"""Best settings of every method, as a file of `gradmap compare` takes them."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a trial found.

    Attributes:
        trial: The trial.
        status: Whether it is over, and how.
        reason: Why it failed.
        score: Priced cost at the best checkpoint, $ a day; see `priced_cost`.
            Infinite unless `done`.
        best: The judgement of the best checkpoint, a row of the metrics; empty
            unless `done`.
        last: The last row of the metrics; empty unless `done`.
    """

    trial: Trial
    status: Status = "waiting"
    reason: str = ""
    score: float = math.inf
    best: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    last: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def metric(self, name: str) -> float | None:
        """A quantity on the validation days, None if there is none."""
        value = self.best["metrics"][name] if self.best else None
        return None if value is None else float(value)


def trial_job(trial: Trial, out: pathlib.Path) -> Job:
    """The job that trains a trial; a judgement on other days is no part of it.

    Args:
        trial: The trial.
        out: Folder of the search.
    """
    home = out.absolute() / trial.method
    job = Job(
        RunKey(trial.config.task.name, trial.method, trial.config.seed),
        trial.config,
        home / "runs" / trial.name,
        home / "logs" / f"{trial.name}.log",
        engines={},
    )
    if job.failed_mark.exists():
        job.state, job.reason = "failed", job.failed_mark.read_text("utf-8").strip()
    return job


def priced_cost(rule: Selection, metrics: Mapping[str, float | None]) -> float:
    """What the best trial has least of: the rule of `Selection`, alike for every method.

    The selfish method too, whose checkpoint is selected on cost alone.

    Args:
        rule: The rule.
        metrics: A judgement on validation days.

    Returns:
        $ a day; infinite if the days could not be judged.
    """
    cost, violation = metrics["cost_usd_per_day"], metrics["node_step_violation_pct"]
    if cost is None or violation is None or not math.isfinite(cost + violation):
        return math.inf
    return cost + rule.price_usd_per_pct * max(0.0, violation - rule.allowed_pct)


def read_outcome(trial: Trial, job: Job) -> Outcome:
    """Reads what a trial found out of its run's folder.

    Args:
        trial: The trial.
        job: Its job.
    """
    if job.state == "failed":
        return Outcome(trial, "failed", job.reason)
    if not job.is_trained():
        return Outcome(trial)
    rows = read_rows(job.folder)
    judged = [row for row in rows if row["kind"] == "validation" and row["score"] is not None]
    best = min(judged, key=lambda row: float(row["score"]), default=None)
    score = math.inf if best is None else priced_cost(trial.config.selection, best["metrics"])
    if best is None or math.isinf(score):
        return Outcome(trial, "failed", "no policy of it could be judged: its cost is not finite")
    return Outcome(trial, "done", "", score, best, rows[-1])


def best_of(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The best trial, the first of equals; None while none is done.

    Args:
        outcomes: The trials of a method.
    """
    done = [each for each in outcomes if each.status == "done"]
    return min(done, key=lambda each: each.score, default=None)


def write_results(
    search: SearchConfig, outcomes: Sequence[Outcome], out: pathlib.Path, facts: Mapping[str, Any]
) -> None:
    """Writes the files of a method.

    Args:
        search: The search.
        outcomes: The trials of one method, in the order in which they were drawn.
        out: Folder of the search.
        facts: Versions and machine.
    """
    method = outcomes[0].trial.method
    home = out / method
    home.mkdir(parents=True, exist_ok=True)
    rows = [_row(each) for each in outcomes]
    write_text(home / "trials.csv", _csv(rows))
    content = {
        "method": method,
        "search": search.model_dump(mode="json"),
        "facts": facts,
        "trials": [
            {**{name: row[name] for name in FACTS}, "settings": each.trial.settings}
            for each, row in zip(outcomes, rows, strict=True)
        ],
    }
    write_json(home / "trials.json", content)
    write_text(home / "table.md", trials_table(rows))
    best = best_of(outcomes)
    if best is not None:
        write_yaml(home / "best.yaml", best_config(best))


def write_settings(best: Sequence[Outcome], out: pathlib.Path) -> None:
    """Writes the best settings of all methods, as `settings:` of `gradmap compare`.

    Args:
        best: The best trial of each method.
        out: Folder of the search.
    """
    settings = {each.trial.method: nested(each.trial.settings) for each in best}
    write_yaml(out / SETTINGS_FILE, {"settings": settings})


def best_config(best: Outcome) -> dict[str, Any]:
    """The best trial's settings as a file of `gradmap train METHOD --config`.

    Args:
        best: The trial.
    """
    section = METHODS[best.trial.method].settings
    return {str(section): nested(best.trial.settings)}


def trials_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The trials of a method as a markdown table, best first.

    Args:
        rows: Rows of `trials.csv`.
    """
    names = setting_names(rows[0])
    head = ["trial", *names, "priced cost, $ per day", "cost, $ per day", "violation, %", "status"]
    body = []
    for row in sorted(rows, key=_rank):
        figures = [number(as_number(row[name])) for name in FACTS[3:6]]
        label = f"{row['trial']} (defaults)" if int(row["trial"]) == 0 else str(row["trial"])
        status = f"failed: {row['reason']}" if row["status"] == "failed" else str(row["status"])
        body.append([label, *(str(row[name]) for name in names), *figures, status])
    return markdown_grid(head, body) + "\n"


def markdown_grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A markdown table.

    Args:
        head: Names of the columns.
        body: Cells of each row.
    """
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(c.replace("|", "/") for c in row) + " |" for row in lines)


def setting_names(row: Mapping[str, Any]) -> list[str]:
    """Names of the settings in a row of `trials.csv`.

    Args:
        row: The row.
    """
    return [name for name in row if name not in FACTS]


def as_number(value: Any) -> float | None:
    """A cell as a number; None if it is empty.

    Args:
        value: The cell.
    """
    return None if value in (None, "") else float(value)


def budget_text(budget: Budget) -> str:
    """A budget in words, `40 seconds`.

    Args:
        budget: The budget.
    """
    limits = budget.limits().items()
    return " or ".join(f"{limit:g} {name.replace('_', ' ')}" for name, limit in limits)


def _rank(row: Mapping[str, Any]) -> tuple[bool, float]:
    score = as_number(row["score_usd_per_day"])
    return score is None, 0.0 if score is None else score


def _row(outcome: Outcome) -> dict[str, Any]:
    trial, config = outcome.trial, outcome.trial.config
    done = outcome.status == "done"
    return {
        "trial": trial.number,
        "name": trial.name,
        "status": outcome.status,
        "score_usd_per_day": round(outcome.score, 3) if done else None,
        "cost_usd_per_day": _rounded(outcome.metric("cost_usd_per_day"), 3),
        "node_step_violation_pct": _rounded(outcome.metric("node_step_violation_pct"), 5),
        "best_iteration": outcome.best.get("iteration"),
        "iterations": outcome.last.get("iteration"),
        "seconds": _rounded(outcome.last.get("seconds"), 1),
        "power_flow_solves": outcome.last.get("power_flow_solves"),
        "seed": config.seed,
        "agents": config.task.num_agents,
        "budget": budget_text(config.budget),
        "reason": outcome.reason,
        **trial.settings,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

"""Writes a comparison's tables: `table.csv`, `table.json` and `table.md`."""

from __future__ import annotations

import csv
import dataclasses
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from gradmap.experiments.compare_table import BINDS_PCT, COLUMNS, SOLVABLE_PCT, calibration
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.files import write_json, write_text
from gradmap.experiments.judgement import number
from gradmap.experiments.progress import duration
from gradmap.experiments.target import COMPARED, Race

_SHOWN = {
    "title": "method",
    "cost_usd_per_day": "cost, $/day",
    "optimality_gap_pct": "gap, %",
    "node_step_violation_pct": "node-steps in violation, %",
    "step_violation_pct": "steps in violation, %",
    "violation_max_pu": "largest violation, p.u.",
    "opendss_node_step_violation_pct": "same by OpenDSS, % of node-steps",
    "thermal_overload_step_pct": "steps with overload, %",
    "discomfort_kh": "discomfort, K h",
    "losses_kwh_per_day": "losses, kWh/day",
    "train_seconds": "training, s",
    "env_gradients": "environment gradients",
    "power_flow_solves": "power flows",
}


@dataclasses.dataclass(frozen=True)
class Report:
    """What a comparison found.

    Attributes:
        config: The comparison.
        rows: The table.
        races: Time to the target, the one that counts first.
        facts: Hardware, versions and days, for the reader.
    """

    config: CompareConfig
    rows: Sequence[Mapping[str, Any]]
    races: Sequence[Race]
    facts: Mapping[str, Any]


def write_report(report: Report, out: pathlib.Path) -> None:
    """Writes the tables.

    Args:
        report: What was found.
        out: Folder.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(report.rows)
    write_text(out / "table.csv", text.getvalue())
    whole = {
        "rows": report.rows,
        "calibration": calibration(report.rows),
        "time_to_target": [_race_json(race) for race in report.races],
        "facts": report.facts,
        "config": report.config.model_dump(mode="json"),
    }
    write_json(out / "table.json", whole)
    write_text(out / "table.md", markdown(report))


def markdown(report: Report) -> str:
    """The report as a page of Markdown.

    Args:
        report: What was found.
    """
    config = report.config
    parts = [
        f"# {config.task.name}: {config.task.num_agents} agents, seed {config.seed}",
        setting(report),
        main_table(report.rows),
        *calibration_lines(report.rows),
        *failure_lines(report.rows),
        "## Time and environment gradients to the validation target",
        *dict.fromkeys(race_table(race) for race in report.races),
    ]
    return "\n\n".join(parts) + "\n"


def setting(report: Report) -> str:
    """What the figures hang on: days, budget, hardware and versions, in a paragraph.

    Args:
        report: What was found.
    """
    facts, config = report.facts, report.config
    return (
        f"{facts['num_days']} {config.split} days that no method was trained on. "
        f"{_budget(config)} of training for each method, {config.workers} at a time, "
        f"{config.threads} thread(s) each, on {facts['cpu']}, {facts['cores']} cores"
        f"{', ' + facts['gpu'] if facts.get('gpu') else ''}; gradmap {facts['gradmap']}, "
        f"torch {facts['torch']}. Costs and violations are means over the days."
    )


def main_table(rows: Sequence[Mapping[str, Any]], names: Sequence[str] = tuple(_SHOWN)) -> str:
    """The main table in Markdown.

    Args:
        rows: From `table_rows`.
        names: Columns to show, `title` first.
    """
    body = []
    for row in rows:
        cells = {name: str(row[name]) if name == "title" else number(row[name]) for name in names}
        gap = row["optimality_gap_pct"]
        if gap is not None and (row["node_step_violation_pct"] or 0) > SOLVABLE_PCT:
            cells["optimality_gap_pct"] += " *"  # a gap bought with violations is no gap
        body.append([cells[name] for name in names])
    note = (
        "gap: cost above perfect foresight's, percent of its size. "
        f"\\* with more than {SOLVABLE_PCT:g} % of node-steps in violation: not the same problem."
    )
    return grid([_SHOWN[name] for name in names], body) + "\n\n" + note


def calibration_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the table says of the task: that it binds and can be solved.

    Args:
        rows: From `table_rows`.
    """
    found = calibration(rows)
    yes = {True: "yes", False: "NO", None: "unknown"}
    selfish = number(found["selfish_node_step_violation_pct"])
    reference = number(found["perfect_foresight_node_step_violation_pct"])
    return [
        f"- The task binds: {yes[found['binds']]}. Selfish devices violate at {selfish} % of "
        f"node-steps (expected {BINDS_PCT:g} % or more).\n"
        f"- The task is solvable: {yes[found['is_solvable']]}. Perfect foresight violates at "
        f"{reference} % of node-steps (expected {SOLVABLE_PCT:g} % or less)."
    ]


def failure_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each method that has no figures, and why.

    Args:
        rows: From `table_rows`.
    """
    lines = [f"- {row['title']}: {row['status']}" for row in rows if row["status"] != "done"]
    return ["\n".join(["Without figures:", "", *lines])] if lines else []


def race_table(race: Race) -> str:
    """Time to a target in Markdown.

    Args:
        race: Who reached it when.
    """
    if race.cost_usd_per_day is None:
        return f"No method came down to {race.violation_pct:g} % of node-steps in violation."
    head = (
        f"Target: at most {race.violation_pct:g} % of node-steps in violation and at most "
        f"$ {number(race.cost_usd_per_day)} a day, {race.margin_pct:g} % above the best at so few "
        "violations; looked for at every judgement on validation days."
    )
    body = []
    for method, hit in race.reached.items():
        if hit is None:
            body.append([method, "not reached", *[""] * (2 + len(COMPARED))])
            continue
        ratios = [race.ratio(method, name) for name in COMPARED]
        body.append(
            [
                method,
                duration(hit.seconds),
                str(hit.env_gradients),
                number(hit.power_flow_solves),
                *(number(ratio) for ratio in ratios),
            ]
        )
    columns = ["method", "training time", "environment gradients", "power flows"]
    over = [f"{name} / GradMAP's" for name in ("time", "gradients", "power flows")]
    return head + "\n\n" + grid([*columns, *over], body)


def grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table, first column to the left, padded so that it reads as text too.

    Args:
        head: Headings.
        body: Rows, as long as the heading.
    """
    lines = [list(head), *map(list, body)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]

    def joined(line: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    rule = [("-" * w) if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([joined(head), joined(rule), *map(joined, body)])


def _budget(config: CompareConfig) -> str:
    budget = config.budget
    parts = []
    if budget.seconds is not None:
        parts.append(f"{budget.seconds:g} s")
    if budget.iterations is not None:
        parts.append(f"{budget.iterations} iterations")
    return " or ".join(parts)


def _race_json(race: Race) -> dict[str, Any]:
    ratios = {
        method: {name: race.ratio(method, name) for name in COMPARED} for method in race.reached
    }
    return {**dataclasses.asdict(race), "ratio_to_gradmap": ratios}

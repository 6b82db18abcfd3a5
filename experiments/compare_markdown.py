"""A comparison's tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradmap.experiments.compare_table import BINDS_PCT, SOLVABLE_PCT, Report, calibration
from gradmap.experiments.config import Budget
from gradmap.experiments.judgement import number
from gradmap.experiments.progress import duration
from gradmap.experiments.target import COMPARED, Race, Ratio

SHOWN = {
    "title": "method",
    "cost_usd_per_day": "cost, $/day",
    "optimality_gap_pct": "gap, %",
    "node_step_violation_pct": "node-steps in violation, %",
    "opendss_node_step_violation_pct": "same by OpenDSS, %",
    "step_violation_pct": "steps in violation, %",
    "violation_max_pu": "largest violation, p.u.",
    "thermal_overload_step_pct": "steps with overload, %",
    "discomfort_kh": "discomfort, K h",
    "losses_kwh_per_day": "losses, kWh/day",
    "train_seconds": "training, s",
    "env_gradients": "environment gradients",
    "power_flow_solves": "power flows",
}
"""Columns of the main table, and their headings."""

SHOWN_IF_KNOWN = {"tap_operations_per_day": "tap moves a day"}
"""Columns after them, where a method has a figure: of tasks whose taps are alive."""

WITH_INTERVAL = ("cost_usd_per_day", "node_step_violation_pct")
"""Columns that show their interval."""

FAMILIES = {
    "gradient": "Learning through the gradient",
    "model-free": "Model-free learning",
    "control": "Control",
    "reference": "References",
}
"""Families of methods, in the order of the tables."""


def markdown(report: Report) -> str:
    """The report of a task as a page of Markdown.

    Args:
        report: What was found.
    """
    parts = [
        f"# {report.task_line()}",
        setting(report),
        main_table(report.rows),
        *calibration_lines(report.rows),
        *failure_lines(report.rows),
        *(["## Under stress", stress_table(report)] if report.stress else []),
    ]
    if report.races:
        heading = "## Time and environment gradients to the validation target"
        parts += [heading, race_tables(report.races)]
    return "\n\n".join(parts) + "\n"


def setting(report: Report) -> str:
    """What the figures hang on: days, budget, hardware and versions, in a paragraph.

    Args:
        report: What was found.
    """
    facts, config = report.facts, report.config
    at_once = "as many runs at a time as cores" if config.workers is None else (
        f"{config.workers} at a time"
    )  # fmt: skip
    over = f" over {len(config.seeds)} seeds" if len(config.seeds) > 1 else ""
    return (
        f"{facts['num_days']} {config.split} days that no method was trained on. "
        f"{budget_line(config.budget)} of training for each method, {at_once}, "
        f"{config.threads} thread(s) each, on {facts['cpu']}, {facts['cores']} cores"
        f"{', ' + facts['gpu'] if facts.get('gpu') else ''}; gradmap {facts['gradmap']}, "
        f"torch {facts['torch']}. Costs and violations are means over the days{over}."
    )


def main_table(rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None) -> str:
    """The main table in Markdown, a family of methods after the other.

    Args:
        rows: From `gradmap.experiments.summary.summarise_results`.
        names: Columns to show, `title` first; by default those of `SHOWN`, and
            of `SHOWN_IF_KNOWN` what there is.
    """
    headings = {**SHOWN, **SHOWN_IF_KNOWN}
    if names is None:
        extra = [n for n in SHOWN_IF_KNOWN if any(row.get(n) is not None for row in rows)]
        names = [*SHOWN, *extra]
    body, families = [], {row["family"] for row in rows}
    for family, heading in FAMILIES.items():
        own = [row for row in rows if row["family"] == family]
        if own and len(families) > 1:
            body.append([f"*{heading}*", *[""] * (len(names) - 1)])
        body += [[_cell(row, name) for name in names] for row in own]
    notes = [
        "gap: cost above perfect foresight's and above the lower bound of any policy's cost, "
        "percent of the former's size: the gap to the optimum lies between them. "
        f"\\* with more than {SOLVABLE_PCT:g} % of node-steps in violation: not the same problem."
    ]
    if not all(row["is_decentralised"] for row in rows):
        notes.append("† not decentralised: it sees more than an agent can.")
    if any(row["cost_usd_per_day_low"] is not None for row in rows):
        notes.append("In brackets: 95 % bootstrap interval.")
    return grid([headings[name] for name in names], body) + "\n\n" + " ".join(notes)


def stress_table(report: Report) -> str:
    """The table of the stress splits in Markdown.

    Args:
        report: What was found.
    """
    splits = list(report.stress)
    by_split = {
        split: {row["method"]: row for row in rows} for split, rows in report.stress.items()
    }
    body = []
    for row in report.rows:
        found = [by_split[split].get(row["method"]) for split in splits]
        if any(each and each["cost_usd_per_day"] is not None for each in found):
            body.append([_title(row), *(_stress_cell(each) for each in found)])
    note = "Cost, $/day, and node-steps in violation, on the test days under a stress each."
    return grid(["method", *splits], body) + "\n\n" + note


def calibration_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the table says of the task: that it binds and can be solved.

    Args:
        rows: From `gradmap.experiments.summary.summarise_results`.
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
    """A line for each method of which a run has no figures, and why.

    Args:
        rows: From `gradmap.experiments.summary.summarise_results`.
    """
    lines = [f"- {row['title']}: {row['status']}" for row in rows if row["status"] != "done"]
    return ["\n".join(["Without figures:", "", *lines])] if lines else []


def race_tables(races: Sequence[Race]) -> str:
    """Times to several targets in Markdown, and how to read them.

    Args:
        races: Who reached each when.
    """
    note = (
        "*seeds*: runs that came to the target; times, gradients and flows are the interquartile "
        "mean over them. Ratios to GradMAP's run of the same seed, with the 95 % bootstrap "
        "interval over seeds; ≥ where a run did not come to the target and counts with all that "
        "it used, ≤ where GradMAP's did not."
    )
    return "\n\n".join([*dict.fromkeys(race_table(race) for race in races), note])


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
    for method, seeds in race.used.items():
        needed = {name: race.needed(method, name) for name in COMPARED}
        seconds = needed["seconds"]
        body.append(
            [
                method,
                f"{len(race.reached(method))} of {len(seeds)}",
                "–" if seconds is None else duration(seconds),
                number(needed["env_gradients"]),
                number(needed["power_flow_solves"]),
                *(ratio_text(race.ratio(method, name)) for name in COMPARED),
            ]
        )
    columns = ["method", "seeds", "training time", "environment gradients", "power flows"]
    over = [f"{name} / GradMAP's" for name in ("time", "gradients", "power flows")]
    return head + "\n\n" + grid([*columns, *over], body)


def ratio_text(ratio: Ratio) -> str:
    """A ratio with its interval.

    Args:
        ratio: The ratio.
    """
    if ratio.value is None:
        return "–"
    sign = {"": "", ">=": "≥ ", "<=": "≤ "}[ratio.bound]
    return sign + with_interval(ratio.value, ratio.low, ratio.high)


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A figure with its interval in brackets, where it has one.

    Args:
        value: The figure.
        low: Lower end.
        high: Upper end.
    """
    text = number(value)
    if low is None or high is None or number(low) == number(high):
        return text
    return f"{text} ({number(low)} to {number(high)})"


def budget_line(budget: Budget) -> str:
    """A budget in words.

    Args:
        budget: The budget.
    """
    units = {
        "seconds": "s",
        "iterations": "iterations",
        "env_steps": "environment steps",
        "power_flow_solves": "power flows",
    }
    return " or ".join(f"{limit:,g} {units[name]}" for name, limit in budget.limits().items())


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


def _title(row: Mapping[str, Any]) -> str:
    return str(row["title"]) + ("" if row["is_decentralised"] else " †")


def _cell(row: Mapping[str, Any], name: str) -> str:
    if name == "title":
        return _title(row)
    if name in WITH_INTERVAL:
        return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"])
    if name == "optimality_gap_pct":
        return _gap_text(row)
    return number(row.get(name))


def _gap_text(row: Mapping[str, Any]) -> str:
    """Both ends of the gap to the optimum."""
    low, high = row["optimality_gap_pct"], row["optimality_gap_high_pct"]
    if low is None:
        return "–"
    text = number(low) if high is None else f"{number(low)} to {number(high)}"
    # A gap bought with violations is no gap.
    return text + (" *" if (row["node_step_violation_pct"] or 0) > SOLVABLE_PCT else "")


def _stress_cell(row: Mapping[str, Any] | None) -> str:
    if row is None or row["cost_usd_per_day"] is None:
        return "–"
    return f"{number(row['cost_usd_per_day'])} ({number(row['node_step_violation_pct'])} %)"

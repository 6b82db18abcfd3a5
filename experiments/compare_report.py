"""Writes a comparison's tables: `table.csv`, `table.json`, `table.md`, `table.tex`, `runs.csv`."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from gradmap.experiments.compare_markdown import markdown
from gradmap.experiments.compare_table import COLUMNS, Report, calibration, run_rows
from gradmap.experiments.files import write_json, write_text
from gradmap.experiments.latex import latex_table
from gradmap.experiments.results import Results
from gradmap.experiments.target import race_json


def write_report(reports: Sequence[Report], results: Results, out: pathlib.Path) -> None:
    """Writes the tables.

    Args:
        reports: What was found, a task each.
        results: The comparison.
        out: Folder.
    """
    rows = [{"task": report.task, **row} for report in reports for row in report.rows]
    write_text(out / "table.csv", _csv(("task", *COLUMNS), rows))
    write_text(out / "runs.csv", _csv((), run_rows(results)))
    whole = {
        "tasks": {report.task: _as_json(report) for report in reports},
        "facts": results.facts,
        "config": results.config.model_dump(mode="json"),
    }
    write_json(out / "table.json", whole)
    write_text(out / "table.md", "\n".join(markdown(report) for report in reports))
    tables = [
        latex_table(report.rows, f"{report.task_line()}. Test days, with 95 % intervals.", label)
        for report, label in zip(reports, _labels(reports), strict=True)
    ]
    write_text(out / "table.tex", "\n".join(tables))


def _labels(reports: Sequence[Report]) -> list[str]:
    return ["tab:comparison", *(f"tab:comparison-{i}" for i in range(2, len(reports) + 1))]


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "num_agents": report.num_agents,
        "rows": report.rows,
        "stress": report.stress,
        "calibration": calibration(report.rows),
        "time_to_target": [race_json(race) for race in report.races],
    }


def _csv(first: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV: some columns first, then whatever other columns a row has."""
    columns = dict.fromkeys([*first, *(name for row in rows for name in row)])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

"""Picks out of a comparison what its seeds have found in training."""

from __future__ import annotations

import dataclasses
import pathlib

from gradmap.experiments.compare_table import Report, make_report
from gradmap.experiments.registry import METHODS
from gradmap.experiments.results import RunResult, load_results
from gradmap.experiments.seeds import Row
from gradmap.feeders.errors import GradmapError


@dataclasses.dataclass(frozen=True)
class Learning:
    """What the seeds of a comparison have found so far.

    Attributes:
        report: Its tables.
        rows: Validation rows of finished runs, by method and seed.
        judgements: Their judgements, likewise.
        missing: What is not there, a phrase each.
    """

    report: Report
    rows: dict[str, dict[int, list[Row]]]
    judgements: dict[str, dict[int, Row]]
    missing: tuple[str, ...]


def read_learning(folder: pathlib.Path) -> Learning:
    """Reads the seeds of a comparison of one task.

    Args:
        folder: The comparison's folder.

    Raises:
        GradmapError: If there are no figures at all, several tasks, or rows
            lack the price of violations.
    """
    results = load_results(folder)
    if len(results.tasks) > 1:
        raise GradmapError(
            f"{folder} holds {len(results.tasks)} tasks; curves are drawn of one, and its report "
            "shows them all"
        )
    rows: dict[str, dict[int, list[Row]]] = {name: {} for name in results.methods}
    judgements: dict[str, dict[int, Row]] = {name: {} for name in rows}
    missing = []
    for run in results.runs:
        if run.status != "done":
            missing.append(f"{METHODS[run.method].title}, seed {run.seed}: {run.status}")
            continue
        rows[run.method][run.seed] = _validation_rows(run)
        judgements[run.method][run.seed] = run.judgements[results.config.split]
    if not any(judgements.values()):
        raise GradmapError(f"{folder} has no figures yet: {'; '.join(missing)}")
    return Learning(make_report(results, results.tasks[0]), rows, judgements, tuple(missing))


def _validation_rows(run: RunResult) -> list[Row]:
    rows: list[Row] = [*run.validation()]
    if any("violation_usd_per_day" not in row["metrics"] for row in rows):
        raise GradmapError(
            f"{run.folder} was judged in training without violation_usd_per_day, by an older "
            "version; train it anew with `gradmap compare --fresh`"
        )
    return rows

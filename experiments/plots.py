"""The plots of a comparison."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from gradmap.experiments.compare_jobs import Job
from gradmap.experiments.compare_report import Report
from gradmap.experiments.plot_multipliers import multiplier_map
from gradmap.experiments.plot_tradeoff import tradeoff
from gradmap.experiments.plot_training import training_curves
from gradmap.experiments.plot_voltages import voltage_envelopes
from gradmap.experiments.registry import METHODS
from gradmap.experiments.runs import read_rows
from gradmap.feeders.catalog import load_feeder


def draw_all(report: Report, jobs: Sequence[Job], out: pathlib.Path) -> list[pathlib.Path]:
    """Draws what there are figures for.

    Args:
        report: The comparison.
        jobs: Its jobs.
        out: Folder.

    Returns:
        The files.
    """
    done = {job.config.method: job for job in jobs if job.state == "done"}
    voltages = {name: job.judgement.with_suffix(".npz") for name, job in done.items()}
    curves = {
        name: [row for row in read_rows(job.folder) if row["kind"] == "validation"]
        for name, job in done.items()
        if METHODS[name].needs_training and not METHODS[name].is_reference
    }
    files = []
    if curves:
        files.append(training_curves(curves, out / "training.png"))
    if any(row["status"] == "done" for row in report.rows):
        files.append(tradeoff(report.rows, out / "cost_and_violation.png"))
    task = report.config.task
    feeder = load_feeder(task.feeder, task.taps)
    shown: dict[str, pathlib.Path] = {
        name: voltages[name] for name in ("selfish", "gradmap") if name in voltages
    }
    if shown:
        limits = (task.vmin_pu, task.vmax_pu)
        files.append(voltage_envelopes(shown, feeder, limits, out / "voltages.png"))
    if "gradmap" in voltages:
        files.append(multiplier_map(voltages["gradmap"], feeder, out / "multipliers.png"))
    return files

"""Compares methods: the same task, days, seed and time for each."""

from __future__ import annotations

import importlib.metadata
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import gradmap
from gradmap.experiments.compare_jobs import Job, check_folder, run_jobs
from gradmap.experiments.compare_progress import CompareProgress
from gradmap.experiments.compare_report import Report
from gradmap.experiments.compare_table import table_rows
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import run_configs
from gradmap.experiments.files import write_yaml
from gradmap.experiments.judgement import load_judgement
from gradmap.experiments.registry import METHODS, check_installed
from gradmap.experiments.runs import read_rows
from gradmap.experiments.signals import StopRequest
from gradmap.experiments.target import Race, race
from gradmap.feeders.errors import GradmapError


def plan_jobs(config: CompareConfig, out: pathlib.Path) -> list[Job]:
    """The jobs of a comparison, in the table's order.

    Args:
        config: The comparison.
        out: Its folder.

    Raises:
        GradmapError: If the configuration is at fault, or the folder holds
            runs of another one; names the first.
    """
    engine = "both" if config.opendss else "torch"
    jobs = [
        Job(run, out / "runs" / name, out / "logs" / f"{name}.log", config.split, engine)
        for name, run in run_configs(config).items()
    ]
    for job in jobs:
        check_folder(job)
    return jobs


def check_buildable(config: CompareConfig) -> None:
    """Builds the task once: faults show before anything starts, and caches are filled.

    What the methods need is looked for as well.

    Args:
        config: The comparison.

    Raises:
        GradmapError: If the task cannot be built, or what a method needs is
            not installed.
    """
    from gradmap.experiments.assembly import assemble

    runs = run_configs(config)
    check_installed(runs)
    any_run = next(iter(runs.values()))
    assemble(any_run.model_copy(update={"method": "idle"}))


def prepare(config: CompareConfig, out: pathlib.Path, is_fresh: bool) -> list[Job]:
    """Makes the folder of a comparison.

    Args:
        config: The comparison.
        out: The folder.
        is_fresh: Whether to delete the runs that it holds.

    Raises:
        GradmapError: If anything is at fault; nothing is written then.
    """
    if not is_fresh:
        plan_jobs(config, out)
    check_buildable(config)
    if is_fresh:
        for name in ("runs", "logs"):
            shutil.rmtree(out / name, ignore_errors=True)
    jobs = plan_jobs(config, out)
    try:
        (out / "logs").mkdir(parents=True, exist_ok=True)
        (out / "runs").mkdir(exist_ok=True)
        write_yaml(out / "config.yaml", config.model_dump(mode="json"))
    except OSError as error:
        raise GradmapError(f"cannot write to {out}: {error.strerror}") from None
    return jobs


def train_and_judge(jobs: Sequence[Job], workers: int) -> bool:
    """Trains and judges every method that is not done yet.

    Args:
        jobs: The jobs.
        workers: Methods at a time.

    Returns:
        Whether it went to the end; False if a stop was asked for.
    """
    # Those that train take longest: the others fill the gaps at the end.
    order = sorted(jobs, key=lambda job: not METHODS[job.config.method].needs_training)
    with StopRequest() as stop, CompareProgress() as progress:
        run_jobs(order, workers, stop, progress.show)
    return not stop.is_set


def make_report(config: CompareConfig, jobs: Sequence[Job]) -> Report:
    """Draws the judgements together.

    Args:
        config: The comparison.
        jobs: The jobs; those that are not done stand in the table without figures.
    """
    return Report(config, table_rows(jobs), races(config, jobs), _facts(jobs))


def races(config: CompareConfig, jobs: Sequence[Job]) -> list[Race]:
    """Time to the target of every method that learns to keep the limits.

    Args:
        config: The comparison.
        jobs: The jobs.

    Returns:
        A race for each margin of `config.target`, in its order.
    """
    rows: dict[str, Any] = {}
    for job in jobs:
        spec = METHODS[job.config.method]
        if spec.needs_training and not spec.is_reference and not spec.ignores_network:
            rows[spec.name] = [r for r in read_rows(job.folder) if r["kind"] == "validation"]
    level = config.target.node_step_violation_pct
    return [race(rows, level, margin) for margin in config.target.cost_margin_pct] if rows else []


def _facts(jobs: Sequence[Job]) -> dict[str, Any]:
    from gradmap.experiments.manifest import hardware

    facts: dict[str, Any] = {
        "gradmap": gradmap.__version__,
        "torch": importlib.metadata.version("torch"),
        **hardware(),
        "num_days": 0,
    }
    for job in jobs:
        if job.state == "done":
            found = load_judgement(job.judgement)
            session = found["session"]
            return {**facts, **session["hardware"], "num_days": len(found["dates"])}
    return facts

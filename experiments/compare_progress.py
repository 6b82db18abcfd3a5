"""How far a comparison is: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import collections
import time
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.live import Live
from rich.table import Table

from gradmap.experiments.compare_jobs import Job
from gradmap.experiments.progress import PLAIN_SECONDS, describe, duration
from gradmap.experiments.runs import read_rows
from gradmap.experiments.terminal import console

MOST_ROWS = 20
"""Runs of the live table; of more, only those that are at work or have failed."""


class CompareProgress:
    """Shows the jobs; give `show` to an engine."""

    def __init__(self) -> None:
        output = console()
        self._live = Live(console=output, auto_refresh=False) if output.is_terminal else None
        self._next = 0.0
        self._states: dict[str, str] = {}

    def __enter__(self) -> CompareProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, jobs: Sequence[Job]) -> None:
        """Shows where the jobs are, if it is time to.

        Args:
            jobs: The jobs.
        """
        names = job_names(jobs)
        states = {name: job.state for name, job in names.items()}
        changed = [name for name in names if self._states.get(name) != states[name]]
        self._states = dict(states)
        is_due = time.monotonic() >= self._next
        if not (is_due or changed):
            return
        if is_due:
            self._next = time.monotonic() + (1.0 if self._live else PLAIN_SECONDS)
        if self._live:
            self._live.update(_table(names), refresh=True)
            return
        active = [name for name in names if is_due and states[name] == "training"]
        news = [name for name in changed if name not in active and states[name] != "waiting"]
        for name in (*news, *active):
            state, used, rate, found = _cells(names[name])
            words = [text for text in (state, used, rate, found) if text]
            print(f"[{name}] {', '.join(words)}", flush=True)


def job_names(jobs: Sequence[Job]) -> dict[str, Job]:
    """Jobs by the shortest names that tell them apart: the method, and task and seed if several.

    Args:
        jobs: The jobs.
    """
    has_tasks = len({job.key.task for job in jobs}) > 1
    has_seeds = len({job.key.seed for job in jobs}) > 1
    names = {}
    for job in jobs:
        task, method, seed = job.key
        parts = [*([task] if has_tasks else []), method, *([f"seed {seed}"] if has_seeds else [])]
        names[" ".join(parts)] = job
    return names


def _table(names: dict[str, Job]) -> Table:
    table = Table("method", "state", "training time", "rate", "on validation days", box=box.SIMPLE)
    is_long = len(names) > MOST_ROWS
    for name, job in names.items():
        if not is_long or job.state not in ("waiting", "done"):
            table.add_row(name, *_cells(job))
    if is_long:
        counts = collections.Counter(job.state for job in names.values())
        table.add_row(f"{len(names)} runs", ", ".join(f"{n} {s}" for s, n in counts.items()))
    return table


def _cells(job: Job) -> tuple[str, str, str, str]:
    """State, time used, rate and last judgement of a job, as text."""
    state = f"failed: {job.reason}" if job.state == "failed" else job.state
    if job.state == "waiting":
        return state, "", "", ""
    rows = read_rows(job.folder)
    if not rows:
        return state, "", "", ""
    judged: dict[str, Any] = next((r for r in reversed(rows) if r["kind"] == "validation"), {})
    found = describe(judged["metrics"]) if judged else ""
    seconds, iteration = float(rows[-1]["seconds"]), int(rows[-1]["iteration"])
    if not seconds:
        return state, "", "", found
    budget = job.config.budget
    limit = f" of {duration(budget.seconds)}" if budget.seconds is not None else ""
    used = f"{iteration} iterations in {duration(seconds)}{limit}"
    return state, used, f"{iteration / seconds:.2f}/s", found

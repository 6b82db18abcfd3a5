"""How far a comparison is: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

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


class CompareProgress:
    """Shows the jobs; give `show` to `run_jobs`."""

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
        states = {job.config.method: job.state for job in jobs}
        changed = [job for job in jobs if self._states.get(job.config.method) != job.state]
        self._states = dict(states)
        is_due = time.monotonic() >= self._next
        if not (is_due or changed):
            return
        if is_due:
            self._next = time.monotonic() + (1.0 if self._live else PLAIN_SECONDS)
        if self._live:
            self._live.update(_table(jobs), refresh=True)
            return
        active = [job for job in jobs if is_due and job.state == "training"]
        news = [job for job in changed if job not in active and job.state != "waiting"]
        for job in (*news, *active):
            state, used, rate, found = _cells(job)
            words = [text for text in (state, used, rate, found) if text]
            print(f"[{job.config.method}] {', '.join(words)}", flush=True)


def _table(jobs: Sequence[Job]) -> Table:
    table = Table("method", "state", "training time", "rate", "on validation days", box=box.SIMPLE)
    for job in jobs:
        table.add_row(job.config.method, *_cells(job))
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

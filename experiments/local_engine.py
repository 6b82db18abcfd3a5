"""Runs the jobs of a comparison in child processes on this machine.

Each has a session of its own: Ctrl-C reaches the parent alone, which passes
it on and waits until every child has saved.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence

from gradmap.experiments.compare_jobs import Job, Show, command, environment
from gradmap.experiments.signals import StopRequest
from gradmap.feeders.errors import GradmapError

POLL_SECONDS = 0.2


def run_jobs(jobs: Sequence[Job], workers: int, stop: StopRequest, show: Show) -> None:
    """Runs jobs, a number of them at a time, until all are over or a stop is asked for.

    Args:
        jobs: The jobs; their `state` says how each ended.
        workers: How many at a time.
        stop: Looked at several times a second.
        show: Called as often, to show where the jobs are.
    """
    running: dict[int, subprocess.Popen[bytes]] = {}
    try:
        while not stop.is_set and (running or any(job.state == "waiting" for job in jobs)):
            for number, job in enumerate(jobs):
                process = running.get(number)
                if process is not None and process.poll() is not None:
                    job.end(running.pop(number).returncode)
                    process = None
                if process is None and job.state == "waiting" and len(running) < workers:
                    _begin(number, job, running)
            show(jobs)
            time.sleep(POLL_SECONDS)
    finally:
        _stop_all(jobs, running, show)


def _begin(number: int, job: Job, running: dict[int, subprocess.Popen[bytes]]) -> None:
    """Starts the next process of a job, if there is one."""
    try:
        words = job.begin()
    except GradmapError as error:
        job.fail(str(error))
        return
    if words is None:
        return
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        running[number] = subprocess.Popen(
            command(words),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(job.config.threads),
            start_new_session=True,
        )


def _stop_all(jobs: Sequence[Job], running: dict[int, subprocess.Popen[bytes]], show: Show) -> None:
    """Asks every child to stop, and waits until it has saved."""
    for process in running.values():
        process.send_signal(signal.SIGINT)
    for number, process in running.items():
        process.wait()
        jobs[number].state = "stopped"
        show(jobs)

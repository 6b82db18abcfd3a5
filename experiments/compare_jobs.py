"""Trains and judges the methods of a comparison in child processes.

A child is `gradmap train` and then `gradmap evaluate`, each in a process and
a session of its own: Ctrl-C reaches the parent alone, which passes it on and
waits until every child has saved. What one child does cannot spoil another.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Literal

import gradmap
from gradmap.experiments.config import RunConfig
from gradmap.experiments.config_load import differences
from gradmap.experiments.files import write_yaml
from gradmap.experiments.metrics import QUANTITIES
from gradmap.experiments.runs import RunFolder
from gradmap.experiments.signals import EXIT_CODE, StopRequest
from gradmap.feeders.errors import GradmapError

State = Literal["waiting", "training", "judging", "done", "stopped", "failed"]

POLL_SECONDS = 0.2


@dataclasses.dataclass
class Job:
    """A method of the comparison.

    Attributes:
        config: Its run.
        folder: Its run's folder.
        log: What its processes print.
        split: Days to judge it on.
        engine: `torch` or `both`.
        state: Where it is.
        reason: Why it failed.
        process: The process that works on it, None between two.
        tried: States that it has been in.
    """

    config: RunConfig
    folder: pathlib.Path
    log: pathlib.Path
    split: str
    engine: str
    state: State = "waiting"
    reason: str = ""
    process: subprocess.Popen[bytes] | None = None
    tried: list[State] = dataclasses.field(default_factory=list)

    @property
    def judgement(self) -> pathlib.Path:
        """File that the judgement is in, once it is made."""
        return self.folder / "evaluation" / f"{self.split}-best.json"

    def is_trained(self) -> bool:
        """Whether the run is finished."""
        return self.folder.is_dir() and RunFolder.open(self.folder).status == "finished"

    def is_judged(self) -> bool:
        """Whether the run has a judgement of its best checkpoint by every engine asked for.

        One without a quantity of today is from an older version, and is made again.
        """
        best = self.folder / "checkpoints" / "best.pt"
        if not self.judgement.exists() or not best.exists():
            return False
        if self.judgement.stat().st_mtime < best.stat().st_mtime:
            return False
        engines = json.loads(self.judgement.read_text("utf-8"))["engines"]
        wanted = ("torch", "opendss") if self.engine == "both" else ("torch",)
        return all(
            e in engines and QUANTITIES.keys() <= engines[e]["metrics"].keys() for e in wanted
        )


def check_folder(job: Job) -> None:
    """Refuses a folder that holds a run of another configuration.

    Args:
        job: The job.

    Raises:
        GradmapError: If it does.
    """
    if not job.folder.exists():
        return
    old = RunFolder.open(job.folder).config.model_dump(mode="json")
    new = job.config.model_dump(mode="json")
    free = ("checkpoint_seconds", "device", "threads")
    changed = [name for name in differences(old, new) if not name.startswith(free)]
    if changed:
        raise GradmapError(
            f"{job.folder} holds a run with another {', '.join(changed)}; choose another --out, "
            "or train anew with --fresh"
        )


def run_jobs(
    jobs: Sequence[Job], workers: int, stop: StopRequest, show: Callable[[Sequence[Job]], None]
) -> None:
    """Runs jobs, a number of them at a time, until all are done or a stop is asked for.

    Args:
        jobs: The jobs; their `state` says how each ended.
        workers: How many at a time.
        stop: Looked at several times a second.
        show: Called as often, to show where the jobs are.
    """
    try:
        while not stop.is_set and any(job.state == "waiting" or job.process for job in jobs):
            for job in jobs:
                if sum(other.process is not None for other in jobs) >= workers:
                    break
                if job.state == "waiting":
                    _start(job)
            for job in jobs:
                _look_after(job)
            show(jobs)
            time.sleep(POLL_SECONDS)
    finally:
        _stop_all(jobs, show)


def _start(job: Job) -> None:
    """Starts the next process of a job, or ends it if there is none left."""
    if not job.is_trained():
        job.state = "training"
        if job.folder.exists():
            words = ["train", "--resume", str(job.folder)]
        else:
            config = job.log.with_suffix(".yaml")
            write_yaml(config, job.config.model_dump(mode="json"))
            words = ["train", job.config.method, "--config", str(config), "--out", str(job.folder)]
    elif not job.is_judged():
        job.state = "judging"
        words = ["evaluate", str(job.folder), "--split", job.split, "--engine", job.engine]
        words += ["--device", job.config.device]
    else:
        job.state = "done"
        return
    if job.state in job.tried:
        job.state, job.reason = "failed", f"{words[0]} ended well but left nothing; see {job.log}"
        return
    job.tried.append(job.state)
    with job.log.open("ab") as log:
        job.process = subprocess.Popen(
            [sys.executable, "-m", "gradmap.experiments.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(job.config.threads),
            start_new_session=True,
        )


def _look_after(job: Job) -> None:
    """Starts a job's next process when one has ended."""
    if job.process is None or job.process.poll() is None:
        return
    code, job.process = job.process.returncode, None
    if code == 0:
        _start(job)
    elif code == EXIT_CODE:
        job.state = "stopped"
    else:
        job.state, job.reason = "failed", _last_line(job.log, code)


def _stop_all(jobs: Sequence[Job], show: Callable[[Sequence[Job]], None]) -> None:
    """Asks every child to stop, and waits until it has saved."""
    alive = [job for job in jobs if job.process is not None]
    for job in alive:
        assert job.process is not None
        job.process.send_signal(signal.SIGINT)
    for job in alive:
        assert job.process is not None
        job.process.wait()
        job.process, job.state = None, "stopped"
        show(jobs)


def _environment(threads: int) -> dict[str, str]:
    # The child finds the package where this process has it, installed or not.
    root = str(pathlib.Path(gradmap.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**os.environ, **counts, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "100"}


def _last_line(log: pathlib.Path, code: int) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    said = lines[-1].removeprefix("gradmap: error: ") if lines else "it said nothing"
    return said if code > 0 else f"ended by signal {-code} ({said})"

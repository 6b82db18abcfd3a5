"""The runs of a comparison as jobs: what is left to do, and how each ended.

A job is `gradmap train` and then `gradmap evaluate`, each a process of its
own: what one does cannot spoil another. `Job.begin` gives the words of the
next process and `Job.end` takes its exit code; where the process runs is the
business of an engine (`gradmap.experiments.local_engine` on this machine).
All that a process needs is its words and the comparison's folder, which it
must find under the same path.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Literal

import gradmap
from gradmap.experiments.config import CompareConfig, RunConfig
from gradmap.experiments.config_load import RunKey, differences, own_values, run_configs
from gradmap.experiments.files import write_text, write_yaml
from gradmap.experiments.registry import METHODS
from gradmap.experiments.results import (
    own_splits,
    read_judgement,
    run_folder,
    run_log,
    wanted_engines,
)
from gradmap.experiments.runs import RunFolder
from gradmap.experiments.signals import EXIT_CODE, StopRequest
from gradmap.feeders.errors import GradmapError

State = Literal["waiting", "training", "judging", "done", "stopped", "failed"]

OVER: tuple[State, ...] = ("done", "stopped", "failed")
"""States in which nothing is left to do in this comparison."""

_ASKED_TO_STOP = (EXIT_CODE, -signal.SIGINT, -signal.SIGTERM)


@dataclasses.dataclass
class Job:
    """A run of the comparison.

    Attributes:
        key: Its place in the comparison.
        config: Its run.
        folder: Its run's folder.
        log: File for what its processes print; `.yaml` and `.failed` lie
            beside it.
        engines: By split to judge it on, the engines.
        state: Where it is.
        reason: Why it failed.
        tried: Words of the processes that it has had.
    """

    key: RunKey
    config: RunConfig
    folder: pathlib.Path
    log: pathlib.Path
    engines: dict[str, tuple[str, ...]]
    state: State = "waiting"
    reason: str = ""
    tried: list[list[str]] = dataclasses.field(default_factory=list)

    def begin(self) -> list[str] | None:
        """Looks at what is on disk, and says what to do next.

        Returns:
            Words of the next process, what follows `gradmap` on the command
            line; None if the job is over, or if another process works on its
            run: then it still waits.

        Raises:
            GradmapError: If the run's folder cannot be read.
        """
        if self.folder.exists() and RunFolder.open(self.folder).is_locked():
            self.state = "waiting"
            return None
        words = self._next_words()
        if words is None:
            self.state = "done"
        elif words in self.tried:
            self.fail(f"{words[0]} ended well but left nothing; see {self.log}")
            words = None
        else:
            self.tried.append(words)
        return words

    def end(self, code: int) -> None:
        """Takes note of how a process has ended; the job may have more to do.

        Args:
            code: Its exit code; minus the signal's number if one ended it.
        """
        if code == 0:
            self.state = "waiting"
        elif code in _ASKED_TO_STOP:
            self.state = "stopped"
        else:
            self.fail(_last_line(self.log, code))

    def fail(self, reason: str) -> None:
        """Marks the job as failed, on disk as well.

        Args:
            reason: Why, in a line.
        """
        self.state, self.reason = "failed", reason
        write_text(self.failed_mark, f"{reason}\n")

    @property
    def failed_mark(self) -> pathlib.Path:
        """File that says why the job has failed, if it has."""
        return self.log.with_suffix(".failed")

    def is_trained(self) -> bool:
        """Whether the run is finished."""
        return self.folder.is_dir() and RunFolder.open(self.folder).status == "finished"

    def _next_words(self) -> list[str] | None:
        if not self.is_trained():
            self.state = "training"
            if self.folder.exists():
                return ["train", "--resume", str(self.folder)]
            config = self.log.with_suffix(".yaml")
            write_yaml(config, own_values(self.config))
            return ["train", self.config.method, "--config", str(config), "--out", str(self.folder)]
        for split, engines in self.engines.items():
            if read_judgement(self.folder, split, engines) is None:
                self.state = "judging"
                words = ["evaluate", str(self.folder), "--split", split]
                words += ["--engine", "both" if len(engines) > 1 else engines[0]]
                return [*words, "--device", self.config.device]
        return None


Show = Callable[[Sequence[Job]], None]
"""Shows where the jobs are; called several times a second."""

Engine = Callable[[Sequence[Job], int, StopRequest, Show], None]
"""Runs jobs, a number of them at a time, until all are over or a stop is asked for."""


def plan_jobs(config: CompareConfig, out: pathlib.Path, is_checked: bool = True) -> list[Job]:
    """The jobs of a comparison, in the table's order.

    Args:
        config: The comparison.
        out: Its folder.
        is_checked: Whether runs that it holds must be of this configuration.

    Raises:
        GradmapError: If the configuration is at fault, or the folder holds
            runs of another one; names the first.
    """
    jobs = []
    for key, run in run_configs(config).items():
        splits = own_splits(config, METHODS[key.method])
        engines = {split: wanted_engines(config, split) for split in splits}
        job = Job(key, run, run_folder(out, key), run_log(out, key), engines)
        if is_checked:
            check_folder(job)
        if job.failed_mark.exists():
            job.state, job.reason = "failed", job.failed_mark.read_text("utf-8").strip()
        jobs.append(job)
    return jobs


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


def command(words: Sequence[str]) -> list[str]:
    """The whole command line of a process.

    Args:
        words: From `Job.begin`.
    """
    return [sys.executable, "-m", "gradmap.experiments.cli", *words]


def environment(threads: int) -> dict[str, str]:
    """Variables of a process: it finds the package where this one has it, installed or not.

    Args:
        threads: Threads of its numerical libraries.
    """
    root = str(pathlib.Path(gradmap.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**os.environ, **counts, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "100"}


def _last_line(log: pathlib.Path, code: int) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    said = lines[-1].removeprefix("gradmap: error: ") if lines else "it said nothing"
    return said if code > 0 else f"ended by signal {-code} ({said})"

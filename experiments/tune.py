"""Searches a method's settings with Ray Tune.

The trials are drawn before (`gradmap.experiments.tune_plan`); Tune places each
on a core of its own, of this machine or of a cluster, where the local engine
runs it as `gradmap train` in a process of its own.
"""

from __future__ import annotations

import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

from gradmap.experiments.compare_jobs import OVER, Job
from gradmap.experiments.manifest import num_cores
from gradmap.experiments.progress import describe
from gradmap.experiments.ray_engine import gpus_each, ray_running, running_mark, work
from gradmap.experiments.signals import StopRequest
from gradmap.experiments.tune_plan import SearchConfig, Trial, plan_trials
from gradmap.experiments.tune_results import (
    Outcome,
    best_of,
    read_outcome,
    trial_job,
    write_results,
    write_settings,
)
from gradmap.feeders.errors import GradmapError

_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
"""Tune keeps no logs and no handler of Ctrl-C of its own: both are ours."""


class Search:
    """A search under way.

    Args:
        config: The search.
        methods: Its methods.
        out: Its folder.

    Raises:
        GradmapError: If a space is at fault.
    """

    def __init__(self, config: SearchConfig, methods: Sequence[str], out: pathlib.Path) -> None:
        self.config = config
        self.methods = methods
        self.out = out
        self.trials: dict[str, list[Trial]] = {
            method: plan_trials(config, method) for method in methods
        }
        # Equal trials are one run.
        self.jobs: dict[str, Job] = {}
        for trial in (each for trials in self.trials.values() for each in trials):
            if trial.name not in self.jobs:
                self.jobs[trial.name] = trial_job(trial, self.out)
        self.facts = _facts()

    def retry_failed(self) -> None:
        """Has the trials that have failed tried again."""
        for job in self.jobs.values():
            if job.state == "failed":
                job.failed_mark.unlink(missing_ok=True)
                shutil.rmtree(job.folder, ignore_errors=True)
                job.state, job.reason = "waiting", ""

    def outcomes(self, method: str) -> list[Outcome]:
        """What the trials of a method have found so far.

        Args:
            method: The method.
        """
        return [read_outcome(trial, self.jobs[trial.name]) for trial in self.trials[method]]

    def waiting(self) -> list[Job]:
        """Jobs of the trials that are not over; one whose folder is damaged has failed."""
        for job in self.jobs.values():
            try:
                if job.state not in OVER and job.is_trained():
                    job.state = "done"
            except GradmapError as error:
                job.log.parent.mkdir(parents=True, exist_ok=True)
                job.fail(str(error))
        return [job for job in self.jobs.values() if job.state not in OVER]

    def write(self, method: str) -> None:
        """Writes what is known of a method.

        Args:
            method: The method.
        """
        write_results(self.config, self.outcomes(method), self.out, self.facts)

    def write_all(self) -> None:
        """Writes what is known of every method."""
        for method in self.methods:
            self.write(method)
        found = [best_of(self.outcomes(method)) for method in self.methods]
        write_settings([each for each in found if each is not None], self.out)

    def end(self, job: Job) -> None:
        """Takes note of a trial that is over, and says so in a line.

        Args:
            job: The trial's job, as it has ended.
        """
        outcomes = self.outcomes(job.key.method)
        self.write(job.key.method)
        done = sum(self.jobs[each.trial.name].state in ("done", "failed") for each in outcomes)
        best = best_of(outcomes)
        for each in outcomes:
            if self.jobs[each.trial.name] is job and each.status != "waiting":
                words = f"[{job.key.method}] trial {each.trial.number} ({done} of {len(outcomes)})"
                if each.status == "failed":
                    print(f"{words}: failed, {each.reason}", flush=True)
                    continue
                assert best is not None
                print(
                    f"{words}: priced cost $ {each.score:,.0f}/d ({describe(each.best['metrics'])})"
                    f"; best $ {best.score:,.0f}/d, trial {best.trial.number}",
                    flush=True,
                )


def run_search(search: Search, address: str | None = None) -> bool:
    """Runs the trials that are not over yet.

    Args:
        search: The search.
        address: Ray cluster to join; None for what RAY_ADDRESS says, or else
            for a private instance on this machine.

    Returns:
        Whether it went to the end; False if a stop was asked for.

    Raises:
        GradmapError: If Ray cannot be started or joined.
    """
    waiting = search.waiting()
    over = len(search.jobs) - len(waiting)
    print(f"{len(search.jobs)} trials, {over} over already", flush=True)
    try:
        if not waiting:
            return True
        search.out.mkdir(parents=True, exist_ok=True)
        workers = search.config.workers or num_cores() or 1
        with (
            ray_running(address, workers),
            StopRequest() as stop,
            running_mark(search.out) as mark,
            tempfile.TemporaryDirectory(dir=search.out, prefix=".ray-") as store,
        ):
            _fit(search, waiting, min(workers, len(waiting)), stop, mark, store)
            return not stop.is_set
    finally:
        search.write_all()


def _fit(
    search: Search,
    jobs: Sequence[Job],
    workers: int,
    stop: StopRequest,
    mark: pathlib.Path,
    store: str,
) -> None:
    """Has Tune run the jobs."""
    os.environ.update(_QUIET)
    from ray import tune
    from ray.tune.search.basic_variant import BasicVariantGenerator

    # An error of a trial stands in our table, with its reason.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    trainable = tune.with_resources(
        tune.with_parameters(_train, jobs=list(jobs), mark=mark),
        {"cpu": 1, "gpu": gpus_each(search.config.device)},
    )
    tuner = tune.Tuner(
        trainable,
        param_space={"job": tune.grid_search(list(range(len(jobs))))},
        tune_config=tune.TuneConfig(
            search_alg=BasicVariantGenerator(
                max_concurrent=workers, random_state=search.config.seed
            ),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"trial-{trial.config['job']}",
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(pathlib.Path(store).absolute()),
            verbose=0,
            callbacks=[_watcher(search, jobs, stop, mark)],
        ),
    )
    tuner.fit()


def _train(config: dict[str, Any], jobs: Sequence[Job], mark: pathlib.Path) -> None:
    """A trial, in a process of Ray."""
    from ray import tune

    state, reason = work(jobs[config["job"]], mark)
    tune.report({"state": state, "reason": reason})


def _watcher(search: Search, jobs: Sequence[Job], stop: StopRequest, mark: pathlib.Path) -> Any:
    """What Tune calls when a trial ends and at every step of its loop."""
    from ray import tune

    class Watcher(tune.Callback):  # type: ignore[misc]
        def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
            if stop.is_set:
                mark.unlink(missing_ok=True)

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            job, found = jobs[trial.config["job"]], trial.last_result
            job.state, job.reason = found["state"], found["reason"]
            search.end(job)

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            job = jobs[trial.config["job"]]
            job.fail("its process of Ray was lost")
            search.end(job)

    return Watcher()


def _facts() -> dict[str, Any]:
    import importlib.metadata

    import gradmap
    from gradmap.experiments.manifest import hardware

    versions = {name: importlib.metadata.version(name) for name in ("torch", "ray")}
    return {"gradmap": gradmap.__version__, **versions, **hardware()}

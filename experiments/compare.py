"""Compares methods: the same tasks, days, seeds and budget for each."""

from __future__ import annotations

import functools
import pathlib
import shutil
from collections.abc import Sequence
from typing import Literal

from gradmap.experiments.compare_jobs import Engine, Job, plan_jobs
from gradmap.experiments.compare_progress import CompareProgress
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import run_configs
from gradmap.experiments.files import write_yaml
from gradmap.experiments.manifest import num_cores
from gradmap.experiments.registry import METHODS, check_installed
from gradmap.experiments.signals import StopRequest
from gradmap.feeders.errors import GradmapError

EngineName = Literal["local", "ray"]


def load_engine(name: EngineName, address: str | None = None) -> Engine:
    """Where the processes of a comparison run.

    Args:
        name: `local` for this machine, `ray` for a Ray cluster.
        address: The cluster's address, such as `auto`.

    Raises:
        GradmapError: If Ray is asked for and not installed, or an address is
            given without it.
    """
    if name == "ray":
        from gradmap.experiments.ray_engine import check_ray, run_jobs_on_ray

        check_ray("gradmap compare --engine ray")
        return functools.partial(run_jobs_on_ray, address=address)
    if address is not None:
        raise GradmapError("--ray-address is of --engine ray; give both or none")
    from gradmap.experiments.local_engine import run_jobs

    return run_jobs


def check_buildable(config: CompareConfig) -> None:
    """Builds each task once: faults show before anything starts, and caches are filled.

    What the methods need is looked for as well.

    Args:
        config: The comparison.

    Raises:
        GradmapError: If a task cannot be built, or what a method needs is
            not installed.
    """
    from gradmap.experiments.assembly import assemble

    runs = run_configs(config)
    check_installed(dict.fromkeys(key.method for key in runs))
    tasks = {key.task: run.task for key, run in runs.items()}
    shared = next(iter(runs.values()))
    for task in tasks.values():
        assemble(shared.model_copy(update={"task": task, "method": "idle"}))


def prepare(
    config: CompareConfig, out: pathlib.Path, is_fresh: bool = False, retries: bool = False
) -> list[Job]:
    """Makes the folder of a comparison.

    Args:
        config: The comparison.
        out: The folder.
        is_fresh: Whether to delete the runs that it holds.
        retries: Whether runs that have failed are tried again.

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
        for job in jobs:
            job.log.parent.mkdir(parents=True, exist_ok=True)
            if retries and job.state == "failed":
                job.failed_mark.unlink()
                job.state, job.reason = "waiting", ""
    except OSError as error:
        raise GradmapError(f"cannot write to {out}: {error.strerror}") from None
    return jobs


def train_and_judge(jobs: Sequence[Job], workers: int, engine: Engine) -> bool:
    """Trains and judges every run that is not done yet.

    Args:
        jobs: The jobs.
        workers: Runs at a time.
        engine: Where their processes run.

    Returns:
        Whether it went to the end; False if a stop was asked for.
    """
    # Seed by seed, so that a study that is stopped has whole seeds; what takes
    # long goes first, and what takes seconds fills the gaps at the end.
    seeds = list(dict.fromkeys(job.key.seed for job in jobs))
    order = sorted(jobs, key=lambda job: (_is_short(job), seeds.index(job.key.seed)))
    with StopRequest() as stop, CompareProgress() as progress:
        engine(order, workers, stop, progress.show)
    return not stop.is_set


def _is_short(job: Job) -> bool:
    spec = METHODS[job.key.method]
    return spec.is_decentralised and not spec.needs_training


def num_workers(config: CompareConfig, engine: EngineName, num_jobs: int) -> int:
    """How many runs go at the same time.

    Args:
        config: The comparison.
        engine: Where they go.
        num_jobs: How many there are.
    """
    if config.workers is not None:
        return config.workers
    if engine == "ray":
        return num_jobs  # as many as the cluster has room for
    from gradmap.experiments.assembly import resolve_device

    # Two runs on one GPU would take each other's time.
    if resolve_device(config.device) != "cpu":
        return 1
    return max((num_cores() or 1) // config.threads, 1)

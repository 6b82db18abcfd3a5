"""Runs the jobs of a comparison on a Ray cluster.

A job is a plain task of Ray, which runs the local engine on it: the same
processes write the same files into the comparison's folder, which every
machine must find under the same path. Ray Tune, which `gradmap tune` uses, would
add a store, checkpoints and signal handlers of its own to what a run's folder
already does; a task of Ray is placed, and tried again where its machine is
lost, all the same. The run then goes on from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from gradmap.experiments.compare_jobs import OVER, Job, Show, State
from gradmap.experiments.local_engine import run_jobs
from gradmap.experiments.manifest import num_cores
from gradmap.experiments.registry import RLLIB
from gradmap.experiments.runs import RunFolder
from gradmap.experiments.signals import StopRequest
from gradmap.feeders.errors import GradmapError

POLL_SECONDS = 0.2

RETRIES = 2
"""How often a job is tried again whose machine or Ray process was lost."""


def run_jobs_on_ray(
    jobs: Sequence[Job],
    workers: int,
    stop: StopRequest,
    show: Show,
    address: str | None = None,
) -> None:
    """Runs jobs, a number of them at a time, until all are over or a stop is asked for.

    Args:
        jobs: The jobs; their `state` says how each ended.
        workers: How many at a time.
        stop: Looked at several times a second.
        show: Called as often, to show where the jobs are.
        address: Cluster to join, such as `auto`; None for a private instance
            on this machine, or for what RAY_ADDRESS says.

    Raises:
        GradmapError: If Ray is not installed or the cluster cannot be reached.
    """
    waiting = [job for job in jobs if job.state not in OVER]
    if not waiting:
        return
    any_run = waiting[0].config
    num_cpus = max(num_cores() or 1, any_run.threads)
    with ray_running(address, num_cpus), running_mark(waiting[0].log.parent) as mark:
        import ray

        place = {"num_cpus": any_run.threads, "num_gpus": gpus_each(any_run.device)}
        task: Any = ray.remote(**place, max_retries=RETRIES)(work)
        running: dict[Any, Job] = {}
        while running or (waiting and not stop.is_set):
            while waiting and len(running) < workers and not stop.is_set:
                job = waiting.pop(0)
                running[task.remote(_placed(job), mark)] = job
            done, _ = ray.wait(list(running), timeout=POLL_SECONDS)
            for reference in done:
                _take(running.pop(reference), reference)
            if stop.is_set:
                mark.unlink(missing_ok=True)
            for job in running.values():
                _follow(job)
            show(jobs)


def work(job: Job, mark: pathlib.Path) -> tuple[str, str]:
    """Does what is left of a job; runs in a process of Ray.

    Args:
        job: The job.
        mark: File that is there until a stop is asked for.

    Returns:
        Its state and, if it has failed, why.
    """
    # Ray's processes do not hear Ctrl-C, and what they start would not either.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    stop = StopRequest()

    def look(_: Sequence[Job]) -> None:
        stop.is_set = not mark.exists()

    look([job])
    run_jobs([job], 1, stop, look)
    return job.state, job.reason


def check_ray(command: str) -> None:
    """Refuses a command that needs Ray where it is not installed.

    Args:
        command: What needs it.

    Raises:
        GradmapError: If it is not; says what to install.
    """
    if not RLLIB.is_installed():
        raise GradmapError(
            f"{command} needs Ray; install it with: pip install 'gradmap[{RLLIB.name}]'"
        )


@contextlib.contextmanager
def ray_running(address: str | None, num_cpus: int) -> Iterator[None]:
    """Has Ray at hand while entered, and ends what it has started.

    Args:
        address: Cluster to join; None for what RAY_ADDRESS says, or else for a
            private instance on this machine.
        num_cpus: Processors of a private instance.

    Raises:
        GradmapError: If Ray is not installed or the cluster cannot be reached.
    """
    check_ray("--engine ray")
    import ray
    import torch

    from gradmap.baselines.rllib.cluster import init_ray

    is_ours = not ray.is_initialized()
    address = address or os.environ.get("RAY_ADDRESS")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        init_ray(address, num_cpus, torch.cuda.device_count())
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise GradmapError(f"cannot start or join Ray: {error}") from None
    # Ray has put a handler of its own in the place of ours.
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        yield
    finally:
        if is_ours:
            ray.shutdown()


@contextlib.contextmanager
def running_mark(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Makes a file that is there while entered; who takes it away asks for a stop.

    What works for this process elsewhere looks at it, and so does not outlive it.

    Args:
        folder: A folder that all machines share.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=folder.absolute(), prefix=".running-")
    os.close(descriptor)
    mark = pathlib.Path(name)
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


def gpus_each(device: str) -> int:
    """GPUs of a job: one where there are any and one is wanted, as two would share its time.

    Args:
        device: `auto`, `cpu` or `cuda`.
    """
    import ray

    return 0 if device == "cpu" else min(int(ray.cluster_resources().get("GPU", 0)), 1)


def _placed(job: Job) -> Job:
    """The job with paths that hold in any working directory."""
    return dataclasses.replace(job, folder=job.folder.absolute(), log=job.log.absolute())


def _follow(job: Job) -> None:
    """Sees from the files of a job's run where it is; it may wait for a place."""
    if not job.folder.is_dir():
        return
    try:
        status = RunFolder(job.folder, job.config).status
    except GradmapError:  # a shared folder may show a file late
        return
    states: dict[str, State] = {"running": "training", "finished": "judging"}
    job.state = states.get(status, "waiting")


def _take(job: Job, reference: Any) -> None:
    """Takes over how a job has ended on its machine."""
    import ray

    try:
        job.state, job.reason = ray.get(reference)
    except ray.exceptions.RayError as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        job.fail(f"lost by Ray: {first}")

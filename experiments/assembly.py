"""Builds what a configuration names: the core, the method, its checkpoints."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from typing import Any, cast

import torch
from torch import Tensor

import gradmap
from gradmap.algorithms.checkpoint import load_checkpoint, save_checkpoint
from gradmap.algorithms.trainer import Trainer
from gradmap.envs.catalog import check_name, make
from gradmap.envs.config import TaskConfig
from gradmap.envs.core import Core
from gradmap.envs.counters import Counters
from gradmap.envs.policy import Policy
from gradmap.experiments.config import RunConfig
from gradmap.experiments.registry import MethodSpec, check_installed, method_spec
from gradmap.feeders.errors import GradmapError


class Untrained:
    """A method that does not learn, in the shape of one that does.

    Args:
        policy: Its policy.
    """

    multipliers: dict[str, Tensor] | None = None

    def __init__(self, policy: Policy) -> None:
        self.counters = Counters()
        self._policy = policy

    def iterate(self, progress: float) -> dict[str, float]:
        """Does nothing; see `Trainer.iterate`."""
        return {}

    def policy(self) -> Policy:
        """Returns the policy."""
        return self._policy

    def state_dict(self) -> dict[str, Tensor]:
        """Returns nothing: there is no state."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes nothing over."""

    def close(self) -> None:
        """Does nothing; see `Trainer.close`."""


@dataclasses.dataclass(frozen=True)
class Assembly:
    """A run, built; close it at the end.

    Attributes:
        config: Its configuration.
        spec: Its method.
        core: Its environment.
        trainer: Its method in training; `Untrained` for one that does not learn.
    """

    config: RunConfig
    spec: MethodSpec
    core: Core
    trainer: Trainer

    def close(self) -> None:
        """Closes the trainer; see `Trainer.close`."""
        self.trainer.close()


def resolve_device(name: str) -> str:
    """Turns `auto` into the GPU when there is one, and checks a GPU that is named.

    Args:
        name: `auto`, `cpu`, `cuda` or `cuda:0`.

    Raises:
        GradmapError: If a GPU is named that torch does not find.
    """
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if num_gpus else "cpu"
    if name.startswith("cuda") and int(name.partition(":")[2] or 0) >= num_gpus:
        raise GradmapError(
            f"device {name} asked for, torch finds {num_gpus} GPU(s); use cpu or auto"
        )
    return name


def assemble(config: RunConfig, stress: str | None = None) -> Assembly:
    """Builds a run's environment and method.

    Args:
        config: The run.
        stress: Name of a stress split to judge the run on, if any; see
            `gradmap.make`.

    Raises:
        GradmapError: If the task, the stress, the device or what the method
            needs cannot be had.
    """
    check_installed([config.method])  # before the core, which takes seconds
    torch.set_num_threads(config.threads)
    check_name(config.task)
    spec = method_spec(config.method)
    settings = None if spec.settings is None else getattr(config, spec.settings)
    core = make(
        config.task,
        batch_size=getattr(settings, "days_per_batch", config.evaluation_batch),
        device=resolve_device(config.device),
        stress=stress,
    )
    built = spec.build(core, settings, config.seed)
    trainer = built if spec.needs_training else Untrained(cast(Policy, built))
    return Assembly(config, spec, core, cast(Trainer, trainer))


def task_label(task: TaskConfig) -> str:
    """Name, size and fingerprint of a task; equal only for equal tasks."""
    text = json.dumps(task.identity(), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{task.name} with {task.num_agents} agents ({digest})"


def save_state(path: pathlib.Path, run: Assembly, meta: dict[str, Any]) -> None:
    """Saves a method's whole state.

    Args:
        path: The checkpoint's file.
        run: The run.
        meta: What else to keep, as JSON can hold it.
    """
    known = {
        "gradmap": gradmap.__version__,
        "method": run.config.method,
        "task": task_label(run.config.task),
    }
    save_checkpoint(path, run.trainer.state_dict(), {**known, **meta})


def load_state(path: pathlib.Path, run: Assembly) -> dict[str, Any]:
    """Takes a method's state over from a checkpoint.

    Args:
        path: The checkpoint's file.
        run: The run, built as it was.

    Returns:
        What was kept beside the state.

    Raises:
        GradmapError: If the file is damaged, or of another task or method.
    """
    state, meta = load_checkpoint(path, task_label(run.config.task))
    if meta.get("method") != run.config.method:
        raise GradmapError(
            f"{path} was trained by {meta.get('method')}, expected {run.config.method}; "
            "evaluate it with the configuration of its own run"
        )
    try:
        run.trainer.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise GradmapError(
            f"{path} does not fit the run's configuration ({reason}); train again"
        ) from error
    return meta

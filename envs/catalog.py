"""The published tasks, and how to make one."""

from __future__ import annotations

import dataclasses
import difflib
import pathlib

import torch

from gradmap.envs.config import TaskConfig
from gradmap.envs.core import Core, refill_price
from gradmap.envs.fleet import build_agents
from gradmap.envs.scenarios.build import build_scenarios
from gradmap.envs.scenarios.storage import load_scenarios
from gradmap.envs.scenarios.stress import stressed
from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.storage import load_feeder_file

TASKS = {"ieee123-mixed-v1": TaskConfig()}
"""Every published task by name. A task never changes; a changed task is a new version."""


def task_config(task: str | TaskConfig, num_agents: int | None = None) -> TaskConfig:
    """Looks a task up.

    Args:
        task: Name of a published task, or a task of one's own.
        num_agents: Number of agents, in place of the task's.

    Returns:
        The task.

    Raises:
        GradmapError: If there is no such task.
    """
    if isinstance(task, str):
        if task not in TASKS:
            near = difflib.get_close_matches(task, TASKS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(TASKS)}"
            raise GradmapError(f"unknown task {task!r}; {hint}")
        task = TASKS[task]
    return task if num_agents is None else dataclasses.replace(task, num_agents=num_agents)


def make(
    task: str | TaskConfig,
    *,
    num_agents: int | None = None,
    batch_size: int = 8,
    device: torch.device | str = "cpu",
    seed: int | None = None,
    feeder_file: str | pathlib.Path | None = None,
    scenario_file: str | pathlib.Path | None = None,
    stress: str | None = None,
) -> Core:
    """Makes the batched, differentiable core of a task.

    Args:
        task: Name of a published task, or a configuration of one's own.
        num_agents: Number of agents, in place of the task's.
        batch_size: Scenario-days that are stepped together by default.
        device: Torch device.
        seed: Seed of the fleet, in place of the task's.
        feeder_file: A saved feeder, to do without OpenDSS.
        scenario_file: Saved scenarios, to do without the profile package.
        stress: Name of a stress split, whose days are then as it says; see
            `gradmap.envs.scenarios.stress`. All else is the task's: agents,
            initial states, and the value of energy stored at midnight.

    Returns:
        The core.

    Raises:
        GradmapError: If the task or the stress is unknown, or a file does not
            fit.
    """
    config = task_config(task, num_agents)
    if seed is not None:
        config = dataclasses.replace(config, seed=seed)
    if feeder_file is None:
        feeder = load_feeder(config.feeder, config.taps)
    else:
        feeder = load_feeder_file(feeder_file)
    if scenario_file is None:
        scenarios = build_scenarios(feeder, config.scenarios)
    else:
        scenarios = load_scenarios(scenario_file)
    agents = build_agents(config, feeder)
    return Core(
        config,
        feeder,
        scenarios if stress is None else stressed(scenarios, stress),
        agents,
        batch_size=batch_size,
        device=device,
        refill_usd_per_kwh=refill_price(scenarios),
    )

"""The published tasks, and how to make one."""

from __future__ import annotations

import dataclasses
import difflib
import pathlib
from typing import Any

import torch

from gradmap.envs.config import AgentMix, TaskConfig
from gradmap.envs.core import Core, refill_price
from gradmap.envs.fleet import build_agents
from gradmap.envs.kinds import HandOver
from gradmap.envs.own_devices import own_devices, without_own
from gradmap.envs.own_task import own_task, task_name
from gradmap.envs.placement import Placement
from gradmap.envs.scenarios.build import build_scenarios
from gradmap.envs.scenarios.storage import load_scenarios
from gradmap.envs.scenarios.stress import stressed
from gradmap.envs.task_feeder import load_task_feeder, without_missing_ratings
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import Feeder
from gradmap.feeders.storage import load_feeder_file

TASKS = {
    "ieee123-mixed-v1": TaskConfig(),
    "ieee123-regulated-v1": TaskConfig(
        name="ieee123-regulated-v1",
        regulation="quasi-static",
        # Regulators take most of the voltage's troubles away, so devices are more than twice
        # as large, and 3 % are kept for the drop to the customers: see docs/regulation.md.
        difficulty=4.5,
        vmin_pu=0.98,
    ),
}
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


def check_name(config: TaskConfig) -> None:
    """Refuses a task that goes by the name of another one.

    A task on the feeder of a published one has its name, or the one that
    `own_task` gives it; one on a feeder of its own has any other.

    Args:
        config: The task.

    Raises:
        GradmapError: If the name is a slip, or that of a task on another feeder.
    """
    published = TASKS.get(config.name)
    is_own = config.name == task_name(config.feeder)
    is_known = config.feeder in {task.feeder for task in TASKS.values()}
    if published is None and is_known and not is_own:
        task_config(config.name)  # raises: a name that is not published is a slip
    if published is not None and published.feeder != config.feeder:
        raise GradmapError(
            f"task {config.name} is on feeder {published.feeder}, found feeder {config.feeder}; "
            "leave task.name out or give another"
        )


def make(
    task: str | TaskConfig | None = None,
    *,
    feeder: str | pathlib.Path | Feeder | None = None,
    agents: AgentMix | None = None,
    difficulty: float | None = None,
    placement: Placement | None = None,
    hand_over: tuple[HandOver, ...] | None = None,
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
        feeder: In place of a task, a feeder to make one for, see
            `gradmap.envs.own_task.own_task`: name in the catalog, path of a
            circuit's master file, or a feeder, whose taps then stay.
        agents: Shares of the device types, in place of the task's. Whole
            numbers are numbers of agents if `num_agents` is not given; those
            handed over come on top.
        difficulty: Rated power of the devices over peak load, likewise.
        placement: Where the agents sit, likewise.
        hand_over: Which of the circuit's own generators, PV systems and
            storage become agents: device types, or `all`, likewise.
        num_agents: Number of agents, those handed over included, likewise.
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
        GradmapError: If task or feeder are both given or neither is, the task
            or the stress is unknown, a setting is at fault, or a file does
            not fit.
    """
    if (task is None) == (feeder is None):
        raise GradmapError(
            "give a task or a feeder: make('ieee123-mixed-v1'), make(feeder='ieee34'), "
            "make(feeder='my/Master.dss')"
        )
    if feeder is not None:
        config = own_task(
            feeder,
            agents=agents,
            num_agents=num_agents,
            difficulty=difficulty,
            placement=placement,
            hand_over=hand_over or (),
            seed=seed or 0,
        )
    else:
        config = task_config(task or "")
    if isinstance(feeder, Feeder):
        known = without_missing_ratings(feeder)
    elif feeder_file is None:
        known = load_task_feeder(config)
    else:
        known = load_feeder_file(feeder_file)
    if feeder is None:
        changes: dict[str, Any] = {
            "mix": agents,
            "difficulty": difficulty,
            "placement": placement,
            "seed": seed,
            "num_agents": num_agents,
            "hand_over": hand_over,
        }
        config = _changed(config, changes, known)
    if scenario_file is None:
        scenarios = build_scenarios(known, config.scenarios)
    else:
        scenarios = load_scenarios(scenario_file)
    # Before the stress, so that a clear sky is clear for what is handed over, too.
    scenarios = without_own(scenarios, known, config)
    return Core(
        config,
        known,
        scenarios if stress is None else stressed(scenarios, stress),
        build_agents(config, known),
        batch_size=batch_size,
        device=device,
        refill_usd_per_kwh=refill_price(scenarios),
    )


def _changed(config: TaskConfig, changes: dict[str, Any], feeder: Feeder) -> TaskConfig:
    """A task with what is given in place of its own; None leaves it."""
    given = {name: value for name, value in changes.items() if value is not None}
    mix, placement = given.get("mix"), given.get("placement")
    if mix is not None and "num_agents" not in given and mix.total() is not None:
        own = own_devices(given.get("hand_over", config.hand_over), feeder)
        given["num_agents"] = len(own) + mix.total()
    if placement is not None and placement.csv is not None and "difficulty" not in given:
        given["difficulty"] = None
    return dataclasses.replace(config, **given)

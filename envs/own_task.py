"""A task for any feeder, with settings that follow from the feeder."""

from __future__ import annotations

import dataclasses
import pathlib
import re

from gradmap.envs.config import AgentMix, TaskConfig
from gradmap.envs.day_taps import day_taps
from gradmap.envs.placement import Placement
from gradmap.envs.scenarios.config import ScenarioConfig
from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.model import Feeder

DIFFICULTY = 2.0
"""Rated power of the devices over peak load, about that of the published task."""


def own_task(
    feeder: str | pathlib.Path | Feeder,
    *,
    agents: AgentMix | None = None,
    num_agents: int | None = None,
    difficulty: float | None = None,
    placement: Placement | None = None,
    seed: int = 0,
) -> TaskConfig:
    """Makes a task for a feeder.

    Its base load peaks at the rated load of every terminal, its voltage band
    is 0.95 to 1.05 p.u., ratings are the circuit's, and regulators stand where
    base load alone keeps the band best (`gradmap.envs.day_taps`). Anything may
    be changed afterwards by `dataclasses.replace`.

    Args:
        feeder: Name in the catalog, path of a circuit's master file, or a
            feeder, whose taps then stay.
        agents: Shares of the device types. Whole numbers are numbers of agents
            if `num_agents` is not given.
        num_agents: Number of agents; 1,000 if nothing says otherwise.
        difficulty: Rated power of the devices over peak load; `DIFFICULTY` by
            default, none where a file lists the devices.
        placement: Where the agents sit; in proportion to load by default.
        seed: Seed of the fleet.

    Raises:
        GradmapError: If the feeder cannot be used or a setting is at fault.
    """
    is_loaded = isinstance(feeder, Feeder)
    known = feeder if isinstance(feeder, Feeder) else load_feeder(str(feeder))
    placement = placement or Placement()
    is_listed = placement.csv is not None
    default = TaskConfig()
    mix = agents or default.mix
    config = TaskConfig(
        name=task_name(known.name),
        feeder=known.origin if is_loaded else str(feeder),
        taps=None,
        num_agents=num_agents or (agents and agents.total()) or default.num_agents,
        mix=mix,
        seed=seed,
        scenarios=ScenarioConfig(pv_penetration=default.scenarios.pv_penetration),
        placement=placement,
        difficulty=difficulty if difficulty is not None or is_listed else DIFFICULTY,
    )
    if is_loaded:
        return config
    return dataclasses.replace(config, taps=day_taps(known, config))


def task_name(feeder: str) -> str:
    """Name of a task for a feeder, one that a folder can have.

    Args:
        feeder: The feeder's name.
    """
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', feeder).strip('-') or 'own'}-mixed"

"""A task for any feeder, with settings that follow from the feeder."""

from __future__ import annotations

import dataclasses
import pathlib
import re

from gradmap.envs.config import AgentMix, TaskConfig
from gradmap.envs.day_taps import day_taps
from gradmap.envs.kinds import HandOver
from gradmap.envs.own_devices import own_devices
from gradmap.envs.placement import Placement
from gradmap.envs.scenarios.config import ScenarioConfig
from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.errors import GradmapError
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
    hand_over: tuple[HandOver, ...] = (),
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
            if `num_agents` is not given; those handed over come on top.
        num_agents: Number of agents, those handed over included; 1,000 if
            nothing says otherwise, or those handed over alone.
        difficulty: Rated power of the devices over peak load; `DIFFICULTY` by
            default, none where a file or the circuit says all sizes.
        placement: Where the agents sit; in proportion to load by default.
        hand_over: Which of the circuit's own generators, PV systems and
            storage become agents: device types, or `all`.
        seed: Seed of the fleet.

    Raises:
        GradmapError: If the feeder cannot be used or a setting is at fault.
    """
    is_loaded = isinstance(feeder, Feeder)
    known = feeder if isinstance(feeder, Feeder) else load_feeder(str(feeder))
    placement = placement or Placement()
    default = TaskConfig()
    mix = agents or default.mix
    num_own = len(own_devices(hand_over, known))
    num_agents = _num_agents(agents, num_own) if num_agents is None else num_agents
    has_sizes = placement.csv is not None or 0 < num_agents == num_own
    if difficulty is not None and 0 < num_agents == num_own:
        raise GradmapError(
            f"difficulty is {difficulty}, but all {num_own} agents are the circuit's own, of its "
            "sizes: leave difficulty out, or raise num_agents for others beside them"
        )
    config = TaskConfig(
        name=task_name(known.name),
        feeder=known.origin if is_loaded else str(feeder),
        taps=None,
        num_agents=num_agents,
        mix=mix,
        seed=seed,
        scenarios=ScenarioConfig(pv_penetration=default.scenarios.pv_penetration),
        placement=placement,
        hand_over=hand_over,
        difficulty=difficulty if difficulty is not None or has_sizes else DIFFICULTY,
    )
    if is_loaded:
        return config
    return dataclasses.replace(config, taps=day_taps(known, config))


def _num_agents(agents: AgentMix | None, num_own: int) -> int:
    """Number of agents where it is not given."""
    if agents is None:
        return num_own or TaskConfig().num_agents
    listed = agents.total()
    return TaskConfig().num_agents if listed is None else num_own + listed


def task_name(feeder: str) -> str:
    """Name of a task for a feeder, one that a folder can have.

    Args:
        feeder: The feeder's name.
    """
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', feeder).strip('-') or 'own'}-mixed"

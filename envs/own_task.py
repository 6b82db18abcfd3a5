"""A task for any feeder, with settings that follow from the feeder."""

from __future__ import annotations

import dataclasses
import pathlib
import re

from gradmap.envs.config import AgentMix, TaskConfig
from gradmap.envs.day_taps import day_taps
from gradmap.envs.feeder_settings import FeederSettings, feeder_settings
from gradmap.envs.kinds import HandOver
from gradmap.envs.own_devices import own_devices
from gradmap.envs.placement import Placement
from gradmap.envs.scenarios.config import ScenarioConfig
from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import Feeder

DIFFICULTY = 4.0
"""Rated power of the devices over peak load, for a feeder of which nothing is known.

Twice that of the published task, whose regulators stand so that little is left of the band."""


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
    base load alone keeps the band best; if it does not keep it, and does so
    better where they are alive, they are (`gradmap.envs.day_taps`). A bundled
    feeder has settings of its own (`gradmap.envs.feeder_settings`). Anything
    may be changed afterwards by `dataclasses.replace`; `gradmap task check`
    says what should.

    Args:
        feeder: Name in the catalog, path of a circuit's master file, or a
            feeder, whose taps then stay.
        agents: Shares of the device types. Whole numbers are numbers of agents
            if `num_agents` is not given; those handed over come on top.
        num_agents: Number of agents, those handed over included; 1,000 if
            nothing says otherwise, or those handed over alone.
        difficulty: Rated power of the devices over peak load; by default the
            bundled feeder's own or `DIFFICULTY`, none where a file or the
            circuit says all sizes.
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
    settings = feeder_settings(known.origin)
    num_own = len(own_devices(hand_over, known))
    num_agents = _num_agents(agents, num_own) if num_agents is None else num_agents
    has_sizes = placement.csv is not None or 0 < num_agents == num_own
    if difficulty is not None and 0 < num_agents == num_own:
        raise GradmapError(
            f"difficulty is {difficulty}, but all {num_own} agents are the circuit's own, of its "
            "sizes: leave difficulty out, or raise num_agents for others beside them"
        )
    if difficulty is None and not has_sizes:
        difficulty = DIFFICULTY if settings is None else settings.difficulty
    config = TaskConfig(
        name=task_name(known.name),
        feeder=known.origin if is_loaded else str(feeder),
        taps=None,
        num_agents=num_agents,
        mix=agents or default.mix,
        seed=seed,
        scenarios=ScenarioConfig(pv_penetration=default.scenarios.pv_penetration),
        placement=placement,
        hand_over=hand_over,
        difficulty=difficulty,
    )
    if settings is not None:
        scenarios = dataclasses.replace(config.scenarios, base_load_scale=settings.base_load_scale)
        config = dataclasses.replace(
            config, scenarios=scenarios, vmin_pu=settings.vmin_pu, vmax_pu=settings.vmax_pu
        )
    return config if is_loaded else _regulated(config, known, settings)


def _regulated(config: TaskConfig, feeder: Feeder, settings: FeederSettings | None) -> TaskConfig:
    """A task with its taps, alive or not."""
    if settings is not None:
        return dataclasses.replace(config, taps=settings.taps, regulation=settings.regulation)
    found = day_taps(feeder, config)
    config = dataclasses.replace(config, taps=found.taps)
    return (
        dataclasses.replace(config, regulation="quasi-static") if found.is_better_alive else config
    )


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

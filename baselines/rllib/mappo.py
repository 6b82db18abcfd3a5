"""MAPPO as an RLlib algorithm configuration: independent policies, central critics."""

from __future__ import annotations

import dataclasses

from ray.rllib.algorithms.ppo import PPOConfig

from gradmap.baselines.rllib.config import MAPPO_SETTINGS, PPOSettings
from gradmap.baselines.rllib.ippo import stacked_config


def mappo_config(
    settings: PPOSettings | None = None, *, steps_per_day: int = 48, seed: int = 0
) -> PPOConfig:
    """MAPPO: critics see the state of the whole feeder; see `stacked_config`.

    Policies are independent and see what is local. By default the critics
    share a trunk; with `critic="central_per_agent"` each agent has a whole
    one, as in the separated runner of the method's reference implementation.

    Args:
        settings: Settings; a `critic` that is local becomes `central`.
        steps_per_day: Steps of an episode.
        seed: Seed of weights, exploration and the order of days.

    Returns:
        The configuration.
    """
    chosen = settings or MAPPO_SETTINGS
    if chosen.critic == "local":
        chosen = dataclasses.replace(chosen, critic="central")
    return stacked_config(chosen, steps_per_day=steps_per_day, seed=seed)

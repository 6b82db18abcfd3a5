"""Sections of a run's configuration that hold the settings of methods."""

from __future__ import annotations

from gradmap.algorithms.config import LearnerConfig
from gradmap.baselines.droop_config import DroopConfig
from gradmap.baselines.foresight_config import ForesightConfig
from gradmap.baselines.gippo_config import GIPPOConfig
from gradmap.baselines.receding_config import RecedingConfig
from gradmap.baselines.rllib.config import PPOSettings
from gradmap.baselines.rules_config import RulesConfig
from gradmap.baselines.shac_config import SHACConfig

Settings = (
    LearnerConfig
    | SHACConfig
    | GIPPOConfig
    | PPOSettings
    | RulesConfig
    | DroopConfig
    | RecedingConfig
    | ForesightConfig
)

SECTIONS: dict[str, type[Settings]] = {
    "learner": LearnerConfig,
    "shac": SHACConfig,
    "gippo": GIPPOConfig,
    "ppo": PPOSettings,
    "rules": RulesConfig,
    "droop": DroopConfig,
    "receding": RecedingConfig,
    "foresight": ForesightConfig,
}
"""Class of the settings of each section; a method's own is that of its settings' class."""


def section_of(settings: Settings) -> str:
    """Section of a run's configuration that holds settings of this class.

    Args:
        settings: Settings of a method.
    """
    return next(name for name, kind in SECTIONS.items() if kind is type(settings))

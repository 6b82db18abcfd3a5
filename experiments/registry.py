"""Every method by name, and how to build it; nothing heavy is loaded here."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from gradmap.algorithms.config import LearnerConfig, PriceConfig
from gradmap.baselines.droop_config import DroopConfig
from gradmap.baselines.foresight_config import ForesightConfig
from gradmap.baselines.gippo_config import GIPPOConfig
from gradmap.baselines.receding_config import RecedingConfig
from gradmap.baselines.rllib.config import MAPPO_SETTINGS, PPOSettings
from gradmap.baselines.rules_config import RulesConfig
from gradmap.baselines.shac_config import SHACConfig
from gradmap.experiments.config_files import suggest
from gradmap.experiments.sections import Settings, section_of
from gradmap.feeders.errors import GradmapError

if TYPE_CHECKING:
    from gradmap.algorithms.trainer import Trainer
    from gradmap.envs.core import Core
    from gradmap.envs.policy import Policy

Family = Literal["gradient", "model-free", "control", "reference"]
"""What a method gets its decisions from: the environment's gradient, its rewards
alone, a controller that does not learn, or knowledge that no method can have."""


@dataclasses.dataclass(frozen=True)
class Extra:
    """An optional part of the installation.

    Attributes:
        name: Name in `pip install 'gradmap[NAME]'`.
        title: What it is.
        package: The package whose presence shows that it is installed.
    """

    name: str
    title: str
    package: str

    def is_installed(self) -> bool:
        """Whether it is there; nothing of it is loaded."""
        return importlib.util.find_spec(self.package) is not None


RLLIB = Extra("rllib", "RLlib", "ray")


@dataclasses.dataclass(frozen=True)
class MethodSpec:
    """A method, as the harness knows it.

    Attributes:
        name: Name on the command line.
        title: Name in tables and plots.
        summary: What it is, in a few words.
        builder: What `build` calls.
        family: What it gets its decisions from; see `Family`.
        needs_training: Whether `build` returns a trainer.
        is_reference: Whether it knows the test days, as no real method can.
        ignores_network: Whether it minimises cost alone; its best checkpoint
            is then selected on cost alone.
        is_decentralised: Whether every device decides by what it sees itself.
        can_stress: Whether it can act on days that it was not made for.
        is_slow: Whether a day takes it many seconds of planning; comparisons
            then judge it on their first split alone.
        defaults: Its settings unless others are given; None if it takes none.
        extra: What has to be installed for it.
    """

    name: str
    title: str
    summary: str
    builder: Callable[[Core, Any, int], Trainer | Policy]
    family: Family
    needs_training: bool = True
    is_reference: bool = False
    ignores_network: bool = False
    is_decentralised: bool = True
    can_stress: bool = True
    is_slow: bool = False
    defaults: Settings | None = LearnerConfig()
    extra: Extra | None = None

    @property
    def settings(self) -> str | None:
        """Section of a run's configuration that is its own; None if it takes no settings."""
        return None if self.defaults is None else section_of(self.defaults)

    def build(self, core: Core, settings: Settings | None, seed: int) -> Trainer | Policy:
        """Builds the trainer, or the policy of a method that does not learn.

        Args:
            core: The environment.
            settings: Settings of the kind of `defaults`.
            seed: Seed of the learner.

        Raises:
            GradmapError: If an extra that it needs is not installed.
        """
        check_installed([self.name])
        return self.builder(core, settings, seed)


def method_spec(name: str) -> MethodSpec:
    """Looks a method up.

    Args:
        name: Its name.

    Raises:
        GradmapError: If there is no such method.
    """
    if name not in METHODS:
        raise GradmapError(f"unknown method {name}{suggest(name, list(METHODS))}")
    return METHODS[name]


def check_installed(names: Iterable[str]) -> None:
    """Refuses methods whose extra is not installed.

    Args:
        names: The methods.

    Raises:
        GradmapError: If there are any; names them all, and what to install.
    """
    missing: dict[Extra, list[str]] = {}
    for name in names:
        extra = method_spec(name).extra
        if extra is not None and not extra.is_installed():
            missing.setdefault(extra, []).append(name)
    faults = [
        f"{_listed(methods)} {extra.title}; install it with: pip install 'gradmap[{extra.name}]'"
        for extra, methods in missing.items()
    ]
    if faults:
        raise GradmapError("; ".join(faults))


def _listed(methods: list[str]) -> str:
    if len(methods) == 1:
        return f"method {methods[0]} needs"
    return f"methods {', '.join(methods)} need"


def _build_gradmap(core: Core, config: LearnerConfig, seed: int) -> Trainer:
    from gradmap.algorithms.gradmap import GradMAP

    return GradMAP(core, config, seed)


def _build_self_supervised(core: Core, config: LearnerConfig, seed: int) -> Trainer:
    from gradmap.algorithms.self_supervised import SelfSupervised

    return SelfSupervised(core, config, seed)


def _build_shac(core: Core, config: SHACConfig, seed: int) -> Trainer:
    from gradmap.baselines.shac import SHAC

    return SHAC(core, config, seed)


def _build_gippo(core: Core, config: GIPPOConfig, seed: int) -> Trainer:
    from gradmap.baselines.gippo import GIPPO

    return GIPPO(core, config, seed)


def _build_rllib(core: Core, config: PPOSettings, seed: int) -> Trainer:
    from gradmap.baselines.rllib.trainer import RLlibTrainer

    return RLlibTrainer(core, config, seed)


def _build_idle(core: Core, config: None, seed: int) -> Policy:
    from gradmap.baselines.idle import IdlePolicy

    return IdlePolicy(core)


def _build_rules(core: Core, config: RulesConfig, seed: int) -> Policy:
    from gradmap.baselines.rules import RulesPolicy

    return RulesPolicy(core, config)


def _build_droop(core: Core, config: DroopConfig, seed: int) -> Policy:
    from gradmap.baselines.droop import DroopPolicy

    return DroopPolicy(core, config)


def _build_receding_horizon(core: Core, config: RecedingConfig, seed: int) -> Policy:
    from gradmap.baselines.receding import RecedingHorizon

    return RecedingHorizon(core, config)


def _build_perfect_foresight(core: Core, config: ForesightConfig, seed: int) -> Trainer:
    from gradmap.baselines.foresight import PerfectForesight

    return PerfectForesight(core, config)


# Settings that differ from their class's are the best of `gradmap tune` with as many
# trials for every method (experiments/tuning/), but for those of the first three,
# which were tried once more by hand: docs/tuning.md, "Trials on the compiled model" and
# "Trials without a backward pass".
_SPECS = (
    MethodSpec(
        "gradmap",
        "GradMAP",
        "independent policies, each rollout reused for many steps without a power flow",
        _build_gradmap,
        "gradient",
        defaults=LearnerConfig(
            learning_rate=4e-2,
            adam_beta2=0.98,
            days_per_batch=16,
            average=0.7,
            reuse_passes=3,
            minibatches=2,
            price=PriceConfig(
                voltage_usd_per_pu=150.0,
                overload_usd=60.0,
                dual_step=6e4,
                dual_decay=0.23,
                margin_pu=8e-4,
            ),
        ),
    ),
    MethodSpec(
        "ss-primal-dual",
        "Self-supervised, primal-dual",
        "one step per environment gradient, prices by dual ascent",
        _build_self_supervised,
        "gradient",
        defaults=LearnerConfig(
            learning_rate=2.5e-2,
            learning_rate_final=0.064,
            adam_beta2=0.98,
            days_per_batch=4,
            price=PriceConfig(voltage_usd_per_pu=300.0, dual_step=1e5, dual_decay=0.077),
        ),
    ),
    MethodSpec(
        "ss-fixed-penalty",
        "Self-supervised, fixed penalty",
        "one step per environment gradient, prices fixed",
        _build_self_supervised,
        "gradient",
        defaults=LearnerConfig(
            learning_rate=2.5e-2,
            learning_rate_final=0.17,
            adam_beta2=0.96,
            price=PriceConfig(
                kind="fixed", voltage_usd_per_pu=450.0, overload_usd=240.0, margin_pu=5e-4
            ),
        ),
    ),
    MethodSpec(
        "shac",
        "SHAC",
        "gradients through short windows, a critic's value beyond them",
        _build_shac,
        "gradient",
        defaults=SHACConfig(
            learning_rate=1.4e-2,
            critic_learning_rate=1.15e-2,
            days_per_batch=4,
            price=PriceConfig(voltage_usd_per_pu=1500.0, dual_step=1.9e5),
        ),
    ),
    MethodSpec(
        "gippo",
        "GI-PPO",
        "PPO whose samples are first moved along the environment gradient",
        _build_gippo,
        "gradient",
        defaults=GIPPOConfig(),
    ),
    MethodSpec(
        "ippo",
        "IPPO",
        "RLlib's PPO, independent policies, a critic each of its own observation",
        _build_rllib,
        "model-free",
        defaults=PPOSettings(
            learning_rate=1.4e-2,
            discount=0.97,
            network_weight=3.7,
            price=dataclasses.replace(
                PPOSettings().price, voltage_usd_per_pu=3000.0, dual_step=4.6e4
            ),
        ),
        extra=RLLIB,
    ),
    MethodSpec(
        "mappo",
        "MAPPO",
        "RLlib's PPO, independent policies, a central critic of the feeder's state",
        _build_rllib,
        "model-free",
        defaults=MAPPO_SETTINGS,
        extra=RLLIB,
    ),
    MethodSpec(
        "selfish",
        "Selfish",
        "every device minimises its own cost, the network ignored",
        _build_gradmap,
        "gradient",
        ignores_network=True,
        # Twice the others' rate: no network speaks against large steps.
        defaults=LearnerConfig(learning_rate=2e-2, price=PriceConfig(kind="none")),
    ),
    MethodSpec(
        "idle",
        "Idle",
        "no device draws or feeds anything",
        _build_idle,
        "control",
        needs_training=False,
        defaults=None,
    ),
    MethodSpec(
        "rules",
        "Rules",
        "time-of-use batteries, thermostats, price-following generators, voltage droop",
        _build_rules,
        "control",
        needs_training=False,
        defaults=RulesConfig(),
    ),
    MethodSpec(
        "droop",
        "Droop",
        "the rules under volt-watt and, where agents may, volt-VAr curves of IEEE 1547",
        _build_droop,
        "control",
        needs_training=False,
        defaults=DroopConfig(),
    ),
    MethodSpec(
        "receding-horizon",
        "Receding horizon",
        "a central optimiser with forecasts plans ahead at every step, network linearised",
        _build_receding_horizon,
        "control",
        needs_training=False,
        is_decentralised=False,
        is_slow=True,
        defaults=RecedingConfig(),
    ),
    MethodSpec(
        "perfect-foresight",
        "Perfect foresight",
        "all actions of the test days optimised together; a reference, no method",
        _build_perfect_foresight,
        "reference",
        is_reference=True,
        is_decentralised=False,
        can_stress=False,
        defaults=ForesightConfig(),
    ),
)

METHODS: dict[str, MethodSpec] = {spec.name: spec for spec in _SPECS}
"""Every method by name, in the order of tables."""

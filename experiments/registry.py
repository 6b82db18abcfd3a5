"""Every method by name, and how to build it; nothing heavy is loaded here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from gradmap.algorithms.config import LearnerConfig, PriceConfig
from gradmap.experiments.config_files import suggest
from gradmap.feeders.errors import GradmapError

if TYPE_CHECKING:
    from gradmap.algorithms.trainer import Trainer
    from gradmap.envs.core import Core
    from gradmap.envs.policy import Policy


@dataclasses.dataclass(frozen=True)
class MethodSpec:
    """A method, as the harness knows it.

    Attributes:
        name: Name on the command line.
        title: Name in tables and plots.
        summary: What it is, in a few words.
        build: Builds the trainer, or the policy of a method that does not
            learn, from the core, the learner's settings and a seed.
        needs_training: Whether `build` returns a trainer.
        is_reference: Whether it knows the test days, as no real method can.
        ignores_network: Whether it minimises cost alone; its best checkpoint
            is then selected on cost alone.
        takes_settings: Whether the learner's settings mean anything to it.
        defaults: Learner's settings unless others are given.
    """

    name: str
    title: str
    summary: str
    build: Callable[[Core, LearnerConfig, int], Trainer | Policy]
    needs_training: bool = True
    is_reference: bool = False
    ignores_network: bool = False
    takes_settings: bool = True
    defaults: LearnerConfig = LearnerConfig()


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


def _build_gradmap(core: Core, config: LearnerConfig, seed: int) -> Trainer:
    from gradmap.algorithms.gradmap import GradMAP

    return GradMAP(core, config, seed)


def _build_self_supervised(core: Core, config: LearnerConfig, seed: int) -> Trainer:
    from gradmap.algorithms.self_supervised import SelfSupervised

    return SelfSupervised(core, config, seed)


def _build_idle(core: Core, config: LearnerConfig, seed: int) -> Policy:
    from gradmap.baselines.idle import IdlePolicy

    return IdlePolicy(core)


def _build_rules(core: Core, config: LearnerConfig, seed: int) -> Policy:
    from gradmap.baselines.rules import RulesPolicy

    return RulesPolicy(core)


def _build_perfect_foresight(core: Core, config: LearnerConfig, seed: int) -> Trainer:
    from gradmap.baselines.oracle import OracleConfig, PerfectForesight

    return PerfectForesight(core, OracleConfig())


_SPECS = (
    MethodSpec(
        "gradmap",
        "GradMAP",
        "independent policies, each environment gradient reused in a trust region",
        _build_gradmap,
    ),
    MethodSpec(
        "ss-primal-dual",
        "Self-supervised, primal-dual",
        "one step per environment gradient, prices by dual ascent",
        _build_self_supervised,
        defaults=LearnerConfig(learning_rate=2e-2),
    ),
    MethodSpec(
        "ss-fixed-penalty",
        "Self-supervised, fixed penalty",
        "one step per environment gradient, prices fixed",
        _build_self_supervised,
        defaults=LearnerConfig(
            learning_rate=2e-2,
            price=PriceConfig(kind="fixed", voltage_usd_per_pu=700.0, overload_usd=70.0),
        ),
    ),
    MethodSpec(
        "selfish",
        "Selfish",
        "every device minimises its own cost, the network ignored",
        _build_gradmap,
        ignores_network=True,
        defaults=LearnerConfig(price=PriceConfig(kind="none")),
    ),
    MethodSpec(
        "idle",
        "Idle",
        "no device draws or feeds anything",
        _build_idle,
        needs_training=False,
        takes_settings=False,
    ),
    MethodSpec(
        "rules",
        "Rules",
        "time-of-use batteries, thermostats, price-following generators, voltage droop",
        _build_rules,
        needs_training=False,
        takes_settings=False,
    ),
    MethodSpec(
        "perfect-foresight",
        "Perfect foresight",
        "all actions of the test days optimised together; a reference, no method",
        _build_perfect_foresight,
        is_reference=True,
        takes_settings=False,
    ),
)

METHODS: dict[str, MethodSpec] = {spec.name: spec for spec in _SPECS}
"""Every method by name, in the order of tables."""

"""A learner that has begun, its rollout, and the model of the rollout's days."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from gradmap.algorithms.config import LearnerConfig, PriceConfig
from gradmap.algorithms.day_model import DayModel, linear_feeder, own_state_gain
from gradmap.algorithms.gradmap import GradMAP
from gradmap.algorithms.rollout import Rollout, environment_gradient
from gradmap.envs.core import Core

Played = tuple[GradMAP, Rollout, Tensor, DayModel]

# So narrow a band that a few agents leave it.
PRICE = PriceConfig(kind="fixed", voltage_usd_per_pu=100.0, overload_usd=10.0, margin_pu=0.03)


@pytest.fixture(scope="session")
def play_model() -> Callable[[Core], Played]:
    """After three iterations: learner, rollout of three days, its gradient, its model."""

    def play(core: Core) -> Played:
        learner = GradMAP(core, LearnerConfig(days_per_batch=3, price=PRICE), 0)
        for _ in range(3):
            learner.iterate(0.0)
        days = core.days("train")[:3]
        done, gradient = environment_gradient(core, learner.actors, days, learner.objective)
        gain = own_state_gain(learner.actors, done)
        return learner, done, gradient, DayModel(core, linear_feeder(core), done, gain)

    return play

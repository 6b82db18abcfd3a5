"""The methods in training: counters, prices, resuming, exporting."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

pytest.importorskip("ray")

from gradmap.algorithms.config import PriceConfig
from gradmap.algorithms.networks import Actors
from gradmap.baselines.rllib.config import MAPPO_SETTINGS, PPOSettings
from gradmap.baselines.rllib.sampling import environment_of
from gradmap.baselines.rllib.trainer import RLlibTrainer
from gradmap.envs.core import Core

SETTINGS = PPOSettings(hidden=(8,), critic_hidden=(8,), days_per_batch=2, epochs=2, minibatches=2)
CENTRAL = dataclasses.replace(MAPPO_SETTINGS, days_per_batch=2, epochs=2, critic_hidden=(8, 8))

Make = Callable[..., RLlibTrainer]


@pytest.fixture
def make_trainer(short_core: Core, ray_session: None) -> Iterator[Make]:
    made: list[RLlibTrainer] = []

    def make(settings: PPOSettings = SETTINGS, seed: int = 0) -> RLlibTrainer:
        made.append(RLlibTrainer(short_core, settings, seed))
        return made[-1]

    yield make
    for trainer in made:
        trainer.close()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """Names of the entries that differ."""
    assert one.keys() == other.keys()
    return [name for name, value in one.items() if not torch.equal(value, other[name])]


@pytest.mark.parametrize("settings", [SETTINGS, CENTRAL], ids=["ippo", "mappo"])
def test_an_iteration_learns_and_counts(make_trainer: Make, settings: PPOSettings) -> None:
    trainer = make_trainer(settings)
    before = trainer.state_dict()
    metrics = trainer.iterate(0.0)
    after = trainer.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert any(name.startswith("module.actors.") for name in changed)
    assert any(name.startswith("module.critic.") for name in changed)
    counters = trainer.counters
    steps = trainer.core.num_steps
    assert (counters.iterations, counters.env_gradients) == (1, 0)
    assert counters.env_steps == 2 * steps
    assert counters.power_flow_solves == 2 * (steps + 1)
    assert all(isinstance(value, float) for value in metrics.values())
    assert metrics["failed_days"] == 0.0
    assert 0.0 <= metrics["policies_learning"] <= 1.0


def test_the_policy_is_the_actors_themselves(make_trainer: Make) -> None:
    trainer = make_trainer()
    trainer.iterate(0.0)
    policy = trainer.policy()
    assert isinstance(policy, Actors)
    core = trainer.core
    state = core.reset(core.days("train")[:2])
    with torch.no_grad():
        action = policy.act(core.observe(state))
    assert action.shape == (2, core.num_agents)
    assert float(action.abs().max()) <= 1.0
    weights = trainer.state_dict()
    for name, weight in policy.state_dict().items():
        assert torch.equal(weight, weights[f"module.actors.{name}"])


def test_the_first_weights_are_those_of_the_other_learners(
    make_trainer: Make, short_core: Core
) -> None:
    generator = torch.Generator().manual_seed(5)
    expected = Actors(short_core.num_agents, short_core.num_features, (8,), generator)
    policy = make_trainer(seed=5).policy()
    assert isinstance(policy, Actors)
    assert not same(expected.state_dict(), policy.state_dict())


def test_every_batch_has_other_days(make_trainer: Make) -> None:
    trainer = make_trainer()
    env = environment_of(trainer.algorithm.env_runner)
    days = []
    for _ in range(2):
        trainer.iterate(0.0)
        assert env.state is not None
        days.append(sorted(env.state.days.tolist()))
    assert days[0] != days[1]


def test_multipliers_rise_where_limits_are_broken_and_enter_the_rewards(
    make_trainer: Make,
) -> None:
    price = PriceConfig(voltage_usd_per_pu=1.0, dual_step=1e6, margin_pu=0.04)
    trainer = make_trainer(dataclasses.replace(SETTINGS, price=price))
    trainer.iterate(0.0)
    assert trainer.multipliers is not None
    raised = trainer.multipliers["over"].sum() + trainer.multipliers["under"].sum()
    assert float(raised) > 0.0
    env = environment_of(trainer.algorithm.env_runner)
    assert not same(env.prices.tensors(), trainer.multipliers)
    found = env.record().found
    dear = env.prices.charge(found)
    env.prices.load({k: torch.zeros_like(v) for k, v in trainer.multipliers.items()})
    assert (dear >= env.prices.charge(found)).all()
    assert (dear > env.prices.charge(found)).any()


def test_without_a_price_the_network_does_not_count(make_trainer: Make) -> None:
    trainer = make_trainer(dataclasses.replace(SETTINGS, price=PriceConfig(kind="none")))
    trainer.iterate(0.0)
    assert trainer.multipliers is None
    assert trainer.iterate(0.5)["multiplier_max"] == 0.0


def test_a_resumed_run_continues_to_the_same_numbers(make_trainer: Make) -> None:
    whole = make_trainer()
    for k in range(2):
        whole.iterate(k / 4)
    kept = whole.state_dict()
    expected = [whole.iterate(k / 4) for k in (2, 3)]
    last = whole.state_dict()
    resumed = make_trainer(seed=0)
    resumed.load_state_dict(kept)
    assert [resumed.iterate(k / 4) for k in (2, 3)] == expected
    assert not same(resumed.state_dict(), last)


PROGRAM = """
import sys, torch
torch.set_num_threads(1)
import gradmap
from gradmap.baselines.rllib.config import PPOSettings
from gradmap.baselines.rllib.trainer import RLlibTrainer
core = gradmap.make("ieee123-mixed-v1", num_agents=5)
trainer = RLlibTrainer(core, PPOSettings(hidden=(8,), days_per_batch=2, epochs=2), 1)
print(trainer.iterate(0.0), trainer.iterate(0.5))
"""


def test_two_processes_with_one_seed_agree() -> None:
    said = []
    for hashes in ("1", "2"):
        found: Any = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": hashes, "OMP_NUM_THREADS": "1"},
            cwd=pathlib.Path(__file__).parents[3],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert found.returncode == 0, found.stderr[-2000:]
        said.append(found.stdout)
        # Nothing that a user would have to read.
        assert "Warning" not in found.stderr, found.stderr
    assert said[0] == said[1]
    assert "cost_usd_per_day" in said[0]

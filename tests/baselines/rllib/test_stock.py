"""The layout of RLlib's own users: its networks, its settings, and that it trains."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

pytest.importorskip("ray")

from gymnasium.spaces import Box
from ray.rllib.core.columns import Columns

from gradmap.algorithms.config import PriceConfig
from gradmap.baselines.rllib.agent_module import AgentPPOModule
from gradmap.baselines.rllib.config import PPOSettings
from gradmap.baselines.rllib.stock import (
    FIXED,
    STOCK_SETTINGS,
    own_module,
    stock_config,
    type_module,
)
from gradmap.envs.observations import FEATURES
from gradmap.envs.rllib import MultiAgentFeederEnv
from gradmap.feeders.errors import GradmapError

TYPES = {"battery": 8, "heat_pump": 8, "generator": 4}


def settings(**changes):
    return dataclasses.replace(STOCK_SETTINGS, **changes)


def make_module(seed=0, **changes):
    torch.manual_seed(seed)
    config = {"hidden": [16, 16], "critic_hidden": [8], "log_std_initial": -1.0, **changes}
    return AgentPPOModule(
        observation_space=Box(-np.inf, np.inf, (len(FEATURES),), np.float32),
        action_space=Box(-1.0, 1.0, (1,), np.float32),
        inference_only=False,
        model_config=config,
    )


def test_a_module_is_one_agent_of_the_actors():
    module = make_module()
    seen = torch.randn(5, len(FEATURES))
    inputs = module.forward_exploration({Columns.OBS: seen})[Columns.ACTION_DIST_INPUTS]
    mean, log_std = inputs.chunk(2, dim=-1)
    assert inputs.shape == (5, 2)
    assert torch.equal(mean[:, 0].tanh(), module.actor(seen.unsqueeze(0))[0])
    assert (mean.abs() < 0.1).all()  # the last layer begins with a gain of 0.01
    assert torch.equal(log_std, torch.full((5, 1), -1.0))
    assert module.log_std.requires_grad
    widths = [layer.weight.shape[-1] for layer in list(module.actor.net)[::2]]
    assert widths == [16, 16, 1]
    values = module.compute_values({Columns.OBS: seen})
    assert torch.equal(values, module.critic(seen.unsqueeze(0))[0, :, 0])
    last = module.critic[-1].weight
    assert torch.linalg.vector_norm(last).item() == pytest.approx(1.0)


def test_modules_draw_weights_of_their_own_from_torchs_seed():
    first, again, other = make_module(1), make_module(1), make_module(2)
    weight = first.actor.net[0].weight
    assert torch.equal(weight, again.actor.net[0].weight)
    assert not torch.equal(weight, other.actor.net[0].weight)


def test_agents_are_mapped_to_modules_by_name():
    assert own_module("heat_pump_0007", None, env="left aside") == "heat_pump_0007"
    assert type_module("heat_pump_0007", None) == "heat_pump"


@pytest.mark.parametrize("layout", ["agent", "type"])
def test_every_setting_is_handed_over(layout):
    chosen = settings(
        days_per_batch=4,
        epochs=3,
        minibatches=2,
        clip=0.15,
        discount=0.9,
        gae_lambda=0.8,
        learning_rate=1e-3,
        entropy_bonus=0.02,
        value_weight=0.7,
        grad_clip=2.0,
        network_weight=2.0,
        price=PriceConfig(kind="fixed", voltage_usd_per_pu=7.0, overload_usd=3.0),
        num_env_runners=2,
    )
    config = stock_config(chosen, num_agents=20, layout=layout)
    assert (config.num_epochs, config.clip_param, config.gamma) == (3, 0.15, 0.9)
    assert (config.lambda_, config.lr, config.entropy_coeff) == (0.8, 1e-3, 0.02)
    assert (config.vf_loss_coeff, config.vf_clip_param) == (0.7, math.inf)
    assert (config.grad_clip, config.grad_clip_by, config.use_kl_loss) == (
        2.0,
        "global_norm",
        False,
    )
    assert (config.num_env_runners, config.num_envs_per_env_runner) == (2, 2)
    # Agent steps, as the minibatch is in module steps: else RLlib refuses a larger one.
    assert (config.count_steps_by, config.train_batch_size_per_learner) == ("agent_steps", 3840)
    assert config.get_rollout_fragment_length() == 48 * 20
    largest = {"agent": 1, "type": 8}[layout]
    assert config.minibatch_size == 4 * 49 * largest / 2
    reward = config.env_config["reward"]
    assert (reward.voltage_usd_per_pu, reward.overload_usd, reward.share) == (7.0, 3.0, 0.1)
    names = list(config.policies)
    assert names == list(config.rl_module_spec.rl_module_specs)
    assert len(names) == {"agent": 20, "type": 3}[layout]
    assert {type_module(name) if layout == "agent" else name for name in names} == set(TYPES)
    config.validate()


@pytest.mark.parametrize("layout", ["agent", "type"])
@pytest.mark.parametrize("num_agents", [1, 2])
def test_one_large_minibatch_is_no_error(layout, num_agents):
    config = stock_config(settings(minibatches=1), num_agents=num_agents, layout=layout)
    config.validate()
    assert config.minibatch_size <= config.train_batch_size_per_learner


def test_no_price_is_no_violation_in_the_reward():
    config = stock_config(settings(price=PriceConfig(kind="none")), num_agents=2)
    reward = config.env_config["reward"]
    assert (reward.voltage_usd_per_pu, reward.overload_usd) == (0.0, 0.0)


def test_what_it_cannot_honour_is_refused_all_at_once():
    wrong = PPOSettings(critic="central", price=PriceConfig(margin_pu=0.01), ray_address="auto")
    with pytest.raises(GradmapError) as caught:
        stock_config(wrong, num_agents=2, layout="pair")
    message = str(caught.value)
    for part in (
        "layout is 'pair', expected one of agent, type",
        "critic is 'central', expected 'local'",
        "learning_rate_final is 0.1, expected 1.0",
        "kl_stop is 0.05, expected None",
        "normalise_values is True, expected False",
        "stored_usd_per_kwh is 0.2, expected 0.0",
        "ray_address is 'auto', expected None",
        "price.kind is 'dual', expected 'fixed' or 'none'",
        "price.margin_pu is 0.01, expected 0",
        "begin from STOCK_SETTINGS",
    ):
        assert part in message


def test_no_setting_is_passed_over():
    # A new setting belongs in FIXED, or in the configuration and in this list.
    honoured = [
        "hidden",
        "critic_hidden",
        "days_per_batch",
        "learning_rate",
        "epochs",
        "minibatches",
        "clip",
        "discount",
        "gae_lambda",
        "entropy_bonus",
        "value_weight",
        "grad_clip",
        "log_std_initial",
        "network_weight",
        "price",
        "num_env_runners",
        "num_learners",
    ]
    assert {field.name for field in dataclasses.fields(PPOSettings)} == {*honoured, *FIXED}


def test_an_unknown_task_is_refused():
    with pytest.raises(GradmapError, match="unknown task 'ieee13-v1'"):
        stock_config(num_agents=2, env="gradmap/ieee13-v1")


@pytest.mark.parametrize("layout", ["agent", "type"])
def test_it_trains_on_whole_days_that_differ(ray_session, layout):
    chosen = settings(days_per_batch=2, epochs=2, minibatches=3)
    config = stock_config(chosen, num_agents=20, layout=layout)
    config.debugging(seed=0, log_level="ERROR")
    algorithm = config.build_algo()
    try:
        names = list(config.policies)
        before = {name: algorithm.get_module(name).get_state() for name in names}
        before = {n: {k: np.copy(v) for k, v in state.items()} for n, state in before.items()}
        days = []
        for iteration in (1, 2):
            result = algorithm.train()
            found = result["env_runners"]
            assert found["num_episodes_lifetime"] == 2 * iteration
            assert found["episode_len_mean"] == 48
            assert np.isfinite(found["episode_return_mean"])
            envs = algorithm.env_runner.env.envs
            days += [int(env.unwrapped.env._state.days) for env in envs]
        assert len(set(days)) == 4
        learnt = result["learners"]
        # Passes in minibatches: as many as asked for in the largest module.
        rows = 2 * 49 * max(TYPES.values() if layout == "type" else [1])
        steps = learnt["battery" if layout == "type" else "battery_0000"]
        size = steps["module_train_batch_size_mean"]
        assert size == math.ceil(rows / 3)
        assert steps["num_module_steps_trained"] == math.ceil(2 * rows / size) * size
        for name in names:
            assert learnt[name]["default_optimizer_learning_rate"] == chosen.learning_rate
            after = algorithm.get_module(name).get_state()
            assert any(not np.array_equal(after[k], v) for k, v in before[name].items())
    finally:
        algorithm.stop()


def test_devices_get_the_tangent_of_what_the_policies_drew(ray_session, monkeypatch):
    config = stock_config(settings(days_per_batch=1, log_std_initial=1.0), num_agents=3)
    config.debugging(seed=0, log_level="ERROR")
    sent = []
    step = MultiAgentFeederEnv.step

    def spy(env, actions):
        sent.append(actions)
        return step(env, actions)

    monkeypatch.setattr(MultiAgentFeederEnv, "step", spy)
    algorithm = config.build_algo()
    try:
        (day,) = algorithm.env_runner.sample()
    finally:
        algorithm.stop()
    assert len(sent) == 48
    for name in config.policies:
        drawn = day.agent_episodes[name].get_actions()
        got = np.stack([actions[name] for actions in sent])
        assert np.abs(drawn).max() > 1.0
        np.testing.assert_allclose(got, np.tanh(drawn), rtol=1e-6)

"""The PettingZoo environment: the contract, and the core's own figures behind it."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from pettingzoo.test import parallel_api_test, parallel_seed_test

import gradmap
from gradmap.envs.constraints import violations
from gradmap.envs.parallel import ParallelFeederEnv
from gradmap.envs.reward import REWARD_TERMS, RewardConfig
from gradmap.feeders.errors import GradmapError


@pytest.fixture(scope="module")
def thousand(make_core):
    """1,000 agents, days of 5 steps."""
    return make_core(1000, steps=5)


@pytest.fixture
def env(short_core):
    return ParallelFeederEnv(short_core)


def act(env, value=0.0):
    return {name: np.full(1, value, np.float32) for name in env.agents}


def random_actions(env, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, 1, 1).astype(np.float32) for name in env.agents}


def test_the_api_test_passes_at_1000_agents(thousand):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(ParallelFeederEnv(thousand), num_cycles=7)


def test_the_seed_test_passes_at_1000_agents(thousand):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_seed_test(lambda: ParallelFeederEnv(thousand), num_cycles=5)


@pytest.mark.slow
def test_both_pass_on_the_published_task():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(gradmap.parallel_env("ieee123-mixed-v1", num_agents=1000), num_cycles=60)
        parallel_seed_test(lambda: gradmap.parallel_env(num_agents=1000), num_cycles=60)


@pytest.mark.parametrize("num_agents", [1, 2, 33])
def test_any_number_of_agents_passes(make_core, num_agents):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(ParallelFeederEnv(make_core(num_agents, steps=3)), num_cycles=5)


def test_a_task_makes_its_environment():
    env = gradmap.parallel_env("ieee123-mixed-v1", num_agents=5, seed=2, render_mode="rgb_array")
    assert len(env.possible_agents) == 5
    assert env.core.config.seed == 2
    assert env.core.num_steps == 48
    assert env.metadata["name"] == "ieee123_mixed_v1"
    assert env.render_mode in env.metadata["render_modes"]


def test_spaces_hold_what_the_agents_see_and_do(env):
    observations, _ = env.reset(seed=0)
    for name in env.possible_agents:
        assert env.observation_space(name) is env.observation_space(name)
        assert observations[name] in env.observation_space(name)
        assert env.action_space(name).shape == (1,)
    assert env.action_space("battery_0000") is not env.action_space("battery_0001")


def test_a_day_ends_by_termination_after_its_last_step(env):
    env.reset(seed=0)
    for step in range(env.core.num_steps):
        is_last = step == env.core.num_steps - 1
        observations, _, terminations, truncations, _ = env.step(act(env))
        assert set(terminations.values()) == {is_last}
        assert set(truncations.values()) == {False}
        assert len(observations) == env.core.num_agents
    assert env.agents == []
    with pytest.raises(GradmapError, match="call reset first"):
        env.step({})
    env.reset()
    assert env.agents == env.possible_agents


def test_stepping_before_a_reset_is_refused(env):
    with pytest.raises(GradmapError, match="call reset first"):
        env.step({})


def test_infos_account_for_the_reward(env):
    env.reset(seed=0, options={"split": "test"})
    has_violated = False
    for seed in range(env.core.num_steps):
        _, rewards, _, _, infos = env.step(random_actions(env, seed))
        for name, reward in rewards.items():
            info = infos[name]
            assert tuple(info["reward_terms"]) == REWARD_TERMS
            assert isinstance(reward, float)
            # The same doubles, summed in another order.
            assert sum(info["reward_terms"].values()) == pytest.approx(reward, abs=1e-9)
            assert set(info["constraint_costs"]) == {"over_pu", "under_pu", "overload"}
            assert info["constraint_costs"] == infos[env.possible_agents[0]]["constraint_costs"]
            assert info["solver"]["converged"] is True
            assert info["solver"]["iterations"] >= 1
            assert 0.0 <= info["solver"]["residual"] <= 1e-8
            assert abs(info["p_kw"]) >= 0.0
        has_violated |= any(infos[name]["constraint_costs"].values())
    assert has_violated


def test_the_network_term_is_the_share_of_the_priced_violation(short_core):
    env = ParallelFeederEnv(short_core, RewardConfig(100.0, 3.0, share=0.5))
    env.reset(options={"day": 6})
    _, _, _, _, infos = env.step(act(env, 1.0))
    costs = infos["battery_0000"]["constraint_costs"]
    priced = 100.0 * (costs["over_pu"] + costs["under_pu"]) + 3.0 * costs["overload"]
    assert priced > 0.0
    for info in infos.values():
        assert info["reward_terms"]["network"] == pytest.approx(-0.5 * priced, rel=1e-6)


@pytest.mark.parametrize("day", [0, 5])
def test_a_day_runs_as_in_the_core(env, day):
    core = env.core
    state = core.reset(torch.tensor([day]))
    observations, infos = env.reset(options={"day": day})
    assert {info["date"] for info in infos.values()} == {core.scenarios.date[day]}
    for seed in range(core.num_steps):
        expected = core.observe(state)[0].numpy()
        assert np.array_equal(np.stack([observations[n] for n in core.agent_names]), expected)
        actions = random_actions(env, seed)
        flat = torch.tensor(np.concatenate([actions[n] for n in core.agent_names]))
        state, outcome = core.step(state, flat.unsqueeze(0))
        observations, _, _, _, infos = env.step(actions)
        found = violations(outcome.flow, core.limits)
        for k, name in enumerate(core.agent_names):
            info = infos[name]
            assert info["p_kw"] == outcome.p_kw[0, k].item()
            assert info["setpoint_kw"] == outcome.setpoint_kw[0, k].item()
            own = [info["reward_terms"][term] for term in REWARD_TERMS[:-1]]
            assert own == (-outcome.cost_usd[0, k]).double().tolist()
        costs = infos["battery_0000"]["constraint_costs"]
        assert costs == {key: value.sum().item() for key, value in vars(found).items()}


def test_the_order_of_the_actions_does_not_matter(env):
    env.reset(options={"day": 0})
    actions = random_actions(env)
    first = env.step(actions)[1]
    env.reset(options={"day": 0})
    assert env.step(dict(reversed(actions.items())))[1] == first


@pytest.mark.parametrize(
    ("options", "splits"),
    [
        (None, {"train"}),
        ({}, {"train"}),
        ({"split": "test"}, {"test"}),
        ({"day": 4}, {"validation"}),
    ],
)
def test_a_reset_draws_from_the_split_or_takes_the_day(env, options, splits):
    scenarios = env.core.scenarios
    dates = set()
    for _ in range(20):
        _, infos = env.reset(options=options)
        dates.add(infos["battery_0000"]["date"])
    assert {scenarios.split[scenarios.date.index(date)] for date in dates} == splits
    assert len(dates) == (1 if options and "day" in options else len(scenarios.days(*splits)))


def test_a_day_may_be_named_by_its_date(env):
    date = env.core.scenarios.date[3]
    _, infos = env.reset(options={"day": date})
    assert infos["battery_0000"]["date"] == date


def test_a_seed_fixes_the_days_from_then_on(env):
    def dates():
        return [env.reset(seed=5 if k == 0 else None)[1]["battery_0000"]["date"] for k in range(12)]

    first = dates()
    assert first == dates()
    assert len(set(first)) > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tset"}, "unknown split 'tset'; expected one of train, validation, test"),
        ({"day": 8}, "no day 8; expected an index from 0 to 7"),
        ({"day": -1}, "no day -1; expected an index from 0 to 7"),
        ({"day": "2030-01-01"}, "no day '2030-01-01'; expected an ISO date from"),
    ],
)
def test_a_day_that_is_not_there_is_refused(env, options, message):
    with pytest.raises(GradmapError, match=message):
        env.reset(options=options)


def test_a_split_without_days_is_refused(make_core, few_days):
    env = ParallelFeederEnv(make_core(2, scenarios=few_days.subset([0, 1]), steps=2))
    with pytest.raises(GradmapError, match="no days of split 'test'"):
        env.reset(options={"split": "test"})


def test_a_refused_reset_leaves_the_day_as_it_was(env):
    env.reset(options={"day": 0})
    before = env.step(act(env))[0]["battery_0000"]
    with pytest.raises(GradmapError):
        env.reset(options={"day": 99})
    assert env.agents == env.possible_agents
    after = env.step(act(env))[0]["battery_0000"]
    assert after.shape == before.shape


def test_wrong_actions_are_refused_by_name(env):
    env.reset(seed=0)
    actions = act(env)
    missing = {name: action for name, action in actions.items() if name != "battery_0003"}
    with pytest.raises(GradmapError, match=r"1 agents are missing, 0 are unknown.*'battery_0003'"):
        env.step(missing)
    with pytest.raises(GradmapError, match=r"0 agents are missing, 1 are unknown.*'toaster_0000'"):
        env.step({**actions, "toaster_0000": np.zeros(1, np.float32)})
    with pytest.raises(GradmapError, match=r"must have shape \(1,\)"):
        env.step({**actions, "battery_0003": np.zeros(2, np.float32)})
    with pytest.raises(GradmapError, match="the action of heat_pump_0001 is not finite"):
        env.step({**actions, "heat_pump_0001": np.array([np.nan], np.float32)})
    # None of them has moved anything.
    assert env.step(actions)[2]["battery_0000"] is False


def test_all_actions_of_a_wrong_length_are_refused(env):
    env.reset(seed=0)
    with pytest.raises(GradmapError, match=r"must have shape \(1,\)"):
        env.step({name: np.zeros(2, np.float32) for name in env.agents})


def test_an_unknown_render_mode_is_refused(short_core):
    with pytest.raises(GradmapError, match="render_mode is 'human', expected 'rgb_array' or None"):
        ParallelFeederEnv(short_core, render_mode="human")


def test_a_failed_power_flow_is_reported(make_core, few_days):
    base = few_days.base_p_kw.copy()
    base[0, 1] *= 100.0
    core = make_core(3, scenarios=dataclasses.replace(few_days, base_p_kw=base), steps=3)
    env = ParallelFeederEnv(core)
    env.reset(options={"day": 0})
    converged = []
    for _ in range(3):
        observations, rewards, _, _, infos = env.step(act(env))
        converged.append(infos["battery_0000"]["solver"]["converged"])
        assert np.isfinite(list(rewards.values())).all()
        assert all(np.isfinite(seen).all() for seen in observations.values())
    assert converged == [True, False, True]

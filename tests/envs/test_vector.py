"""All agents as one: the contract of Gymnasium, and the core's own figures behind it."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from gradmap.envs.constraints import violations
from gradmap.envs.core import Core
from gradmap.envs.parallel import ParallelFeederEnv
from gradmap.envs.reward import RewardConfig, reward_terms
from gradmap.envs.vector import JointEnv, JointVectorEnv, make_joint_env, make_joint_vector_env
from gradmap.feeders.errors import GradmapError

INFOS = {"agent_rewards", "over_pu", "under_pu", "overload", "cost_usd", "converged"}


def random_actions(space, num, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, space.shape).astype(np.float32) for _ in range(num)]


def play(env, seed=0, num=None, options=None):
    """Observations, rewards and infos of random actions, resets included."""
    observations, infos = env.reset(seed=seed, options=options)
    told = [(observations, None, infos)]
    for action in random_actions(env.action_space, num or env.core.num_steps):
        observations, rewards, _, _, infos = env.step(action)
        told.append((observations, rewards, infos))
    return told


def assert_same(found, expected):
    """Bit for bit."""
    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        for key in found:
            assert_same(found[key], expected[key])
    elif isinstance(found, list | tuple):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.fixture
def calls(monkeypatch):
    """Steps of any core, counted."""
    counted = []
    step = Core.step
    monkeypatch.setattr(Core, "step", lambda *args: counted.append(1) or step(*args))
    return counted


@pytest.mark.parametrize("per_agent", [False, True])
def test_spaces_hold_what_a_batch_returns(short_core, per_agent):
    env = JointVectorEnv(short_core, 3, per_agent=per_agent)
    n = short_core.num_agents
    assert env.single_observation_space["agents"].shape == (n, short_core.num_features)
    assert env.single_observation_space["state"].shape == (short_core.num_global_features,)
    assert env.single_action_space.shape == (n, 1)
    assert env.action_space.shape == (3, n, 1)
    observations, infos = env.reset(seed=0)
    rewards = None
    for action in [None, *random_actions(env.action_space, 8)]:
        if action is not None:
            observations, rewards, terminations, truncations, infos = env.step(action)
            assert rewards.dtype == (np.float32 if per_agent else np.float64)
            assert rewards.shape == ((3, n) if per_agent else (3,))
            assert terminations.dtype == truncations.dtype == np.bool_
            assert terminations.shape == truncations.shape == (3,)
            assert not truncations.any()
        assert observations in env.observation_space
        for k in range(3):
            one = {key: value[k] for key, value in observations.items()}
            assert one in env.single_observation_space
        names = {name for name in infos if not name.startswith("_")}
        assert names in ([set()] if per_agent else [{"date"}, INFOS])
        assert set(infos) == names | {f"_{name}" for name in names}
        for name in names:
            assert len(infos[name]) == 3
            assert infos[f"_{name}"].all()
    assert rewards is not None


def test_the_metadata_say_how_episodes_follow_each_other(short_core):
    env = JointVectorEnv(short_core, 2)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert env.num_envs == 2
    assert env.unwrapped is env
    env.close()


def test_the_call_after_an_end_begins_the_next_days_and_solves_no_step(short_core, calls):
    env = JointVectorEnv(short_core, 2)
    observations, infos = env.reset(seed=1)
    dates = [tuple(infos["date"])]
    for day in range(3):
        for index in range(short_core.num_steps):
            _, _, ended, _, infos = env.step(env.action_space.sample())
            assert ended.tolist() == [index == short_core.num_steps - 1] * 2
            assert set(infos) >= INFOS
        assert len(calls) == (day + 1) * short_core.num_steps
        # What the actions hold is not looked at.
        observations, rewards, ended, truncated, infos = env.step(np.full((2, 20, 1), np.nan))
        assert len(calls) == (day + 1) * short_core.num_steps
        assert env.state.step == 0
        assert rewards.tolist() == [0.0, 0.0]
        assert not ended.any()
        assert not truncated.any()
        dates.append(tuple(infos["date"]))
        begun = short_core.reset(env.state.days)
        assert_same(observations["agents"], short_core.observe(begun).numpy())
    # Two seasons of two days: the second batch is what the first has left.
    assert set(dates[0]).isdisjoint(dates[1])


def test_rewards_of_a_reset_are_zeros_for_every_agent(short_core):
    env = JointVectorEnv(short_core, 2, per_agent=True)
    play(env)
    _, rewards, _, _, infos = env.step(env.action_space.sample())
    assert_same(rewards, np.zeros((2, 20), np.float32))
    assert infos == {}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_days_go_on_in_the_split_of_the_last_reset(short_core, split):
    env = JointVectorEnv(short_core, 2)
    env.reset(seed=0, options={"split": split})
    for _ in range(3):
        assert set(env.state.days.tolist()) <= set(short_core.days(split).tolist())
        for _ in range(short_core.num_steps + 1):
            env.step(env.action_space.sample())
    env.reset()
    assert set(env.state.days.tolist()) <= set(short_core.days("train").tolist())


def test_a_seed_fixes_days_and_results(short_core):
    num = 3 * (short_core.num_steps + 1)
    env = JointVectorEnv(short_core, 2)
    first = play(env, 7, num)
    assert_same(play(env, 7, num), first)
    assert_same(play(JointVectorEnv(short_core, 2), 7, num), first)
    days = {str([infos.get("date") for _, _, infos in play(env, s, num)]) for s in range(4)}
    assert len(days) > 1


def test_a_reset_without_a_seed_goes_on(short_core):
    env = JointVectorEnv(short_core, 2)
    env.reset(seed=0)
    first, second = env.state.days, env.reset()[0] and env.state.days
    assert set(first.tolist()).isdisjoint(second.tolist())


def test_a_batch_runs_as_in_the_core(short_core):
    days = [0, 5, 7]
    env = JointVectorEnv(short_core, 3)
    agents = JointVectorEnv(short_core, 3, per_agent=True)
    agents.reset(options={"day": days})
    observations, infos = env.reset(options={"day": days})
    assert infos["date"].tolist() == [short_core.scenarios.date[day] for day in days]
    state = short_core.reset(torch.tensor(days))
    for action in random_actions(env.action_space, short_core.num_steps):
        assert_same(observations["agents"], short_core.observe(state).numpy())
        assert_same(observations["state"], short_core.observe_global(state).numpy())
        state, outcome = short_core.step(state, torch.tensor(action[..., 0]))
        observations, rewards, _, _, infos = env.step(action)
        found = violations(outcome.flow, short_core.limits)
        terms = reward_terms(outcome, found, RewardConfig()).double()
        assert_same(infos["agent_rewards"], terms.sum(-1).numpy())
        assert_same(rewards, terms.sum(-1).sum(-1).numpy())
        assert_same(agents.step(action)[1], terms.sum(-1).float().numpy())
        for name, value in vars(found).items():
            assert_same(infos[name], value.sum(-1).numpy())
        assert_same(infos["cost_usd"], outcome.cost_usd.double().sum((1, 2)).numpy())
        assert_same(infos["converged"], outcome.flow.converged.numpy())
    assert infos["over_pu"].sum() + infos["under_pu"].sum() > 0.0


def test_one_episode_runs_as_in_pettingzoo(short_core):
    env, other = JointEnv(short_core), ParallelFeederEnv(short_core)
    for seed in (3, None, None):
        observations, info = env.reset(seed=seed)
        seen, infos = other.reset(seed=seed)
        assert info["date"] == infos["battery_0000"]["date"]
        for action in random_actions(env.action_space, short_core.num_steps):
            assert_same(list(observations["agents"]), list(seen.values()))
            observations, reward, ended, truncated, info = env.step(action)
            by_name = dict(zip(other.agents, action, strict=True))
            seen, rewards, terminations, truncations, infos = other.step(by_name)
            # The same doubles, summed in another order.
            np.testing.assert_allclose(info["agent_rewards"], list(rewards.values()), rtol=1e-14)
            assert reward == pytest.approx(sum(rewards.values()), rel=1e-12)
            assert {ended} == set(terminations.values())
            assert {truncated} == set(truncations.values())
            costs = infos["battery_0000"]["constraint_costs"]
            assert {name: info[name] for name in costs} == costs
            assert info["converged"] is infos["battery_0000"]["solver"]["converged"]


def test_a_batch_is_as_many_single_episodes(short_core):
    days = [0, 3, 6, 7]
    batch = JointVectorEnv(short_core, 4)
    batch.reset(options={"day": days})
    actions = random_actions(batch.action_space, short_core.num_steps)
    steps = [batch.step(action) for action in actions]
    for k, day in enumerate(days):
        env = JointEnv(short_core)
        env.reset(options={"day": day})
        for action, (observations, rewards, ended, _, infos) in zip(actions, steps, strict=True):
            seen, reward, is_over, _, info = env.step(action[k])
            # A matrix product of another shape rounds otherwise, and the solver
            # stops within 1e-8 p.u.: some units in the last place of float32.
            for key in ("agents", "state"):
                # A voltage's last place in float32, 1.2e-7 p.u., is 2.4e-6 as agents see it.
                np.testing.assert_allclose(observations[key][k], seen[key], rtol=0, atol=5e-6)
            assert rewards[k] == pytest.approx(reward, rel=1e-5, abs=1e-5)
            assert ended[k] == is_over
            for name in INFOS:
                np.testing.assert_allclose(infos[name][k], info[name], rtol=1e-5, atol=1e-5)


def test_rewards_of_the_agents_sum_to_the_teams(short_core):
    team, agents = JointVectorEnv(short_core, 2), JointVectorEnv(short_core, 2, per_agent=True)
    for (_, reward, infos), (_, rewards, _) in zip(play(team), play(agents), strict=True):
        if reward is not None:
            np.testing.assert_allclose(infos["agent_rewards"].sum(1), reward, rtol=1e-12)
            # Each of them rounded to float32.
            bound = 1e-7 * np.abs(rewards).sum(1)
            assert (np.abs(rewards.astype(np.float64).sum(1) - reward) <= bound).all()


def test_the_price_of_violations_is_that_of_the_config(short_core):
    free = JointVectorEnv(short_core, 2, RewardConfig(0.0, 0.0))
    dear = JointVectorEnv(short_core, 2, RewardConfig(2000.0, 0.0))
    options = {"day": [6, 7]}
    pairs = zip(play(free, options=options)[1:], play(dear, options=options)[1:], strict=True)
    outside = 0.0
    for (_, paid, infos), (_, reward, _) in pairs:
        np.testing.assert_allclose(paid, -infos["cost_usd"], rtol=1e-9, atol=1e-9)
        priced = 2000.0 * (infos["over_pu"] + infos["under_pu"])
        # A share of each, in float32.
        np.testing.assert_allclose(paid - reward, priced, rtol=1e-6, atol=1e-9)
        outside += priced.sum()
    assert outside > 0.0


@pytest.mark.parametrize("per_agent", [False, True])
def test_a_subclass_may_pay_otherwise(short_core, per_agent):
    class Paid(JointVectorEnv):
        def _rewards(self, outcome, found, step):
            assert found.over_pu.shape[0] == 2
            return outcome.p_kw * 0.0 + step

    for index, (_, rewards, infos) in enumerate(play(Paid(short_core, 2, per_agent=per_agent))[1:]):
        assert (rewards == (index if per_agent else 20 * index)).all()
        assert per_agent or (infos["agent_rewards"] == index).all()


def test_a_saved_calendar_and_state_go_on_exactly(short_core):
    env, other = JointVectorEnv(short_core, 2), JointVectorEnv(short_core, 2)
    play(env, seed=4, num=short_core.num_steps + 3)
    other.calendar.load_state_dict(env.calendar.state_dict())
    other.state = env.state
    for action in random_actions(env.action_space, 3 * short_core.num_steps, seed=1):
        assert_same(other.step(action), env.step(action))


def test_a_failed_power_flow_is_told(make_core, few_days):
    base = few_days.base_p_kw.copy()
    base[0, 1] *= 100.0
    core = make_core(3, scenarios=dataclasses.replace(few_days, base_p_kw=base), steps=3)
    env = JointVectorEnv(core, 2)
    told = play(env, options={"day": [0, 1]})[1:]
    assert [infos["converged"].tolist() for _, _, infos in told] == [
        [True, True],
        [False, True],
        [True, True],
    ]
    for observations, rewards, _ in told:
        assert observations in env.observation_space
        assert all(np.isfinite(seen).all() for seen in observations.values())
        assert np.isfinite(rewards).all()


def test_the_agents_part_holds_nothing_that_a_critic_alone_may_see(short_core):
    state = short_core.reset(torch.tensor([0, 5]))
    state, _ = short_core.step(state, torch.ones(2, 20))
    env = JointVectorEnv(short_core, 2)
    env.reset(options={"day": [0, 5]})
    observations = env.step(np.ones((2, 20, 1), np.float32))[0]
    assert_same(observations["agents"], short_core.observe(state).numpy())
    # No terminal without an agent: moving all else there leaves the agents' part as it is.
    unused = torch.ones(short_core.network.num_load_terminals, dtype=torch.bool)
    unused[short_core.agent_terminal] = False
    assert unused.any()
    moved = torch.where(unused, state.v_measured_pu + 0.1, state.v_measured_pu)
    env.state = dataclasses.replace(state, v_measured_pu=moved)
    seen = env._observe()
    assert_same(seen["agents"], observations["agents"])
    assert not np.array_equal(seen["state"], observations["state"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_actions_that_are_not_finite_are_refused_by_name(short_core, value):
    env = JointVectorEnv(short_core, 2)
    env.reset(seed=0)
    actions = np.zeros(env.action_space.shape, np.float32)
    actions[1, 9] = value
    with pytest.raises(GradmapError, match="heat_pump_0001 in episode 1 is not finite"):
        env.step(actions)
    assert env.state.step == 0


@pytest.mark.parametrize("shape", [(2, 20), (1, 20, 1), (2, 19, 1), (20, 1)])
def test_actions_of_another_shape_are_refused(short_core, shape):
    env = JointVectorEnv(short_core, 2)
    env.reset(seed=0)
    with pytest.raises(GradmapError, match=r"expected \[batch, agent, 1\] = \(2, 20, 1\)"):
        env.step(np.zeros(shape))
    with pytest.raises(GradmapError, match=r"must be numbers of shape \(2, 20, 1\)"):
        env.step([[1.0], [1.0, 2.0]])


def test_read_only_actions_are_taken_and_large_ones_cut(short_core):
    first, second = JointVectorEnv(short_core, 2), JointVectorEnv(short_core, 2)
    actions = np.full(first.action_space.shape, 3.0)
    actions.setflags(write=False)
    for env in (first, second):
        env.reset(seed=0)
    assert_same(first.step(actions), second.step(np.clip(actions, -1, 1)))


def test_stepping_before_a_reset_or_after_the_day_is_refused(short_core):
    with pytest.raises(GradmapError, match="no day has begun; call reset first"):
        JointVectorEnv(short_core, 2).step(np.zeros((2, 20, 1)))
    env = JointEnv(short_core)
    for _ in range(2):
        with pytest.raises(GradmapError, match="the day is over or has not begun; call reset"):
            env.step(env.action_space.sample())
        play(env)


def test_a_refused_reset_leaves_the_day_as_it_was(short_core):
    env = JointVectorEnv(short_core, 2)
    play(env, num=2, options={"split": "test"})
    for options in ({"day": 99}, {"split": "tset"}):
        with pytest.raises(GradmapError):
            env.reset(options=options)
    assert env.state.step == 2
    for _ in range(5):
        env.step(env.action_space.sample())
    assert set(env.state.days.tolist()) <= set(short_core.days("test").tolist())


def test_pictures_are_of_every_episode(short_core):
    env = JointVectorEnv(short_core, 2, render_mode="rgb_array")
    with pytest.raises(GradmapError, match="nothing to draw yet; call reset first"):
        env.render()
    env.reset(options={"day": [0, 6]})
    before = env.render()
    env.step(np.ones(env.action_space.shape, np.float32))
    first, second = env.render()
    assert first.dtype == np.uint8
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, before[0])
    single = JointEnv(short_core, render_mode="rgb_array")
    single.reset(options={"day": 0})
    assert_same(single.render(), before[0])
    assert JointEnv(short_core).render() is None
    with pytest.raises(GradmapError, match="render_mode is 'human'"):
        JointVectorEnv(short_core, 2, render_mode="human")


def test_gymnasiums_wrappers_for_batches_work(short_core):
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(JointVectorEnv(short_core, 2))
    env = gymnasium.wrappers.vector.DictInfoToList(env)
    env.reset(seed=0)
    total = np.zeros(2)
    for action in random_actions(env.action_space, short_core.num_steps):
        _, rewards, _, _, infos = env.step(action)
        total += rewards
    for k, info in enumerate(infos):
        assert info["episode"]["r"] == pytest.approx(total[k])
        assert info["episode"]["l"] == short_core.num_steps
        assert info["agent_rewards"].shape == (20,)


def test_a_task_makes_its_environments():
    single = make_joint_env("ieee123-mixed-v1", num_agents=5, seed=2, per_agent=True)
    batch = make_joint_vector_env(
        3, num_agents=5, seed=2, reward=RewardConfig(1.0), render_mode="rgb_array"
    )
    for env in (single, batch):
        assert env.core.num_agents == 5
        assert env.core.config.seed == 2
    assert batch.reward.voltage_usd_per_pu == 1.0
    assert batch.render_mode == "rgb_array"
    assert batch.core.batch_size == batch.num_envs == 3
    single.reset(seed=0)
    reward = single.step(single.action_space.sample())[1]
    assert reward.shape == (5,)
    assert reward.dtype == np.float32

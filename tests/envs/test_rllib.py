"""RLlib's environments: the contract, and the same days as in PettingZoo and the core."""

from __future__ import annotations

import importlib
import os
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("ray")

from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.env.vector.sync_vector_multi_agent_env import SyncVectorMultiAgentEnv
from ray.rllib.utils.pre_checks.env import check_multiagent_environments
from ray.tune.registry import ENV_CREATOR, _global_registry

import gradmap
from gradmap.envs.parallel import ParallelFeederEnv
from gradmap.envs.reward import RewardConfig
from gradmap.envs.rllib import (
    JOINT,
    MULTI_AGENT,
    MultiAgentFeederEnv,
    make_joint,
    make_multi_agent_env,
    register,
)
from gradmap.envs.vector import JointEnv, JointVectorEnv
from gradmap.feeders.errors import GradmapError


@pytest.fixture
def env(short_core):
    return MultiAgentFeederEnv(ParallelFeederEnv(short_core))


@pytest.fixture(scope="module")
def year_core(make_core):
    """One agent and all days of the year, cut to two steps."""
    return make_core(1, scenarios=gradmap.make("ieee123-mixed-v1", num_agents=1).scenarios, steps=2)


@pytest.fixture
def make_rllib_env(short_core):
    def make(worker_index=0, split="train"):
        inner = ParallelFeederEnv(short_core)
        return MultiAgentFeederEnv(
            inner, split, rllib_seeds=split == "train", worker_index=worker_index
        )

    return make


def random_actions(names, seed):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, 1, 1).astype(np.float32) for name in names}


def date(reset_result):
    _, infos = reset_result
    (found,) = {info["date"] for info in infos.values()}
    return found


def play(env):
    """Plays the day to its end."""
    is_over = False
    while not is_over:
        is_over = env.step(random_actions(env.possible_agents, 0))[2]["__all__"]


def test_rllib_accepts_it(env):
    check_multiagent_environments(env)
    assert isinstance(env, MultiAgentEnv)
    assert env.num_agents == env.max_num_agents == 20


def test_agents_and_spaces_stand_in_the_order_of_the_core(env, short_core):
    names = list(short_core.agent_names)
    observations, infos = env.reset(seed=0)
    after = env.step(random_actions(names, 0))
    for mapping in (env.possible_agents, env.agents, env.observation_spaces, env.action_spaces):
        assert list(mapping) == names
    for mapping in (observations, infos, after[0], after[1], after[4]):
        assert list(mapping) == names
    for mapping in after[2:4]:
        assert list(mapping) == [*names, "__all__"]
    for name in names:
        assert observations[name] in env.get_observation_space(name)
        assert env.get_action_space(name).shape == (1,)


def test_a_day_ends_by_termination(env):
    env.reset(seed=0)
    for step in range(env.env.core.num_steps):
        _, _, terminations, truncations, _ = env.step(random_actions(env.agents, step))
        is_last = step == env.env.core.num_steps - 1
        assert set(terminations.values()) == {is_last}
        assert set(truncations.values()) == {False}
    with pytest.raises(GradmapError, match="call reset"):
        env.step(random_actions(env.agents, 0))


def test_a_seed_brings_the_days_of_pettingzoo_and_the_core(env, short_core):
    other = ParallelFeederEnv(short_core)
    for round_ in range(3):
        seed = 7 if round_ == 0 else None
        ours, infos = env.reset(seed=seed)
        theirs, _ = other.reset(seed=seed)
        day = short_core.scenarios.date.index(infos["battery_0000"]["date"])
        state = short_core.reset(torch.tensor([day]))
        for step in range(short_core.num_steps):
            expected = short_core.observe(state)[0].numpy()
            assert np.array_equal(np.stack(list(ours.values())), expected)
            assert np.array_equal(np.stack(list(theirs.values())), expected)
            actions = random_actions(env.agents, step)
            flat = torch.tensor(np.concatenate(list(actions.values())))
            state, outcome = short_core.step(state, flat.unsqueeze(0))
            ours, rewards, _, _, infos = env.step(actions)
            theirs, their_rewards, _, _, their_infos = other.step(actions)
            assert rewards == their_rewards
            assert infos == their_infos
            assert [info["p_kw"] for info in infos.values()] == outcome.p_kw[0].tolist()


def test_a_seed_begins_anew_unless_it_is_rllibs(env):
    assert date(env.reset(seed=3)) == date(env.reset(seed=3))


def test_a_seed_that_rllib_repeats_goes_on(make_rllib_env):
    env = make_rllib_env()
    dates = []
    for _ in range(4):  # as `complete_episodes` does, sample by sample
        dates.append(date(env.reset(seed=3)))
        play(env)
    assert len(set(dates)) == 4
    again = make_rllib_env()
    for k in range(4):  # as `truncate_episodes` does
        assert date(again.reset(seed=3 if k == 0 else None)) == dates[k]
        play(again)
    assert date(env.reset(seed=4)) == date(make_rllib_env().reset(seed=4))


def test_a_seed_that_rllib_repeats_begins_anew_on_other_days(make_rllib_env):
    env = make_rllib_env(split="validation")
    assert date(env.reset(seed=3)) == date(env.reset(seed=3))


def test_runners_with_the_same_seed_play_other_days(year_core):
    # Copy 1 of runner 1 and copy 0 of runner 2 are both given the seed plus 2.
    def first_date(worker_index):
        inner = ParallelFeederEnv(year_core)
        env = MultiAgentFeederEnv(inner, rllib_seeds=True, worker_index=worker_index)
        return date(env.reset(seed=2))

    assert first_date(1) == first_date(1)
    assert len({first_date(k) for k in range(6)}) > 3
    assert first_date(0) == date(ParallelFeederEnv(year_core).reset(seed=2))


def test_copies_differ_after_rllibs_check_without_a_seed(year_core):
    inners = [ParallelFeederEnv(year_core) for _ in range(8)]
    copies = [MultiAgentFeederEnv(inner, rllib_seeds=True) for inner in inners]
    for copy in copies:
        check_multiagent_environments(copy)
    assert len({date(copy.reset()) for copy in copies}) > 1


def test_a_seed_given_after_the_check_counts(make_rllib_env):
    env = make_rllib_env()
    check_multiagent_environments(env)
    fresh = make_rllib_env()
    assert date(env.reset(seed=9)) == date(fresh.reset(seed=9))
    play(env)
    play(fresh)
    assert date(env.reset()) == date(fresh.reset())


def test_rllibs_vector_environment_plays_the_days_in_turn(make_rllib_env):
    envs = SyncVectorMultiAgentEnv([make_rllib_env, make_rllib_env])
    assert "autoreset_mode" not in ParallelFeederEnv.metadata
    _, infos = envs.reset(seed=0)
    names = envs.envs[0].possible_agents
    single = make_rllib_env()
    assert infos[0][names[0]]["date"] == date(single.reset(seed=0))
    play(single)
    for _ in range(single.env.core.num_steps):
        envs.step([random_actions(names, 0)] * 2)
    _, rewards, terminations, _, infos = envs.step([{}, {}])
    assert infos[0][names[0]]["date"] == date(single.reset())
    assert set(rewards[0].values()) == {0.0}
    assert terminations[0]["__all__"] is False


def test_days_are_those_of_the_split_unless_options_say(make_rllib_env, short_core):
    env = make_rllib_env(split="test")
    scenarios = short_core.scenarios

    def split(options=None):
        return scenarios.split[scenarios.date.index(date(env.reset(options=options)))]

    assert split() == split({}) == "test"
    assert split({"split": "train"}) == "train"
    assert date(env.reset(options={"day": 4})) == scenarios.date[4]


def test_names_make_the_environments():
    register()  # another test may have ended the ray that the import registered them with
    env = _global_registry.get(ENV_CREATOR, MULTI_AGENT)(
        EnvContext({"num_agents": 3, "reward": RewardConfig(share=0.5)}, worker_index=1)
    )
    assert isinstance(env, MultiAgentFeederEnv)
    assert env.num_agents == 3
    assert env.env.reward.share == 0.5
    assert env.env.core.num_steps == 48
    make = _global_registry.get(ENV_CREATOR, JOINT)
    alone = make(EnvContext({"num_agents": 3}, worker_index=0))
    assert isinstance(alone, JointEnv)
    # As RLlib's runner passes the number of copies.
    batch = make(EnvContext({"num_agents": 3}, worker_index=0) | {"num_envs": 2})
    assert isinstance(batch, JointVectorEnv)
    batch.reset(seed=0)
    assert batch.step(np.zeros((2, 3, 1), np.float32))[1].shape == (2, 3)


def test_the_joint_reward_may_be_the_teams():
    batch = make_joint({"num_agents": 3, "num_envs": 2, "per_agent": False})
    batch.reset(seed=0)
    assert batch.step(np.zeros((2, 3, 1), np.float32))[1].shape == (2,)


def test_an_unknown_key_is_refused():
    with pytest.raises(GradmapError, match=r"unknown agents, colour; expected some of .*split"):
        make_multi_agent_env({"agents": 3, "colour": "red"})
    with pytest.raises(GradmapError, match=r"unknown split; expected some of .*num_envs"):
        make_joint({"split": "test"})


def test_creators_travel_to_other_processes():
    for make in (make_multi_agent_env, make_joint):
        assert pickle.loads(pickle.dumps(make)) is make


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "gradmap.envs.rllib")
    monkeypatch.setitem(sys.modules, "ray.rllib.env.multi_agent_env", None)
    with pytest.raises(GradmapError, match=r"not installed; pip install 'gradmap\[rllib\]'"):
        importlib.import_module("gradmap.envs.rllib")


SCRIPT = """
import numpy as np
import gradmap.envs.rllib
from ray.tune.registry import ENV_CREATOR, _global_registry
env = _global_registry.get(ENV_CREATOR, "gradmap/ieee123-mixed-v1")({"num_agents": 12})
seen, _ = env.reset(seed=0)
names = ",".join(seen)
print(names, [f"{x:.9e}" for x in np.concatenate(list(seen.values()))])
_, rewards, *_ = env.step({name: np.full(1, 0.5, np.float32) for name in set(seen)})
print(",".join(rewards), list(rewards.values()))
"""


def test_nothing_depends_on_the_hashes_of_a_process(tmp_path):
    above = pathlib.Path(gradmap.__file__).parents[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(above), "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (process.communicate()[0] for process in processes)
    assert "battery_0000,battery_0001" in first
    assert first == second

"""The TorchRL environment: its specs, and that it plays the core's days, no more."""

from __future__ import annotations

import dataclasses
import importlib
import sys

import pytest
import torch

from gradmap.envs.constraints import violations
from gradmap.envs.parallel import ParallelFeederEnv
from gradmap.envs.reward import RewardConfig, reward_terms
from gradmap.feeders.errors import GradmapError

pytest.importorskip("torchrl")

from torchrl.envs import RewardSum, TransformedEnv
from torchrl.envs.utils import check_env_specs

from gradmap.envs.torchrl import FeederTorchEnv, make_torchrl_env

GROUPS = {"battery": slice(0, 8), "heat_pump": slice(8, 16), "generator": slice(16, 20)}


@pytest.fixture
def env(short_core):
    return FeederTorchEnv(short_core, 2)


def act(env, joint):
    """A tensordict with the joint action, `[batch, agent]`."""
    td = env.full_action_spec.zero()
    for group, members in GROUPS.items():
        td[group, "action"] = joint[:, members].unsqueeze(-1)
    return td


def played(env, days):
    """Dates of the next `days` resets, one row each."""
    date = env.core.scenarios.date
    rows = []
    for _ in range(days):
        env.reset()
        rows.append([date[day] for day in env.state.days.tolist()])
    return rows


@pytest.mark.parametrize("batch", [1, 3])
def test_specs_hold(short_core, batch):
    env = FeederTorchEnv(short_core, batch)
    assert env.batch_size == (batch,)
    check_env_specs(env, break_when_any_done="both")
    check_env_specs(TransformedEnv(env, RewardSum(reset_keys=["_reset"] * 3)))


def test_specs_hold_without_a_device_type(make_core):
    env = FeederTorchEnv(make_core(2, steps=2))
    assert len(env.group_map) == 2
    check_env_specs(env)


def test_groups_are_the_device_types_in_the_cores_order(env):
    core = env.core
    assert list(env.group_map) == list(GROUPS)
    assert env.group_map == {g: list(core.agent_names[s]) for g, s in GROUPS.items()}
    spec = env.full_action_spec["battery", "action"]
    assert spec.shape == (2, 8, 1)
    assert spec.space.low.eq(-1.0).all()
    assert spec.space.high.eq(1.0).all()


def test_a_day_runs_as_in_the_core(short_core):
    reward = RewardConfig(voltage_usd_per_pu=10.0, share=0.5)
    env = FeederTorchEnv(short_core, 2, reward)
    core, days = short_core, torch.tensor([5, 0])
    state, td = core.reset(days), env.reset(day=[5, 0])
    generator = torch.Generator().manual_seed(0)
    for step in range(core.num_steps):
        seen = torch.cat([td[group, "observation"] for group in GROUPS], dim=1)
        assert torch.equal(seen, core.observe(state))
        assert torch.equal(td["state"], core.observe_global(state))
        joint = 3.0 * torch.rand(2, 20, generator=generator) - 1.5
        state, outcome = core.step(state, joint)
        td = env.step(act(env, joint))["next"]
        found = violations(outcome.flow, core.limits)
        expected = reward_terms(outcome, found, reward).sum(-1, keepdim=True)
        rewards = torch.cat([td[group, "reward"] for group in GROUPS], dim=1)
        assert torch.equal(rewards, expected)
        costs = torch.cat([td[group, "info", "cost_usd"] for group in GROUPS], dim=1)
        assert torch.equal(costs, outcome.cost_usd.sum(-1, keepdim=True))
        for name, value in vars(found).items():
            assert torch.equal(td["info", name], value.sum(-1, keepdim=True).float())
        assert td["info", "converged"].all()
        is_last = step == core.num_steps - 1
        assert td["done"].tolist() == td["terminated"].tolist() == [[is_last]] * 2
    assert "truncated" not in td
    seen = torch.cat([td[group, "observation"] for group in GROUPS], dim=1)
    assert torch.equal(seen, core.observe(state))


def test_a_rollout_goes_on_with_the_next_days(env):
    steps = env.core.num_steps
    data = env.rollout(2 * steps + 1, break_when_any_done=False)
    ends = data["next", "terminated"].squeeze(-1)
    assert ends.nonzero()[:, 1].tolist() == [steps - 1, 2 * steps - 1] * 2
    midnight = data["battery", "observation"][:, 0, 0, :8]
    assert torch.equal(data["battery", "observation"][:, steps, 0, :8], midnight)
    assert env.rollout(100).shape == (2, steps)


def test_a_seed_fixes_the_days(env):
    assert isinstance(env.set_seed(5), int)
    first = played(env, 6)
    env.set_seed(5)
    assert played(env, 6) == first
    assert len({date for row in first for date in row}) > 1


def test_one_day_at_a_time_they_are_those_of_pettingzoo(short_core):
    env, other = FeederTorchEnv(short_core, 1), ParallelFeederEnv(short_core)
    env.set_seed(3)
    expected = [other.reset(seed=3 if k == 0 else None)[1]["battery_0000"] for k in range(9)]
    assert played(env, 9) == [[info["date"]] for info in expected]


def test_days_come_from_the_split(short_core):
    env = FeederTorchEnv(short_core, 2, split="validation")
    expected = set(short_core.days("validation").tolist())
    for _ in range(3):
        env.reset()
        assert set(env.state.days.tolist()) <= expected
    TransformedEnv(env, RewardSum(reset_keys=["_reset"] * 3)).reset(split="test")
    assert set(env.state.days.tolist()) <= set(short_core.days("test").tolist())


def test_no_gradient_is_carried(env):
    env.reset()
    joint = torch.zeros(2, 20, requires_grad=True)
    td = env.step(act(env, joint))["next"]
    assert not td["battery", "reward"].requires_grad
    assert not td["battery", "observation"].requires_grad


def test_a_failed_power_flow_is_reported(make_core, few_days):
    base = few_days.base_p_kw.copy()
    base[0, 1] *= 100.0
    core = make_core(20, scenarios=dataclasses.replace(few_days, base_p_kw=base), steps=3)
    env = FeederTorchEnv(core, 2)
    td, converged = env.reset(day=[0, 1]), []
    for _ in range(3):
        td = env.step(act(env, torch.zeros(2, 20)))["next"]
        converged.append(td["info", "converged"].squeeze(-1).tolist())
        assert td["info", "over_pu"].isfinite().squeeze(-1).tolist() == converged[-1]
        others = td.exclude("info").values(True, True)
        assert all(value.isfinite().all() for value in others)
    assert converged == [[True, True], [False, True], [True, True]]


def test_what_is_wrong_is_refused(env):
    with pytest.raises(GradmapError, match="call reset first"):
        env.step(act(env, torch.zeros(2, 20)))
    td = env.reset()
    with pytest.raises(GradmapError, match="a reset of 1 of 2 days was asked for"):
        env.reset(td.set("_reset", torch.tensor([[True], [False]])))
    joint = torch.zeros(2, 20)
    joint[1, 17] = float("nan")
    with pytest.raises(GradmapError, match="the action of generator_0001 is not finite"):
        env.step(act(env, joint))
    fine = act(env, torch.zeros(2, 20))
    with pytest.raises(GradmapError, match=r"\('battery', 'action'\) is missing"):
        env.step(fine.exclude(("battery", "action")))
    wrong = fine.clone()
    wrong["battery"] = {"action": torch.zeros(2, 7, 1)}
    with pytest.raises(GradmapError, match=r"of shape \(2, 7, 1\), expected .* \(2, 8, 1\)"):
        env.step(wrong)
    # None of them has moved anything.
    assert env.state.step == 0
    for _ in range(env.core.num_steps):
        env.step(fine)
    with pytest.raises(GradmapError, match="the day is over; call reset"):
        env.step(fine)


def test_wrong_settings_are_refused(short_core, env):
    with pytest.raises(GradmapError, match="unknown split 'tset'"):
        FeederTorchEnv(short_core, split="tset")
    with pytest.raises(GradmapError, match="expected 1 or more"):
        FeederTorchEnv(short_core, 0)
    with pytest.raises(GradmapError, match="cannot move to meta; make it there"):
        env.to("meta")
    assert env.to("cpu") is env


def test_it_is_made_by_the_name_of_a_task():
    env = make_torchrl_env(num_agents=5, batch_size=2, seed=1)
    assert env.core.num_agents == 5
    assert env.core.config.seed == 1
    assert env.rollout(2).shape == (2, 2)
    with pytest.raises(GradmapError, match="unknown task"):
        make_torchrl_env("ieee123")


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "gradmap.envs.torchrl")
    monkeypatch.setitem(sys.modules, "torchrl.data", None)
    with pytest.raises(GradmapError, match=r"TorchRL is not installed; .*'gradmap\[torchrl\]'"):
        importlib.import_module("gradmap.envs.torchrl")

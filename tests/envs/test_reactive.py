"""Reactive power as a free choice, in the core and in every adapter."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from gradmap.baselines.foresight import OpenLoopPolicy
from gradmap.envs.config import AgentMix, TaskConfig
from gradmap.envs.devices.day_law import Feedback
from gradmap.envs.joint import JointEnv
from gradmap.envs.joint_batch import JointVectorEnv
from gradmap.envs.observations import FEATURES
from gradmap.envs.parallel import ParallelFeederEnv
from gradmap.experiments.evaluate import play
from gradmap.experiments.replay import replay
from gradmap.feeders.errors import GradmapError

FREE = {"mix": AgentMix(4, 4, 2, 4, 6), "reactive": "free"}
BATTERIES, SUNNY = slice(0, 4), slice(14, 20)


@pytest.fixture(scope="module")
def free(make_core):
    """Until the afternoon: cars leave, the sun comes out."""
    return make_core(20, steps=30, **FREE)


@pytest.fixture(scope="module")
def full(make_core):
    """Inverters that rated power fills."""
    return make_core(20, steps=30, inverter_kva_per_kw=1.0, **FREE)


def draw(core, batch, size=1.0, seed=3):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, core.num_steps, *core.action_shape)
    return size * (2.0 * torch.rand(shape, generator=generator) - 1.0)


def test_the_published_task_is_as_it_was(core):
    assert core.num_actions == 1
    assert core.action_shape == (20,)
    assert core.inverters is None
    assert not {"reactive", "inverter_kva_per_kw"} & set(TaskConfig().identity())
    active = torch.zeros(2, 20)
    assert core.whole_action(active, active + 1.0) is active


def test_the_task_says_so():
    task = dataclasses.replace(TaskConfig(), reactive="free", inverter_kva_per_kw=1.2)
    assert task.identity()["reactive"] == "free"
    assert task.identity()["inverter_kva_per_kw"] == 1.2


def test_faults_are_named_together():
    with pytest.raises(GradmapError) as caught:
        dataclasses.replace(
            TaskConfig(), reactive="free", inverter_kva_per_kw=0.9, battery_kvar_per_kw=0.3
        )
    message = str(caught.value)
    assert "inverter_kva_per_kw is 0.9, expected 1 or more" in message
    assert "battery_kvar_per_kw is 0.3, but reactive is 'free'" in message
    with pytest.raises(GradmapError, match="reactive is 'some', expected 'rule' or 'free'"):
        dataclasses.replace(TaskConfig(), reactive="some")


@pytest.mark.parametrize("size", [0.6, 1.0, 3.0])
def test_no_action_leaves_the_circle(free, full, size):
    for core in (free, full):
        days, action = core.days("train"), draw(core, 4, size)
        done = core.device_days(days).play(action)
        has_one = core.inverters.kva > 0
        apparent = (done.p_kw.square() + done.q_kvar.square()).sqrt()[..., has_one]
        kva = core.inverters.kva[has_one]
        assert (apparent <= kva * (1.0 + 1e-6)).all()
        assert (apparent > 0.999 * kva).any() or size < 1.0


def test_active_power_is_that_of_the_first_number(free, make_core):
    by_rule = make_core(20, steps=30, mix=FREE["mix"])
    days, action = free.days("train")[:2], draw(free, 2)
    one, two = by_rule.run_open_loop(days, action[..., 0]), free.run_open_loop(days, action)
    assert torch.equal(one.p_kw, two.p_kw)
    assert torch.equal(one.cost_usd, two.cost_usd)
    other = slice(4, 14)  # heat pumps, generators, cars
    assert torch.equal(one.q_kvar[..., other], two.q_kvar[..., other])
    assert not one.q_kvar[..., BATTERIES].any()
    assert two.q_kvar[..., BATTERIES].abs().min() > 0


def test_it_is_drawn_above_zero_and_fed_below_and_at_night_too(free):
    days = free.days("train")[:1]
    active = torch.zeros(1, free.num_steps, 20)
    for sign in (1.0, -1.0):
        action = free.whole_action(active, sign * torch.ones_like(active))
        q_kvar = free.run_open_loop(days, action).q_kvar
        expected = sign * free.inverters.kva[SUNNY]  # at midnight the circle is all theirs
        torch.testing.assert_close(q_kvar[0, 0, SUNNY], expected)
        assert (sign * q_kvar[..., SUNNY] > 0).all()


def test_open_loop_is_closed_loop_and_the_scan(free):
    days, action = free.days("train")[:2], draw(free, 2, 1.3)
    whole, scanned = free.run_open_loop(days, action), free.device_days(days).play(action)
    state = free.reset(days)
    for step in range(free.num_steps):
        state, outcome = free.step(state, action[:, step])
        assert torch.equal(outcome.q_kvar, whole.q_kvar[:, step])
    torch.testing.assert_close(scanned.p_kw, whole.p_kw, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(scanned.q_kvar, whole.q_kvar, rtol=1e-4, atol=1e-1)


@pytest.mark.parametrize("size", [0.3, 1.0])
def test_the_scan_answers_to_own_states_with_both_numbers(free, size):
    """Values and gradients of the fleets' own steps, the feedback in the loop."""
    days, action = free.days("train")[:2], draw(free, 2, size)
    seen = 0.2 * draw(free, 2, seed=4)[..., 0]
    feedback = Feedback(0.7 * draw(free, 2, seed=5), seen)
    weight = torch.linspace(-1.0, 1.0, free.num_steps).view(1, -1, 1)
    values, slopes = [], []
    for way in ("scan", "steps"):
        leaf = action.clone().requires_grad_(True)
        if way == "scan":
            done = free.device_days(days).play(leaf, feedback)
            p_kw, q_kvar = done.p_kw, done.q_kvar
        else:
            state, steps = free.reset(days), []
            for step in range(free.num_steps):
                own = free.observe(state)[..., FEATURES.index("own_state")]
                added = feedback.gain[:, step] * (own - seen[:, step]).unsqueeze(-1)
                state, outcome = free.step(state, leaf[:, step] + added)
                steps.append(outcome)
            p_kw = torch.stack([o.p_kw for o in steps], 1)
            q_kvar = torch.stack([o.q_kvar for o in steps], 1)
        values.append((p_kw.detach(), q_kvar.detach()))
        slopes.append(torch.autograd.grad(((p_kw + 0.5 * q_kvar) * weight).sum(), leaf)[0])
    for a, b in zip(*values, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-3 * b.abs().max().item() / 10)
    # At a bound reached exactly either side's derivative is one: a few in a thousand.
    is_apart = (slopes[0] - slopes[1]).abs() > 1e-3 * slopes[1].abs().max()
    assert is_apart.double().mean() < 5e-3


@pytest.fixture
def double(monkeypatch):
    """Float64, and power flows solved to rounding."""
    import functools

    from gradmap.feeders.powerflow.solve import solve_power_flow

    monkeypatch.setattr(
        "gradmap.envs.core.solve_power_flow",
        functools.partial(solve_power_flow, tolerance_pu=1e-12),
    )
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
def test_the_gradient_is_the_difference_quotient_near_a_full_inverter_too(make_core):
    """Two steps of batteries on the verge of rated power, whose inverters that fills."""
    core = make_core(
        4, steps=2, mix=AgentMix(4, 0, 0), reactive="free", inverter_kva_per_kw=1.0, battery_kw=2.0
    )
    days = core.days("train")[:1]
    active = torch.tensor([0.999, -0.995, 0.5, -0.97])
    reactive = torch.tensor([0.6, -0.5, 0.7, 0.4])
    both = torch.stack((active, reactive), -1).double()
    start = torch.stack((both, 0.99 * both)).unsqueeze(1)

    def total(action):
        state, value = core.reset(days), torch.zeros(())
        for now in action:
            state, outcome = core.step(state, now)
            v_pu = outcome.flow.v_magnitude_pu
            value = value + outcome.cost_usd.sum()
            value = value + (1e3 * v_pu * torch.linspace(-1.0, 1.0, v_pu.shape[-1])).sum()
        return value

    leaf = start.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(total(leaf), leaf)
    assert slope.isfinite().all()
    assert (slope[..., 1].abs() > 0.1).all()
    for place in np.ndindex(*start.shape):
        ends = []
        for sign in (1.0, -1.0):
            moved = start.clone()
            moved[place] += sign * 1e-5
            ends.append(total(moved).item())
        quotient = (ends[0] - ends[1]) / 2e-5
        # Rounding is 1e-12 of some 1e5 over the step; curvature at the rim the rest.
        assert slope[place].item() == pytest.approx(quotient, rel=1e-4, abs=2e-2), place


def test_opendss_finds_the_same_voltages(make_core):
    core = make_core(50, mix=AgentMix(4, 1, 0, 0, 4), reactive="free")
    days = core.days("test")[:1]
    action = draw(core, 1, 0.5)
    action[..., 1] *= 2.0
    played = play(core, OpenLoopPolicy(days, action), days)
    reference = replay(core, played)
    assert played.physics.converged.all()
    assert reference.converged.all()
    assert np.abs(played.q_kvar).max() > 50.0
    assert np.abs(played.physics.v_pu - reference.v_pu).max() < 1e-6


def test_another_shape_is_refused(free):
    state = free.reset(free.days("train")[:2])
    with pytest.raises(GradmapError, match=r"expected \[batch, agent, number\] = \(2, 20, 2\)"):
        free.step(state, torch.zeros(2, 20))
    with pytest.raises(GradmapError, match=r"\[batch, time, agent, number\] = \(2, 30, 20, 2\)"):
        free.run_open_loop(state.days, torch.zeros(2, 30, 20))


def test_pettingzoo_has_two_numbers(free):
    env = ParallelFeederEnv(free)
    env.reset(seed=0)
    assert all(env.action_space(name).shape == (2,) for name in env.possible_agents)
    action = {name: np.array([0.0, 1.0], np.float32) for name in env.agents}
    _, rewards, _, _, infos = env.step(action)
    assert np.isfinite(list(rewards.values())).all()
    found = [infos[name]["q_kvar"] for name in env.possible_agents]
    assert found[:4] == pytest.approx(free.inverters.kva[:4].tolist())
    with pytest.raises(GradmapError, match=r"shape \(2,\) each"):
        env.step({name: np.zeros(1, np.float32) for name in env.agents})
    action[env.agents[3]] = np.array([0.0, np.nan], np.float32)
    with pytest.raises(GradmapError, match=f"action of {env.agents[3]} is not finite"):
        env.step(action)


def test_pettingzoo_is_the_core(free):
    env = ParallelFeederEnv(free)
    env.reset(options={"day": 0})
    action = draw(free, 1)[0, 0]
    env.step(dict(zip(env.agents, action.numpy(), strict=True)))
    state, _ = free.step(free.reset(torch.tensor([0])), action.unsqueeze(0))
    assert torch.equal(env._state.v_measured_pu, state.v_measured_pu)


@pytest.mark.parametrize("make", [lambda core: JointVectorEnv(core, 2), JointEnv])
def test_gymnasium_has_two_numbers(free, make):
    env = make(free)
    env.reset(seed=0)
    assert env.action_space.shape[-2:] == (20, 2)
    env.action_space.seed(0)
    observations, rewards, *_ = env.step(env.action_space.sample())
    assert observations["agents"].shape[-2:] == (20, free.num_features)
    assert np.isfinite(rewards).all()


def test_torchrl_has_two_numbers(free):
    pytest.importorskip("torchrl")
    from torchrl.envs.utils import check_env_specs

    from gradmap.envs.torchrl import FeederTorchEnv

    env = FeederTorchEnv(free, 2)
    env.set_seed(0)
    check_env_specs(env)
    step = env.rand_step(env.reset())
    assert step["battery", "action"].shape == (2, 4, 2)
    joint = env._joint_action(step)
    for group, members in env._members.items():
        assert torch.equal(joint[:, members], step[group, "action"])


def test_rllib_has_two_numbers(free):
    pytest.importorskip("ray")
    from gradmap.envs.rllib import MultiAgentFeederEnv

    env = MultiAgentFeederEnv(ParallelFeederEnv(free))
    env.reset(seed=0)
    space = env.action_spaces["battery_0000"]
    assert space.shape == (2,)
    _, rewards, _, _, _ = env.step({name: space.sample() for name in env.agents})
    assert len(rewards) == 20


def test_taps_alive_take_it_too(make_core):
    core = make_core(20, steps=3, mix=AgentMix(6, 4, 2), reactive="free", regulation="quasi-static")
    outcome = core.run_open_loop(core.days("train")[:2], draw(core, 2))
    assert outcome.is_usable.all()
    assert outcome.q_kvar.shape == (2, 3, 20)

"""A task whose taps are alive: state, gradient, infos, evaluation and replay."""

from __future__ import annotations

import dataclasses
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch

import gradmap
from gradmap.algorithms.day_model import BUSY, DayModel, linear_feeder, own_state_gain
from gradmap.algorithms.networks import Actors
from gradmap.algorithms.rollout import rollout
from gradmap.baselines.idle import IdlePolicy
from gradmap.envs.catalog import TASKS
from gradmap.envs.config import TaskConfig
from gradmap.envs.core import Core
from gradmap.envs.fleet import build_agents
from gradmap.envs.parallel import ParallelFeederEnv
from gradmap.envs.registration import REGULATED_ID
from gradmap.experiments.config_load import load_compare_config, load_run_config
from gradmap.experiments.evaluate import judge, play
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.powerflow.solve import solve_power_flow

CONFIG = dataclasses.replace(TASKS["ieee123-regulated-v1"], num_agents=20)


@pytest.fixture(scope="module")
def alive(task_feeder, few_days):
    """The regulated task, 20 agents, the few days of the tests."""
    agents = build_agents(CONFIG, task_feeder)
    return Core(CONFIG, task_feeder, few_days, agents, batch_size=2)


def some_actions(core, batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2.0 * torch.rand(batch, core.num_steps, core.num_agents, generator=generator) - 1.0


def test_the_published_task_stays_fixed(task_feeder, few_days):
    assert TASKS["ieee123-mixed-v1"].regulation == "fixed"
    config = TaskConfig(num_agents=20)
    core = Core(config, task_feeder, few_days, build_agents(config, task_feeder))
    assert core.regulation is None
    state = core.reset(core.days("train")[:2])
    assert state.taps is None
    after, outcome = core.step(state, torch.zeros(2, 20))
    assert after.taps is None
    assert outcome.tap_operations.shape == (2, 0)
    assert outcome.flow.tapped is None
    assert "regulation" not in config.identity()
    assert CONFIG.identity()["regulation"] == "quasi-static"


def test_an_unknown_regulation_is_refused():
    with pytest.raises(GradmapError, match="regulation is 'daily', expected 'fixed' or 'quasi"):
        TaskConfig(regulation="daily")  # type: ignore[arg-type]


def test_taps_move_once_a_step_and_are_counted(alive):
    days = alive.days("train")[:2]
    state, taps, moved = alive.reset(days), [], []
    assert state.taps.shape == (2, 7)
    first = state.taps
    for action in some_actions(alive, 2).unbind(1):
        state, outcome = alive.step(state, action)
        assert torch.equal(state.taps, outcome.flow.taps)
        taps.append(state.taps)
        moved.append(outcome.tap_operations)
    path = torch.stack([first, *taps])
    shortest = path.diff(dim=0).abs()
    counted = torch.stack(moved)
    assert bool((counted >= shortest).all())
    assert int(counted.sum()) > 20
    again = alive.run_open_loop(days, some_actions(alive, 2))
    assert torch.equal(again.flow.taps, torch.stack(taps, dim=1))
    assert torch.equal(again.tap_operations, torch.stack(moved, dim=1))


def test_the_state_after_a_step_is_settled(alive):
    days = alive.days("train")[:2]
    state = alive.reset(days)
    _, outcome = alive.step(state, torch.ones(2, 20))
    relay = alive.regulation.relay_v(outcome.flow)
    r = alive.feeder.regulators
    out = np.abs(relay.numpy() - r.vreg_v) > 0.5 * r.band_v + 1e-4
    at_end = np.abs(outcome.flow.taps.numpy()) == 16
    assert not (out & ~at_end).any()


def test_the_gradient_takes_the_taps_as_given(alive):
    days = alive.days("train")[:2]
    state = alive.reset(days)
    action = torch.full((2, 20), 0.3, requires_grad=True)
    after, outcome = alive.step(state, action)
    weight = torch.linspace(0.0, 1.0, outcome.flow.v_magnitude_pu.shape[-1])
    value = (outcome.flow.v_magnitude_pu * weight).sum() + outcome.flow.losses_kw.sum()
    (gradient,) = torch.autograd.grad(value, action)
    # The same powers at the same taps, given from outside.
    power = alive._step_devices(state, action)[1]
    p_kw, q_kvar = power.p_kw, power.q_kvar
    steps = torch.tensor(0)
    device_p = alive.sum_by_terminal(p_kw) - alive._pv_kw[days, steps]
    p = torch.cat((alive._base_p_kw[days, steps], device_p), -1)
    q = torch.cat((alive._base_q_kvar[days, steps], alive.sum_by_terminal(q_kvar)), -1)
    flow = solve_power_flow(alive.network, p, q, taps=after.taps)
    other = (flow.v_magnitude_pu * weight).sum() + flow.losses_kw.sum()
    (expected,) = torch.autograd.grad(other, action)
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-8)


def test_asking_for_a_gradient_moves_no_value(alive):
    days, actions = alive.days("train")[:2], some_actions(alive, 2)
    with torch.no_grad():
        plain = alive.run_open_loop(days, actions)
    taped = alive.run_open_loop(days, actions.clone().requires_grad_())
    assert torch.equal(plain.flow.taps, taped.flow.taps)
    assert torch.equal(plain.flow.u, taped.flow.u.detach())
    assert torch.equal(plain.cost_usd, taped.cost_usd.detach())


def test_the_gradient_of_a_day_reaches_every_step(alive):
    actions = some_actions(alive, 1).requires_grad_()
    outcome = alive.run_open_loop(alive.days("train")[:1], actions)
    (gradient,) = torch.autograd.grad(
        outcome.flow.losses_kw.sum() + outcome.cost_usd.sum(), actions
    )
    assert bool(gradient.isfinite().all())
    assert bool((gradient.abs().amax((0, 2)) > 0).all())


def test_the_learners_model_of_a_day_agrees_with_the_rollout(alive):
    generator = torch.Generator().manual_seed(0)
    actors = Actors(alive.num_agents, alive.num_features, (8,), generator)
    done = rollout(alive, actors, alive.days("train")[:3])
    gain = own_state_gain(actors, done)
    model = DayModel(alive, linear_feeder(alive), done, gain)
    rows = torch.tensor([2, 0])
    found = model.play(done.action.detach()[rows], rows)
    size = done.outcome.flow.v_magnitude_pu[rows][..., alive.limits.monitored]
    torch.testing.assert_close(found.v_pu, size.float(), rtol=0.0, atol=1e-6)
    loading = done.outcome.flow.branch_loading
    is_busy = loading.amax((0, 1)) >= BUSY
    loading = torch.where(is_busy, loading[rows], 0.0)
    torch.testing.assert_close(found.loading, loading.float(), rtol=1e-5, atol=1e-5)


def test_an_evaluation_counts_operations_and_replays_the_taps(alive):
    played = play(alive, IdlePolicy(alive), alive.days("test")[:2])
    assert played.taps.shape == (2, alive.num_steps, 7)
    assert len(np.unique(played.taps.reshape(-1, 7), axis=0)) > 3
    ours, theirs = (judge(alive, played, engine) for engine in ("torch", "opendss"))
    for found in (ours, theirs):
        assert found.metrics["tap_operations_per_day"] > 5
        assert found.metrics["capacitor_operations_per_day"] == 0
    np.testing.assert_allclose(ours.v_pu, theirs.v_pu, rtol=0.0, atol=2e-6)
    for name in ("losses_kwh_per_day", "source_kwh_per_day", "loading_max_pct"):
        assert ours.metrics[name] == pytest.approx(theirs.metrics[name], rel=1e-4)


def test_infos_hold_taps_and_operations(alive):
    env = ParallelFeederEnv(alive)
    env.reset(seed=0)
    action = {name: np.zeros(1, np.float32) for name in env.agents}
    infos = env.step(action)[4]
    info = infos[env.possible_agents[0]]
    assert set(info["taps"]) == set(alive.feeder.regulators.control)
    assert all(isinstance(tap, int) for tap in info["taps"].values())
    assert isinstance(info["tap_operations"], int)
    assert info["capacitors"] == dict.fromkeys(alive.feeder.controls.capacitors.name, True)
    assert info["capacitor_operations"] == 0


def test_a_failed_power_flow_holds_the_taps(alive):
    state = alive.reset(alive.days("train")[:2])
    base = alive._base_p_kw.clone()
    try:
        alive._base_p_kw[state.days[0], 0] = torch.nan
        after, outcome = alive.step(state, torch.zeros(2, 20))
    finally:
        alive._base_p_kw.copy_(base)
    assert after.is_failed.tolist() == [True, False]
    assert torch.equal(after.taps[0], state.taps[0])
    assert int(outcome.tap_operations[0].sum()) == 0


def test_the_task_is_made_by_name():
    core = gradmap.make("ieee123-regulated-v1", num_agents=5)
    assert core.config.regulation == "quasi-static"
    assert core.regulation is not None
    assert core.regulation.held == ()


def test_gymnasium_knows_it():
    env = gymnasium.make(REGULATED_ID, num_agents=5)
    assert env.unwrapped.core.config.name == "ieee123-regulated-v1"
    env.reset(seed=0)
    reward = env.step(env.action_space.sample())[1]
    assert np.isfinite(reward)


@pytest.mark.parametrize("load", [partial(load_run_config, "gradmap"), load_compare_config])
def test_its_name_chooses_all_of_it(load):
    source = {"source": "smoke"}
    assert load(**source).task.regulation == "fixed"
    config = load(**source, task="ieee123-regulated-v1")
    assert config.task == dataclasses.replace(CONFIG, num_agents=20)

"""A task with cars and inverters: features, and that the published task has none of it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gradmap.envs.config import AgentMix, TaskConfig
from gradmap.envs.kinds import KINDS
from gradmap.envs.observations import FEATURES, MORE_FEATURES
from gradmap.feeders.errors import GradmapError


@pytest.fixture(scope="module")
def all_kinds(make_core):
    return make_core(20, mix=AgentMix(4, 4, 2, 5, 5), pv_kvar_per_kw=0.44)


def noon(core):
    days = core.days("train")
    return days, dataclasses.replace(core.reset(days), step=24)


def test_there_is_every_kind(all_kinds):
    assert tuple(fleet.kind for fleet in all_kinds.fleets) == KINDS
    assert all_kinds.num_features == len(FEATURES) + len(MORE_FEATURES)


def test_the_published_task_has_no_more_features(core):
    assert core.num_features == len(FEATURES)
    assert core.observe(core.reset(core.days("train"))).shape[-1] == len(FEATURES)


def test_what_comes_first_is_as_in_the_published_task(all_kinds):
    days, state = noon(all_kinds)
    seen = all_kinds.observe(state)
    assert seen.shape == (len(days), 20, all_kinds.num_features)
    more = seen[..., len(FEATURES) :]
    assert not more[:, :10].any()  # batteries, heat pumps, generators
    assert not more[:, 10:15, 0].any()  # cars are away at noon
    sun = more[:, 15:, 0]
    assert torch.equal(sun, sun[:, :1].expand_as(sun))
    assert (sun > 0).all()
    assert (sun <= 1).all()
    assert not more[:, 15:, 1].any()


def test_a_day_is_usable_and_open_loop_is_closed_loop(all_kinds):
    days = all_kinds.days("train")[:2]
    generator = torch.Generator().manual_seed(2)
    action = 2 * torch.rand(2, all_kinds.num_steps, 20, generator=generator) - 1
    whole = all_kinds.run_open_loop(days, action)
    assert whole.is_usable.all()
    state = all_kinds.reset(days)
    for step in range(all_kinds.num_steps):
        state, outcome = all_kinds.step(state, action[:, step])
        assert torch.equal(outcome.p_kw, whole.p_kw[:, step])
        assert torch.equal(outcome.q_kvar, whole.q_kvar[:, step])
    assert (whole.q_kvar[..., 15:] > 0).any()


def test_no_sun_no_inverters(make_core, few_days):
    dark = dataclasses.replace(few_days, pv_kw=0.0 * few_days.pv_kw)
    with pytest.raises(GradmapError, match="no sun for PV inverters"):
        make_core(4, scenarios=dark, mix=AgentMix(0, 0, 0, 0, 1))
    assert make_core(4, scenarios=dark, mix=AgentMix(0, 0, 0, 1, 0)).num_agents == 4


def test_the_agents_draw_one_fleet_whatever_other_kinds_there_are(make_core):
    """The draws of the published kinds come first, as ever."""
    alone = make_core(10, mix=AgentMix(6, 4, 0))
    beside = make_core(20, mix=AgentMix(6, 4, 0, 5, 5))
    ratio = beside.fleets[0].p_max_kw / alone.fleets[0].p_max_kw
    assert torch.allclose(ratio, ratio[0].expand_as(ratio))
    assert torch.equal(alone.agent_terminal[:10], beside.agent_terminal[:10])


def test_the_task_is_identified_as_before():
    """Or every checkpoint of the published task would be of another one."""
    identity = TaskConfig().identity()
    assert set(identity["mix"]) == {"battery", "heat_pump", "generator"}
    assert not {"placement", "difficulty", "ev_charger_kw", "pv_kvar_per_kw"} & set(identity)
    other = dataclasses.replace(TaskConfig(), mix=AgentMix(1, 1, 1, 1), difficulty=2.0)
    assert other.identity()["mix"]["ev_charger"] == 1
    assert other.identity()["difficulty"] == 2.0

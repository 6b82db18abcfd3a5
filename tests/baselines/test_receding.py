"""Receding horizon: knows the past and what is published, plans, keeps the limits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from gradmap.algorithms.rollout import rollout
from gradmap.baselines.receding import RecedingHorizon
from gradmap.baselines.receding_config import RecedingConfig
from gradmap.baselines.receding_grid import next_choice
from gradmap.baselines.rules import RulesPolicy
from gradmap.envs.constraints import violations
from gradmap.envs.core import Core
from gradmap.envs.fleet import Agents
from gradmap.feeders.errors import GradmapError

FAST = RecedingConfig(horizon=8, every=4, rounds=1, tolerance=1e-3)


def depth(core, outcome):
    found = violations(outcome.flow, core.limits)
    return (found.over_pu.sum() + found.under_pu.sum()).item()


def with_scenarios(core, scenarios):
    agents = Agents(core.fleets, core.agent_names, core.agent_kinds, core.agent_terminal)
    refill = core.refill_usd_per_kwh
    return Core(core.config, core.feeder, scenarios, agents, refill_usd_per_kwh=refill)


@pytest.fixture(scope="module")
def day(core):
    """A day in summer under the controller."""
    days = core.days("validation")[1:]
    return rollout(core, RecedingHorizon(core, RecedingConfig(every=2, tolerance=1e-3)), days)


def test_it_is_cheaper_than_rules_and_keeps_the_limits_better(core, day):
    rules = rollout(core, RulesPolicy(core), day.days)
    assert day.outcome.is_usable.all()
    assert day.outcome.cost_usd.sum() < rules.outcome.cost_usd.sum()
    assert depth(core, day.outcome) <= depth(core, rules.outcome) + 1e-3


def test_actions_are_in_bounds_and_devices_follow_them(core, day):
    assert day.action.dtype == torch.float32
    assert day.action.abs().max() <= 1.0
    rated_kw = torch.cat([fleet.p_max_kw for fleet in core.fleets])
    assert (day.outcome.clipped_kw / rated_kw).max() < 1e-3


def test_the_future_of_the_day_changes_nothing_until_it_comes(core):
    """Load, sun and weather of a test day are noise from step 9 on; the tariff is published."""
    days, seam = core.days("test")[:1], 9
    noise = np.random.default_rng(0)
    changed = {}
    for name in ("base_p_kw", "base_q_kvar", "pv_kw", "temp_outdoor_degc"):
        values = getattr(core.scenarios, name).copy()
        future = values[int(days), seam:]
        values[int(days), seam:] = future * noise.uniform(0.5, 1.5, future.shape) + 1.0
        changed[name] = values
    other = with_scenarios(core, dataclasses.replace(core.scenarios, **changed))
    usual, found = (
        roll_steps(each, RecedingHorizon(each, FAST), days, seam + 4) for each in (core, other)
    )
    # Initial indoor temperatures hang on the day's mean temperature: take the usual day's.
    assert all(torch.equal(a, b) for a, b in zip(usual[:seam], found[:seam], strict=True))
    assert not torch.equal(usual[-1], found[-1])


def roll_steps(core, policy, days, num):
    """Actions of the first steps; begins with devices at fixed states."""
    state = core.reset(days)
    fixed = tuple(
        fleet.initial_state(torch.full((1, fleet.num_devices), 0.4), torch.tensor([[8.0]]))
        for fleet in core.fleets
    )
    state = dataclasses.replace(state, devices=fixed)
    policy.reset(days)
    actions = []
    for _ in range(num):
        actions.append(policy.act(core.observe(state)))
        state, _ = core.step(state, actions[-1])
    return actions


def test_days_of_a_batch_do_not_touch_each_other(core):
    days = core.days("train")[:2]
    together = rollout(core, RecedingHorizon(core, FAST), days).outcome
    alone = rollout(core, RecedingHorizon(core, FAST), days[1:]).outcome
    cost = alone.cost_usd.sum().item()
    assert together.cost_usd[1].sum().item() == pytest.approx(cost, rel=1e-2)


def test_a_second_batch_begins_anew(core):
    policy, days = RecedingHorizon(core, FAST), core.days("train")[:1]
    first = rollout(core, policy, days).action
    assert torch.equal(rollout(core, policy, days).action, first)


def test_limits_that_cannot_be_kept_are_no_crash(make_core):
    narrow = make_core(20, steps=8, vmin_pu=0.999, vmax_pu=1.001)
    done = rollout(narrow, RecedingHorizon(narrow, FAST), narrow.days("train")[:1])
    assert done.action.isfinite().all()
    assert done.outcome.is_usable.all()


def test_devices_that_do_not_obey_show_as_an_offset(core):
    """Half of the power told is not drawn: the model's voltages move to those measured."""
    policy, days = RecedingHorizon(core, FAST), core.days("validation")[:1]
    state = core.reset(days)
    policy.reset(days)
    policy.act(core.observe(state))
    disobeyed, _ = core.step(state, torch.zeros(1, core.num_agents))
    policy.act(core.observe(disobeyed))
    assert policy._grid._offset.abs().max() > 1e-4

    obeyed = RecedingHorizon(core, FAST)
    obeyed.reset(days)
    state, _ = core.step(state, obeyed.act(core.observe(state)))
    obeyed.act(core.observe(state))
    # What is left is base load at terminals that nobody measures.
    assert obeyed._grid._offset.abs().max() < policy._grid._offset.abs().max()


@pytest.mark.parametrize("mix", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_it_serves_any_mix(make_core, mix):
    from gradmap.envs.config import AgentMix

    core = make_core(4, steps=3, mix=AgentMix(*mix))
    done = rollout(core, RecedingHorizon(core, FAST), core.days("train")[:2])
    assert done.action.shape == (2, 3, 4)
    assert done.action.isfinite().all()


def test_rows_that_bind_are_carried_on():
    price = torch.zeros(1, 4, 6, dtype=torch.float64)
    price[0, 1, 2], price[0, 2, 4], price[0, 2, 5], price[0, 3, 0] = 50.0, -70.0, 20.0, 0.1

    @dataclasses.dataclass
    class Found:
        price_usd: torch.Tensor

    choice = next_choice(Found(price), 1, 4)
    assert choice.limit.tolist() == [[[2, -1], [4, 5], [-1, -1], [-1, -1]]]
    assert choice.is_high.tolist() == [[[True, False], [False, True], [False] * 2, [False] * 2]]


def test_settings_out_of_range_are_named_at_once():
    with pytest.raises(GradmapError) as caught:
        RecedingConfig(horizon=0, every=2, margin_pu=-0.1, zones=-1, tolerance=0.0)
    message = str(caught.value)
    assert all(
        name in message
        for name in ("horizon is 0", "every is 2", "margin_pu", "zones is -1", "tolerance is 0")
    )

"""A power flow without a solution is flagged and counted, and harms nobody else."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gradmap.envs.constraints import violations
from gradmap.envs.outcome import stack_outcomes
from gradmap.envs.reward import REWARD_TERMS, RewardConfig, reward_terms

BAD_DAY, BAD_STEP = 1, 2


@pytest.fixture(scope="module")
def broken_core(make_core, few_days):
    """A core whose second day asks for a hundred times its load at one step."""
    base = few_days.base_p_kw.copy()
    base[BAD_DAY, BAD_STEP] *= 100.0
    return make_core(scenarios=dataclasses.replace(few_days, base_p_kw=base), steps=6)


def run(core, actions, days):
    state, outcomes = core.reset(days), []
    for action in actions.unbind(1):
        state, outcome = core.step(state, action)
        outcomes.append(outcome)
    return state, stack_outcomes(outcomes)


@pytest.fixture
def days(broken_core):
    return broken_core.days("train")


@pytest.fixture
def actions(broken_core):
    generator = torch.Generator().manual_seed(0)
    return 2.0 * torch.rand(4, 6, broken_core.num_agents, generator=generator) - 1.0


def test_the_failure_is_flagged_from_its_step_on(broken_core, days, actions):
    state, outcome = run(broken_core, actions, days)
    assert (~outcome.flow.converged).nonzero().tolist() == [[BAD_DAY, BAD_STEP]]
    assert (~outcome.is_usable).nonzero().tolist() == [[BAD_DAY, t] for t in range(BAD_STEP, 6)]
    assert state.is_failed.nonzero().tolist() == [[BAD_DAY]]
    assert outcome.flow.v_magnitude_pu[BAD_DAY, BAD_STEP].isnan().all()
    assert outcome.flow.branch_loading[BAD_DAY, BAD_STEP].isnan().all()
    assert outcome.flow.iterations[BAD_DAY, BAD_STEP] > outcome.flow.iterations[0].max()


def test_open_loop_flags_the_same(broken_core, days, actions):
    _, stepped = run(broken_core, actions, days)
    at_once = broken_core.run_open_loop(days, actions)
    assert torch.equal(at_once.is_usable, stepped.is_usable)
    assert torch.equal(at_once.flow.converged, stepped.flow.converged)


def test_the_other_days_are_what_they_are_without_it(broken_core, days, actions):
    _, outcome = run(broken_core, actions, days)
    rest = torch.tensor([day for day in range(4) if day != BAD_DAY])
    _, alone = run(broken_core, actions[rest], days[rest])
    assert torch.equal(outcome.cost_usd[rest], alone.cost_usd)
    torch.testing.assert_close(
        outcome.flow.v_magnitude_pu[rest], alone.flow.v_magnitude_pu, rtol=0.0, atol=1e-7
    )


def test_the_last_good_measurement_is_kept(broken_core, days, actions):
    state = broken_core.reset(days)
    for t in range(BAD_STEP):
        state, _ = broken_core.step(state, actions[:, t])
    after, _ = broken_core.step(state, actions[:, BAD_STEP])
    assert torch.equal(after.v_measured_pu[BAD_DAY], state.v_measured_pu[BAD_DAY])
    assert not torch.equal(after.v_measured_pu[0], state.v_measured_pu[0])
    assert broken_core.observe(after).isfinite().all()
    later, _ = broken_core.step(after, actions[:, BAD_STEP + 1])
    assert not torch.equal(later.v_measured_pu[BAD_DAY], state.v_measured_pu[BAD_DAY])
    assert later.is_failed[BAD_DAY]


def test_a_failure_before_midnight_marks_the_day(make_core, few_days):
    base = few_days.base_p_kw.copy()
    base[BAD_DAY, 0] *= 100.0
    core = make_core(scenarios=dataclasses.replace(few_days, base_p_kw=base), steps=6)
    state = core.reset(core.days("train"))
    assert state.is_failed.tolist() == [day == BAD_DAY for day in range(4)]
    assert (state.v_measured_pu[BAD_DAY] == 1.0).all()
    _, outcome = core.step(state, torch.zeros(4, core.num_agents))
    assert outcome.is_usable.tolist() == [day != BAD_DAY for day in range(4)]


@pytest.mark.parametrize("is_open_loop", [True, False])
def test_gradients_stay_finite_and_those_of_other_days_right(
    broken_core, days, actions, is_open_loop
):
    def gradient(chosen):
        action = actions[chosen].clone().requires_grad_()
        if is_open_loop:
            outcome = broken_core.run_open_loop(days[chosen], action)
        else:
            _, outcome = run(broken_core, action, days[chosen])
        found = violations(outcome.flow, broken_core.limits.tightened(0.04))
        network = found.over_pu.sum((-2, -1)) + found.under_pu.sum((-2, -1))
        usable = outcome.is_usable[:, -1]
        total = outcome.cost_usd.sum((-3, -2, -1)) + 100.0 * network
        loss = torch.where(usable, total, 0.0).sum()
        assert loss.isfinite()
        return torch.autograd.grad(loss, action)[0]

    whole = gradient(torch.arange(4))
    assert whole.isfinite().all()
    assert (whole[BAD_DAY] == 0.0).all()
    rest = torch.tensor([day for day in range(4) if day != BAD_DAY])
    alone = gradient(rest)
    assert (alone != 0.0).any()
    torch.testing.assert_close(whole[rest], alone, rtol=1e-4, atol=1e-6 * alone.abs().max().item())


def test_a_failed_step_has_no_network_term_in_the_reward(broken_core, days, actions):
    _, outcome = run(broken_core, actions, days)
    found = violations(outcome.flow, broken_core.limits)
    terms = reward_terms(outcome, found, RewardConfig())
    assert terms.isfinite().all()
    assert (terms[BAD_DAY, BAD_STEP:, :, REWARD_TERMS.index("network")] == 0.0).all()

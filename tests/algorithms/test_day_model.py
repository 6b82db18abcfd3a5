"""The model of a rollout's days: the rollout itself at its own actions, near it nearby."""

from __future__ import annotations

import pytest
import torch

from gradmap.algorithms import day_model
from gradmap.algorithms.day_model import OWN_STATE, own_state_gain
from gradmap.algorithms.rollout import rollout

NEAR = {"rtol": 0.0, "atol": 1e-6}


@pytest.fixture(scope="module")
def played(play_model, short_core):
    return play_model(short_core)


def test_at_the_rollouts_actions_it_is_the_rollout(played):
    learner, done, _, model = played
    for rows in (torch.arange(3), torch.tensor([2, 0])):
        found = model.play(done.action[rows], rows)
        before = done.outcome
        # Powers come from differences of stored energy, in single precision.
        close = {"rtol": 1e-4, "atol": 1e-3}
        torch.testing.assert_close(found.devices.p_kw, before.p_kw[rows].detach(), **close)
        torch.testing.assert_close(found.devices.q_kvar, before.q_kvar[rows].detach(), **close)
        cost, clipped = before.cost_usd.sum((-3, -2, -1)), before.clipped_kw.sum((-2, -1))
        torch.testing.assert_close(
            found.devices.cost_usd, cost[rows].detach(), rtol=1e-5, atol=1e-2
        )
        # A sum of differences of rounding's size, over all agents and steps.
        torch.testing.assert_close(
            found.devices.clipped_kw, clipped[rows].detach(), rtol=1e-4, atol=0.1
        )
        v_pu = before.flow.v_magnitude_pu[rows][..., learner.core.limits.monitored]
        torch.testing.assert_close(found.v_pu, v_pu.float(), **NEAR)
        assert bool(found.usable.all())


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, 2.0])
def test_it_follows_the_branches_that_are_near_their_ratings(played, monkeypatch, share):
    """All, some, the one nearest to it, none; the others read as idle."""
    learner, done, _, _ = played
    whole = done.outcome.flow.branch_loading.detach()
    most = whole.amax((0, 1))
    busy = share * most.max().item() if share > 0.5 else most.quantile(share).item()
    monkeypatch.setattr(day_model, "BUSY", busy)
    rows = torch.tensor([2, 0])
    found = learner._model(done).play(done.action[rows], rows)
    loading = torch.where(most >= busy, whole[rows], 0.0).float()
    torch.testing.assert_close(found.loading, loading, **NEAR)


def test_the_gain_is_the_policys_answer_to_its_device(played):
    learner, done, _, _ = played
    observation = done.observation.clone()
    step = 1e-2
    values = []
    for sign in (1.0, -1.0):
        observation[..., OWN_STATE] = done.observation[..., OWN_STATE] + sign * step
        with torch.no_grad():
            values.append(learner.actors.act(observation.flatten(0, 1)))
    slope = ((values[0] - values[1]) / (2.0 * step)).reshape(done.action.shape)
    gain = own_state_gain(learner.actors, done)
    torch.testing.assert_close(gain, slope, rtol=1e-2, atol=1e-3)


def test_most_of_the_environments_gradient_is_in_it(played):
    """What it leaves out: the reaction to the voltage, second orders of reaction and network."""
    learner, done, gradient, model = played
    action = done.action.clone().requires_grad_(True)
    value = learner.modelled(model, action, torch.arange(3))
    (known,) = torch.autograd.grad(value, action)
    assert (gradient - known).norm() < 0.3 * gradient.norm()


def test_it_foresees_what_nearby_policies_do(played):
    """The cost of policies a step away: better than the gradient alone does."""
    learner, done, gradient, model = played
    before = [p.detach().clone() for p in learner.actors.parameters()]
    generator = torch.Generator().manual_seed(1)
    rows = torch.arange(3)
    with torch.no_grad():
        for p in learner.actors.parameters():
            p += 0.05 * torch.randn(p.shape, generator=generator)
        truth = rollout(learner.core, learner.actors, done.days)
        chosen = learner.actors.act(done.observation.flatten(0, 1)).reshape(done.action.shape)
        now = learner.objective(done.outcome)
        change = learner.objective(truth.outcome) - now
        by_model = learner.modelled(model, chosen, rows) - now
        by_gradient = (gradient * (chosen - done.action)).sum()
        for p, old in zip(learner.actors.parameters(), before, strict=True):
            p.copy_(old)
    assert (by_model - change).abs() < 0.5 * (by_gradient - change).abs()

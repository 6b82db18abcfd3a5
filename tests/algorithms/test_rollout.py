"""Rollouts, and the gradient of the environment by every action."""

from __future__ import annotations

import pytest
import torch

from gradmap.algorithms.networks import Actors
from gradmap.algorithms.rollout import environment_gradient, rollout
from gradmap.envs.constraints import violations


@pytest.fixture(scope="module")
def short_core(make_core):
    """Fifty agents, the fewest that hold all the feeder's flexible power; days of six steps."""
    return make_core(50, steps=6)


@pytest.fixture
def actors(short_core):
    """Networks that have decided: the day depends on what they see."""
    generator = torch.Generator().manual_seed(3)
    actors = Actors(short_core.num_agents, short_core.num_features, (16,), generator)
    with torch.no_grad():
        actors.net[-1].weight.mul_(40.0)
    return actors


@pytest.fixture
def days(short_core):
    return short_core.days("train")


@pytest.fixture
def objective(short_core):
    """Cost and a price on voltage, on limits tight enough that they bind."""
    limits = short_core.limits.tightened(0.03)

    def value(outcome):
        found = violations(outcome.flow, limits)
        return outcome.cost_usd.sum() + 50.0 * (found.over_pu.sum() + found.under_pu.sum())

    return value


def test_what_agents_saw_lies_in_runs_along_the_day(short_core, actors, days):
    """The compiled networks read it so; any other order costs a copy in every step of reuse."""
    with torch.no_grad():
        done = rollout(short_core, actors, days[:2])
    assert done.own.permute(0, 2, 3, 1).is_contiguous()
    shape = (2, short_core.num_steps, 50, short_core.num_features)
    public = done.public.unsqueeze(2).expand(-1, -1, 50, -1)
    assert done.observation.shape == shape
    assert torch.equal(torch.cat((public, done.own), dim=-1), done.observation)


def test_a_rollout_is_the_core_stepped_by_the_policy(short_core, actors, days):
    done = rollout(short_core, actors, days)
    state = short_core.reset(days)
    for t in range(short_core.num_steps):
        seen = short_core.observe(state)
        assert torch.equal(done.observation[:, t], seen)
        action = actors.act(seen)
        assert torch.equal(done.action[:, t], action)
        state, outcome = short_core.step(state, action)
        assert torch.equal(done.outcome.cost_usd[:, t], outcome.cost_usd)
        assert torch.equal(done.outcome.flow.v_magnitude_pu[:, t], outcome.flow.v_magnitude_pu)
    assert torch.equal(done.days, days)
    assert done.outcome.p_kw.shape == (4, short_core.num_steps, short_core.num_agents)


def test_a_policy_learns_of_its_days_first(short_core, days):
    class Recorder:
        def __init__(self):
            self.calls = []

        def reset(self, days):
            self.calls.append(days.tolist())

        def act(self, observation):
            self.calls.append(observation.shape)
            return torch.zeros(observation.shape[:2])

    recorder = Recorder()
    rollout(short_core, recorder, days)
    shape = (4, short_core.num_agents, short_core.num_features)
    assert recorder.calls == [days.tolist(), *[shape] * short_core.num_steps]


def test_taking_the_gradient_changes_no_value(short_core, actors, days, objective):
    with torch.no_grad():
        plain = rollout(short_core, actors, days)
    done, gradient = environment_gradient(short_core, actors, days, objective)
    assert torch.equal(done.observation, plain.observation)
    assert torch.equal(done.action, plain.action)
    assert torch.equal(done.outcome.cost_usd, plain.outcome.cost_usd)
    assert torch.equal(done.outcome.flow.v_magnitude_pu, plain.outcome.flow.v_magnitude_pu)
    assert gradient.shape == done.action.shape
    assert gradient.dtype == torch.float32
    for tensor in (done.observation, done.action, gradient):
        assert not tensor.requires_grad


def test_the_weights_are_left_as_they_were(short_core, actors, days, objective):
    before = {key: value.clone() for key, value in actors.state_dict().items()}
    environment_gradient(short_core, actors, days, objective)
    assert all(torch.equal(value, before[key]) for key, value in actors.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in actors.parameters())


def test_the_weights_stay_trainable_when_the_objective_fails(short_core, actors, days):
    def broken(outcome):
        raise RuntimeError("no objective")

    with pytest.raises(RuntimeError, match="no objective"):
        environment_gradient(short_core, actors, days, broken)
    assert all(p.requires_grad for p in actors.parameters())


def test_with_the_policy_it_is_the_gradient_by_the_weights(short_core, actors, days, objective):
    """`G d pi / d theta` with observations held is what direct backpropagation gives."""
    objective(rollout(short_core, actors, days).outcome).backward()
    direct = [p.grad.clone() for p in actors.parameters()]
    actors.zero_grad()
    done, gradient = environment_gradient(short_core, actors, days, objective)
    samples = done.observation.flatten(0, 1).transpose(0, 1)
    slope = gradient.flatten(0, 1).transpose(0, 1)
    (slope * actors(samples)).sum().backward()
    for parameter, expected in zip(actors.parameters(), direct, strict=True):
        # Relative to each parameter's norm: sums of float32 in another order.
        gap = (parameter.grad - expected).norm() / expected.norm()
        assert gap < 1e-5


def test_it_is_what_a_nudge_to_the_actions_does(short_core, actors, days, objective):
    """Along the closed loop: later actions answer to what the nudge does to the voltages."""

    class Nudged:
        def __init__(self, nudge):
            self.nudge = nudge

        def reset(self, days):
            self.step = 0

        def act(self, observation):
            self.step += 1
            return actors.act(observation) + self.nudge[:, self.step - 1]

    _, gradient = environment_gradient(short_core, actors, days, objective)
    generator = torch.Generator().manual_seed(0)
    quotients, slopes = [], []
    step = 3e-4
    for _ in range(6):
        nudge = torch.randn(gradient.shape, generator=generator)
        with torch.no_grad():
            ends = [
                objective(rollout(short_core, Nudged(s * step * nudge), days).outcome).item()
                for s in (1.0, -1.0)
            ]
        quotients.append((ends[0] - ends[1]) / (2.0 * step))
        slopes.append((gradient * nudge).sum().item())
    # A nudge of 480 actions meets kinks, fewer the smaller it is, and float32
    # costs leave 1e-3 $ of noise over the step: a per cent of the largest slope.
    assert slopes == pytest.approx(quotients, abs=0.02 * max(map(abs, slopes)))


def test_days_do_not_mix(short_core, actors, days, objective):
    _, together = environment_gradient(short_core, actors, days, objective)
    _, alone = environment_gradient(short_core, actors, days[1:2], objective)
    scale = together.abs().max().item()
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5 * scale)
    _, first = environment_gradient(
        short_core, actors, days, lambda outcome: outcome.flow.losses_kw[0].sum()
    )
    assert (first[0] != 0.0).any()
    assert (first[1:] == 0.0).all()


def test_an_action_that_projection_overrules_has_no_gradient(short_core, days):
    """Its effect on later steps is nil as well: the device cannot follow it."""
    generator = torch.Generator().manual_seed(0)
    actors = Actors(short_core.num_agents, short_core.num_features, (4,), generator)
    with torch.no_grad():
        actors.net[-1].bias.fill_(5.0)  # everybody at full power
    done, gradient = environment_gradient(
        short_core, actors, days, lambda outcome: outcome.cost_usd.sum()
    )
    is_clipped = done.outcome.clipped_kw > 1.0
    assert is_clipped.any()
    assert (gradient[is_clipped] == 0.0).all()
    assert (gradient[~is_clipped] != 0.0).any()

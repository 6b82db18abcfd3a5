"""GI-PPO: the step along the gradient, what trusts it, PPO's passes, exact resumption."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys

import pytest
import torch
from torch import nn

import gradmap
from gradmap.algorithms.checkpoint import load_checkpoint, save_checkpoint
from gradmap.algorithms.config import PriceConfig
from gradmap.algorithms.networks import Actors
from gradmap.algorithms.rollout import environment_gradient, rollout
from gradmap.baselines import gippo
from gradmap.baselines.gaussian import Exploring, divergence, log_probability
from gradmap.baselines.gippo import GIPPO
from gradmap.baselines.gippo_config import GIPPOConfig
from gradmap.baselines.gippo_update import (
    Batch,
    GaussianPolicies,
    adapt_alpha,
    follow_gradient,
    ppo_passes,
)
from gradmap.baselines.rllib.critics import LocalCritic
from gradmap.baselines.rllib.env import PricedJointEnv
from gradmap.experiments.registry import METHODS

# Written out: what is tested must not move with the tuning of the defaults.
PRICE = PriceConfig(voltage_usd_per_pu=100.0, overload_usd=10.0, dual_step=3e4, margin_pu=0.03)
SMALL = GIPPOConfig(
    hidden=(8,),
    critic_hidden=(8,),
    days_per_batch=4,
    learning_rate=5e-3,
    alpha_initial=0.2,
    alpha_max=1.0,
    alpha_growth=1.1,
    alpha_range=0.5,
    alpha_spread=0.4,
    alpha_passes=2,
    epochs=2,
    minibatches=2,
    network_weight=2.0,
    price=PRICE,
)
AGENTS, SAMPLES, FEATURES = 5, 60, 6


def changed(**settings):
    return dataclasses.replace(SMALL, **settings)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def weights(module):
    return [p.detach().clone() for p in module.parameters()]


def make_policies():
    actors = Actors(AGENTS, FEATURES, (8,), generator(1))
    return GaussianPolicies(actors, nn.Parameter(torch.full((AGENTS, 1), -0.5)))


def make_batch(policies):
    seen = torch.randn(AGENTS, SAMPLES, FEATURES, generator=generator(2))
    centre = policies.centre(seen).detach()
    log_std = policies.log_std.detach().clone()
    noise, slope, advantage, target = torch.randn(4, AGENTS, SAMPLES, generator=generator(3))
    return Batch(seen, centre + log_std.exp() * noise, centre, log_std, slope, advantage, target)


def taken(learner, monkeypatch):
    """The batch of a first iteration."""
    found = []
    real = gippo.ppo_passes

    def noted(policies, critic, batch, *rest):
        found.append(batch)
        return real(policies, critic, batch, *rest)

    monkeypatch.setattr(gippo, "ppo_passes", noted)
    learner.iterate(0.0)
    return found[0]


def test_alpha_zero_is_plain_ppo(short_core, monkeypatch):
    """Weight for weight: as if the step along the gradient were left out."""
    still = GIPPO(short_core, SMALL, 0)
    still.alpha.zero_()
    for k in range(2):
        still.iterate(k / 2)

    def left_out(policies, batch, alpha, optimiser, config, generator):
        for _ in range(config.alpha_passes):  # the same orders of samples afterwards
            torch.randperm(batch.drawn.shape[1], generator=generator)

    monkeypatch.setattr(gippo, "follow_gradient", left_out)
    plain = GIPPO(short_core, SMALL, 0)
    plain.alpha.zero_()
    for k in range(2):
        plain.iterate(k / 2)
    for a, b in zip(still.policies.parameters(), plain.policies.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not still.alpha.any()


def test_without_a_largest_step_there_is_none(short_core, monkeypatch):
    def never(*arguments):
        raise AssertionError("no step along the gradient")

    monkeypatch.setattr(gippo, "follow_gradient", never)
    GIPPO(short_core, changed(alpha_max=0.0), 0).iterate(0.0)


def test_draws_shift_by_alpha_times_the_gradient(short_core, monkeypatch):
    """The slope is minus the objective's gradient by the draws, scaled for each agent."""
    learner = GIPPO(short_core, SMALL, 0)
    twin = GIPPO(short_core, SMALL, 0)
    batch = taken(learner, monkeypatch)
    days = twin.sampler.draw()
    shape = (6, 4, short_core.num_agents)
    noise = torch.randn(shape, generator=twin.generator).requires_grad_()
    exploring = Exploring(twin.actors, twin.policies.log_std, noise)
    # The gradient by the noise is the deviation times that by the draw.
    twin.objective(rollout(short_core, exploring, days).outcome).backward()
    slope = -noise.grad.transpose(0, 1).flatten(0, 1).T
    size = slope.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(batch.slope, slope / size, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(batch.slope.square().mean(1), torch.ones(len(slope)))
    alpha = torch.linspace(0.0, 0.5, len(slope)).unsqueeze(1)
    shift = batch.shifted(alpha) - batch.drawn
    deviation = SMALL.log_std_initial
    expected = alpha * torch.tensor(deviation).exp() * slope / size
    torch.testing.assert_close(shift, expected, rtol=1e-3, atol=1e-4)


def test_a_small_step_lowers_the_objective(short_core):
    """With the same noise, before and after a step along the gradient alone."""
    learner = GIPPO(short_core, changed(alpha_passes=20), 0)
    days = short_core.days("train")
    noise = torch.randn((6, 4, short_core.num_agents), generator=generator())
    exploring = Exploring(learner.actors, learner.policies.log_std, noise)
    done, gradient = environment_gradient(short_core, exploring, days, learner.objective)
    drawn = torch.stack([each.detach() for each in exploring.drawn], dim=1)
    batch = learner._batch(done, drawn, noise.transpose(0, 1), gradient)
    before = learner.objective(done.outcome).item()
    follow_gradient(
        learner.policies, batch, learner.alpha, learner.optimiser, learner.config, generator()
    )
    with torch.no_grad():
        after = learner.objective(rollout(short_core, exploring, days).outcome).item()
    assert after < before


def test_following_reaches_the_alpha_policy():
    """Where it can be reached: a shift that is the same for all samples of an agent."""
    policies = make_policies()
    batch = make_batch(policies)
    batch = dataclasses.replace(batch, slope=torch.ones_like(batch.slope))
    config = changed(alpha_passes=200, minibatches=1, grad_clip=None)
    optimiser = torch.optim.Adam(policies.actors.parameters(), lr=5e-3)
    alpha = torch.full((AGENTS, 1), 0.3)
    follow_gradient(policies, batch, alpha, optimiser, config, generator())
    moved = policies.centre(batch.observation) - batch.centre
    torch.testing.assert_close(
        moved, torch.full_like(moved, 0.3 * torch.tensor(-0.5).exp().item()), rtol=0, atol=0.02
    )


def test_agents_do_not_learn_from_each_other():
    results = []
    for factor in (1.0, -3.0):
        policies = make_policies()
        batch = make_batch(policies)
        critic = LocalCritic(AGENTS, FEATURES, (8,), generator(4))
        for name in ("slope", "advantage", "target"):
            getattr(batch, name)[2] *= factor
        results.append(train(policies, critic, batch))
    for a, b in zip(*results, strict=True):
        is_same = (a == b).flatten(1).all(1)
        assert is_same[torch.arange(AGENTS) != 2].all()
    assert not torch.equal(results[0][0][2], results[1][0][2])


def test_permuting_agents_permutes_what_they_learn():
    order = torch.tensor([3, 0, 4, 1, 2])
    policies = make_policies()
    batch = make_batch(policies)
    critic = LocalCritic(AGENTS, FEATURES, (8,), generator(4))
    other, other_critic = copy.deepcopy(policies), copy.deepcopy(critic)
    with torch.no_grad():
        for parameter in (*other.parameters(), *other_critic.parameters()):
            parameter.copy_(parameter[order].clone())
    permuted = Batch(**{name: value[order] for name, value in vars(batch).items()})
    expected = train(policies, critic, batch)
    found = train(other, other_critic, permuted)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a[order], b, rtol=1e-4, atol=1e-5)


def train(policies, critic, batch):
    """One update of all agents; returns all weights."""
    first = torch.optim.Adam(policies.actors.parameters(), lr=1e-3)
    second = torch.optim.Adam([*policies.parameters(), *critic.parameters()], lr=1e-3)
    alpha = torch.full((AGENTS, 1), 0.2)
    follow_gradient(policies, batch, alpha, first, SMALL, generator(5))
    ppo_passes(policies, critic, batch, second, SMALL, generator(6))
    return [*weights(policies), *weights(critic)]


def test_an_agent_that_has_diverged_stops_and_its_critic_goes_on():
    policies = make_policies()
    batch = make_batch(policies)
    critic = LocalCritic(AGENTS, FEATURES, (8,), generator(4))
    parameters = [*policies.parameters(), *critic.parameters()]
    config = changed(kl_stop=1e-6, epochs=3)
    results = []
    for epochs in (1, 3):
        own, values = copy.deepcopy(policies), copy.deepcopy(critic)
        parameters = [*own.parameters(), *values.parameters()]
        optimiser = torch.optim.Adam(parameters, lr=1e-2)
        settings = dataclasses.replace(config, epochs=epochs, minibatches=1)
        metrics = ppo_passes(own, values, batch, optimiser, settings, generator())
        results.append((weights(own), weights(values)))
    assert metrics["share_of_policies_learning"] == 0.0
    (own, values), (own_later, values_later) = results
    assert all(torch.equal(a, b) for a, b in zip(own, own_later, strict=True))
    assert not torch.equal(values[0], values_later[0])
    assert not torch.equal(own[0], weights(policies)[0])


def test_alpha_grows_where_the_step_can_be_trusted():
    policies = make_policies()
    batch = make_batch(policies)
    batch = dataclasses.replace(batch, slope=torch.zeros_like(batch.slope))
    alpha = torch.full((AGENTS, 1), 0.5)
    # Nothing has moved: no ratio is outside, nothing is lost.
    batch = dataclasses.replace(batch, advantage=torch.ones_like(batch.advantage))
    grown, outside = adapt_alpha(policies, batch, alpha, SMALL)
    torch.testing.assert_close(grown, alpha * 1.1)
    assert not outside.any()
    assert (adapt_alpha(policies, batch, alpha * 2, SMALL)[0] == 1.0).all()
    # A policy that lost return.
    lost = dataclasses.replace(batch, advantage=-torch.ones_like(batch.advantage))
    torch.testing.assert_close(adapt_alpha(policies, lost, alpha, SMALL)[0], alpha / 1.1)
    # Draws that are spread apart: a slope as the noise.
    noise = (batch.drawn - batch.centre) * torch.exp(-batch.log_std)
    apart = dataclasses.replace(batch, slope=noise)
    torch.testing.assert_close(adapt_alpha(policies, apart, alpha, SMALL)[0], alpha / 1.1)
    # A policy far away.
    with torch.no_grad():
        policies.actors.net[-1].bias += 3.0
    torch.testing.assert_close(adapt_alpha(policies, batch, alpha, SMALL)[0], alpha / 1.1)


def test_log_probability_and_divergence_are_those_of_gaussians():
    centre, other, drawn = torch.randn(3, AGENTS, 7, generator=generator())
    log_std = torch.linspace(-1.0, 0.5, AGENTS).unsqueeze(1)
    first = torch.distributions.Normal(centre, log_std.exp())
    second = torch.distributions.Normal(other, log_std.flip(0).exp())
    torch.testing.assert_close(log_probability(drawn, centre, log_std), first.log_prob(drawn))
    torch.testing.assert_close(
        divergence(centre, log_std, other, log_std.flip(0)),
        torch.distributions.kl_divergence(first, second),
    )


@pytest.mark.parametrize("split", ["even", "local"])
def test_rewards_are_those_of_ippo(short_core, split):
    config = changed(network_split=split, stored_usd_per_kwh=0.3)
    learner = GIPPO(short_core, config, 0)
    env = PricedJointEnv(short_core, 4, PRICE, split, weight=2.0, stored_usd_per_kwh=0.3)
    for prices in (learner.prices, env.prices):
        prices.over += 40.0
        prices.overload += 3.0
    env.reset(seed=0)
    done = rollout(short_core, learner.policy(), env.state.days)
    expected = [
        torch.as_tensor(env.step(action.detach().unsqueeze(-1).numpy())[1])
        for action in done.action.unbind(1)
    ]
    torch.testing.assert_close(
        learner.rewards(done), torch.stack(expected, dim=1), rtol=1e-4, atol=1e-4
    )


def test_a_resumed_run_continues_to_the_same_numbers(short_core, tmp_path):
    """Bit for bit, through a file."""
    config = changed(days_per_batch=3)
    progress = [k / 6 for k in range(6)]
    whole = GIPPO(short_core, config, 3)
    expected = [whole.iterate(p) for p in progress]
    first = GIPPO(short_core, config, 3)
    metrics = [first.iterate(p) for p in progress[:2]]
    save_checkpoint(tmp_path / "c", first.state_dict(), {"task": "t"})
    second = GIPPO(short_core, config, 99)
    second.load_state_dict(load_checkpoint(tmp_path / "c", "t")[0])
    metrics += [second.iterate(p) for p in progress[2:]]
    assert metrics == expected
    a, b = whole.state_dict(), second.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert (whole.alpha != SMALL.alpha_initial).all()


def test_counters_count(short_core):
    learner = GIPPO(short_core, SMALL, 0)
    learner.iterate(0.0)
    learner.iterate(0.0)
    steps = 2 * 4 * 6
    assert dataclasses.astuple(learner.counters) == (2, 2, steps, 2 * steps + 2 * 4)


def test_a_failed_day_is_counted_and_teaches_nothing(make_core, few_days):
    base = few_days.base_p_kw.copy()
    base[0, 3] *= 100.0
    core = make_core(scenarios=dataclasses.replace(few_days, base_p_kw=base), steps=6)
    learner = GIPPO(core, SMALL, 0)
    for _ in range(2):
        metrics = learner.iterate(0.0)
        assert metrics["failed_days"] == 1.0
        assert all(value == value for value in metrics.values())
    assert all(value.double().isfinite().all() for value in learner.state_dict().values())


def test_it_learns(short_core):
    config = changed(learning_rate=1e-2, price=PriceConfig(kind="none"))
    learner = GIPPO(short_core, config, 0)
    with torch.no_grad():
        days = short_core.days("train")
        before = rollout(short_core, learner.policy(), days).outcome.cost_usd.sum()
        torch.set_grad_enabled(True)
        for k in range(30):
            learner.iterate(k / 30)
        torch.set_grad_enabled(False)
        after = rollout(short_core, learner.policy(), days).outcome.cost_usd.sum()
    assert after < before - 0.2 * before.abs()


def test_the_registry_builds_it(short_core):
    spec = METHODS["gippo"]
    assert isinstance(spec.build(short_core, spec.defaults, 0), GIPPO)


def test_it_needs_no_ray(modules, tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", "import sys, gradmap.baselines.gippo; print(*sys.modules)"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(modules["gradmap"].parents[1]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert gradmap.__name__ in found
    assert "ray" not in found

"""GradMAP's reuse: without it a self-supervised step, with it no more environment."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gradmap.algorithms.config import LearnerConfig, PriceConfig
from gradmap.algorithms.gradmap import GradMAP
from gradmap.algorithms.rollout import rollout
from gradmap.algorithms.self_supervised import SelfSupervised

# Written out: what is tested must not move with the tuning of the defaults.
PRICE = PriceConfig(
    kind="dual",
    voltage_usd_per_pu=100.0,
    overload_usd=10.0,
    dual_step=3e4,
    dual_decay=0.01,
    margin_pu=0.03,
)
SMALL = LearnerConfig(
    hidden=(8,),
    days_per_batch=4,
    learning_rate=5e-3,
    surrogate="gradient",
    reuse_passes=1,
    minibatches=1,
    trust_region=0.05,
    proximal="clip",
    price=PRICE,
)


def weights(learner):
    return [p.detach().clone() for p in learner.actors.parameters()]


def plain_steps(learner, rate):
    """Puts gradient descent in Adam's place, which would divide rounding up to size."""
    learner.optimiser = torch.optim.SGD(learner.actors.parameters(), lr=rate)
    learner.config = dataclasses.replace(learner.config, learning_rate=rate)


@pytest.mark.parametrize("trust_region", [1e-3, 0.05, 10.0])
@pytest.mark.parametrize("proximal", ["clip", "quadratic"])
@pytest.mark.parametrize("surrogate", ["gradient", "mended"])
def test_without_reuse_a_step_is_the_self_supervised_one(
    short_core, trust_region, proximal, surrogate
):
    """Weight for weight, any trust region, either surrogate, several steps in a row."""
    config = dataclasses.replace(
        SMALL, trust_region=trust_region, proximal=proximal, surrogate=surrogate
    )
    reuse, plain = GradMAP(short_core, config, 0), SelfSupervised(short_core, config, 0)
    for learner in (reuse, plain):
        plain_steps(learner, 1e-4)
    start = weights(plain)
    for _ in range(3):
        first, second = reuse.iterate(0.0), plain.iterate(0.0)
        assert first.keys() == second.keys()
        assert list(first.values()) == pytest.approx(list(second.values()), rel=1e-4, abs=1e-6)
    for before, a, b in zip(start, weights(reuse), weights(plain), strict=True):
        moved = (b - before).norm()
        assert moved > 0.0
        # Float32 sums in another order; and weights hold no more than 1e-7 of themselves.
        assert (a - b).norm() < 1e-4 * moved + 1e-7 * b.norm()


def test_without_a_backward_pass_a_step_is_nearly_the_self_supervised_one(short_core):
    """What the model leaves out, reactions to the voltage above all, is a small part."""
    config = dataclasses.replace(SMALL, surrogate="model")
    reuse, plain = GradMAP(short_core, config, 0), SelfSupervised(short_core, config, 0)
    for learner in (reuse, plain):
        plain_steps(learner, 1e-4)
    start = weights(plain)
    reuse.iterate(0.0)
    plain.iterate(0.0)
    moves = [
        torch.cat([(b - a).flatten() for a, b in zip(start, weights(learner), strict=True)])
        for learner in (reuse, plain)
    ]
    assert torch.nn.functional.cosine_similarity(*moves, dim=0) > 0.95
    assert 0.8 < moves[0].norm() / moves[1].norm() < 1.25


def test_without_reuse_adam_makes_the_same_step(short_core):
    reuse, plain = (kind(short_core, SMALL, 0) for kind in (GradMAP, SelfSupervised))
    reuse.iterate(0.0)
    plain.iterate(0.0)
    for a, b in zip(reuse.actors.parameters(), plain.actors.parameters(), strict=True):
        # Of a gradient that is rounding Adam makes a step of full length: all
        # but a few in a thousand agree.
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-4 * b.grad.abs().max().item())
        is_apart = (a - b).abs() > 0.01 * SMALL.learning_rate
        assert is_apart.double().mean() < 5e-3


@pytest.mark.parametrize("surrogate", ["gradient", "mended", "model"])
def test_reuse_asks_the_environment_for_nothing_more(short_core, monkeypatch, surrogate):
    """One rollout and one backward pass whatever the number of passes."""
    calls = []
    step = type(short_core).step

    def counted(self, state, action):
        calls.append(state.step)
        return step(self, state, action)

    monkeypatch.setattr(type(short_core), "step", counted)
    for passes in (1, 7):
        calls.clear()
        config = dataclasses.replace(SMALL, reuse_passes=passes, minibatches=3, surrogate=surrogate)
        learner = GradMAP(short_core, config, 0)
        learner.iterate(0.0)
        assert calls == list(range(short_core.num_steps))
        assert learner.counters.env_gradients == 1
        flows = 1 if surrogate == "model" else 2  # no way back through the power flow
        assert learner.counters.power_flow_solves == 4 * (flows * short_core.num_steps + 1)


@pytest.mark.parametrize(("passes", "minibatches"), [(1, 1), (3, 1), (2, 4), (1, 24), (2, 1000)])
def test_every_pass_uses_every_sample_once(short_core, monkeypatch, passes, minibatches):
    sizes = []

    def counted(gradient, change, trust_region):
        sizes.append(change.shape)
        return gradient * change

    monkeypatch.setitem(
        __import__("gradmap.algorithms.gradmap", fromlist=["SURROGATES"]).SURROGATES,
        "clip",
        counted,
    )
    config = dataclasses.replace(SMALL, reuse_passes=passes, minibatches=minibatches)
    GradMAP(short_core, config, 0).iterate(0.0)
    assert all(shape[0] == short_core.num_agents for shape in sizes)
    num_samples = 4 * short_core.num_steps
    assert sum(shape[1] for shape in sizes) == passes * num_samples
    assert len(sizes) == passes * min(minibatches, num_samples)


def test_the_trust_region_holds_the_actions_back(short_core):
    """Sixty passes; Adam's momentum carries them some way past the edge, not on and on."""
    moved = {}
    for region in (0.02, 0.1, 10.0):
        config = dataclasses.replace(
            SMALL, reuse_passes=60, trust_region=region, learning_rate=2e-3, hidden=(32,)
        )
        learner = GradMAP(short_core, config, 0)
        with torch.no_grad():
            before = rollout(short_core, learner.policy(), short_core.days("train"))
        learner.iterate(0.0)
        with torch.no_grad():
            after = learner.actors.act(before.observation.flatten(0, 1))
        moved[region] = (after - before.action.flatten(0, 1)).abs().median().item()
    assert 0.02 < moved[0.02] < 0.2 * moved[10.0]
    assert 0.1 < moved[0.1] < 0.5 * moved[10.0]


def test_reuse_gains_more_from_one_environment_gradient(short_core):
    """What the method is for: a lower objective after the same number of them."""
    config = dataclasses.replace(
        SMALL, price=dataclasses.replace(PRICE, kind="fixed", margin_pu=0.02)
    )
    reuse = dataclasses.replace(config, reuse_passes=8, trust_region=0.1)
    results = []
    for kind, settings in ((GradMAP, reuse), (SelfSupervised, config)):
        learner = kind(short_core, settings, 0)
        for _ in range(5):
            learner.iterate(0.0)
        with torch.no_grad():
            done = rollout(short_core, learner.policy(), short_core.days("train"))
            results.append(learner.objective(done.outcome).item())
    assert results[0] < results[1]


def test_agents_do_not_learn_from_each_other(short_core):
    """With a surrogate of independent samples, one agent's step ignores the others' slopes."""
    learner = GradMAP(short_core, SMALL, 0)
    other = GradMAP(short_core, SMALL, 0)
    done = rollout(short_core, learner.policy(), short_core.days("train"))
    detached = dataclasses.replace(
        done, seen=tuple(x.detach() for x in done.seen), action=done.action.detach()
    )
    gradient = torch.randn(done.action.shape, generator=torch.Generator().manual_seed(0))
    changed = gradient.clone()
    changed[..., 4] *= -3.0
    learner._reuse(detached, gradient)
    other._reuse(detached, changed)
    for a, b in zip(learner.actors.parameters(), other.actors.parameters(), strict=True):
        is_same = (a == b).flatten(1).all(1)
        assert is_same[torch.arange(short_core.num_agents) != 4].all()
    last = learner.actors.net[-1].weight, other.actors.net[-1].weight
    assert not torch.equal(last[0][4], last[1][4])

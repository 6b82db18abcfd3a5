"""SHAC: windows, what comes after them, critics that follow, exact resumption."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gradmap.algorithms.checkpoint import load_checkpoint, save_checkpoint
from gradmap.algorithms.config import LearnerConfig, PriceConfig
from gradmap.algorithms.rollout import rollout
from gradmap.algorithms.self_supervised import SelfSupervised
from gradmap.baselines.shac import SHAC
from gradmap.baselines.shac_config import SHACConfig
from gradmap.envs.constraints import violations
from gradmap.experiments.registry import METHODS

# Written out: what is tested must not move with the tuning of the defaults.
PRICE = PriceConfig(
    kind="dual",
    voltage_usd_per_pu=100.0,
    overload_usd=10.0,
    dual_step=3e4,
    dual_decay=0.01,
    margin_pu=0.03,
)
SMALL = SHACConfig(
    hidden=(8,),
    critic_hidden=(8,),
    days_per_batch=4,
    horizon=3,
    deviation=0.0,
    learning_rate=5e-3,
    critic_learning_rate=5e-3,
    critic_passes=2,
    critic_minibatches=2,
    td_lambda=0.9,
    target_decay=0.2,
    stored_usd_per_kwh=0.2,
    grad_clip=None,
    price=PRICE,
)


def changed(**settings):
    return dataclasses.replace(SMALL, **settings)


def first_window(learner):
    return learner._run(learner.core.reset(learner.core.days("train")))


def test_a_window_of_a_day_without_a_value_is_the_self_supervised_step(short_core):
    """Weight for weight, with Adam, several steps in a row."""
    config = changed(horizon=48, terminal_weight=0.0, learning_rate_final=0.1)
    names = ("hidden", "days_per_batch", "learning_rate", "learning_rate_final", "price")
    plain_config = LearnerConfig(**{name: getattr(config, name) for name in names})
    short, plain = SHAC(short_core, config, 0), SelfSupervised(short_core, plain_config, 0)
    for progress in (0.0, 0.3, 0.6):
        metrics = short.iterate(progress)
        expected = plain.iterate(progress)
        assert {name: metrics[name] for name in expected} == expected
    assert short.prices.over.max() > 0.0
    for a, b in zip(short.actors.parameters(), plain.actors.parameters(), strict=True):
        assert torch.equal(a, b)
    assert short.counters == plain.counters


def test_a_window_s_gradient_ends_with_it(make_core, few_days, short_core):
    """Later prices change the second window's gradient and leave the first's alone."""
    tariff = few_days.tariff_usd_per_kwh.copy()
    tariff[:, 3:6] *= 2.0
    other = make_core(scenarios=dataclasses.replace(few_days, tariff_usd_per_kwh=tariff), steps=6)
    gradients = []
    for core in (short_core, other):
        learner = SHAC(core, changed(terminal_weight=0.0), 0)
        window = first_window(learner)
        loss = learner.objective(window.outcome, window.steps)
        first = torch.autograd.grad(loss, list(learner.actors.parameters()))
        window = learner._run(window.after.detach())
        loss = learner.objective(window.outcome, window.steps)
        gradients.append((first, torch.autograd.grad(loss, list(learner.actors.parameters()))))
    (a, b), (c, d) = gradients
    assert all(torch.equal(x, y) for x, y in zip(a, c, strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(b, d, strict=True))


def test_windows_are_steps_of_the_same_days(short_core):
    """Without learning, windows of any length join to the plain rollout."""
    learner = SHAC(short_core, changed(horizon=4, learning_rate=1e-30), 0)
    days = short_core.days("train")
    done = learner.update(days)
    with torch.no_grad():
        expected = rollout(short_core, learner.actors, days)
    assert torch.equal(done.observation, expected.observation)
    assert torch.equal(done.action, expected.action)
    assert torch.equal(done.outcome.cost_usd, expected.outcome.cost_usd)
    assert not done.outcome.cost_usd.requires_grad


def test_the_value_after_a_window_is_the_target_critic_s(short_core):
    learner = SHAC(short_core, SMALL, 0)
    with torch.no_grad():
        for parameter in learner.critic.parameters():
            parameter.zero_()
    weights = list(learner.actors.parameters())
    window = first_window(learner)
    to_come = learner._values(learner.target, window.seen[:, -1:], window.joint[:, -1:])
    loss = learner.objective(window.outcome, window.steps) + to_come.sum() / 4
    expected = torch.autograd.grad(loss, weights)
    learner._improve_policies(first_window(learner))
    for weight, gradient in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-4, atol=1e-5)
    plain = torch.autograd.grad(
        learner.objective(first_window(learner).outcome, window.steps), weights
    )
    assert not torch.allclose(plain[0], expected[0], rtol=1e-2)


def test_after_the_last_step_nothing_comes(short_core):
    config = changed(horizon=6, td_lambda=1.0)
    learner = SHAC(short_core, config, 0)
    learner.prices.over += 50.0
    window = first_window(learner)
    assert window.is_last
    found = violations(window.outcome.flow, short_core.limits.tightened(0.03))
    total = window.outcome.cost_usd.sum((-2, -1)) + learner.prices.charge(found)
    to_come = total.flip(1).cumsum(1).flip(1)
    # Shares of the price are of all the price.
    torch.testing.assert_close(
        learner._targets(window).sum(-1).double(), to_come.double(), rtol=1e-5, atol=1e-3
    )


@pytest.mark.parametrize("decay", [0.0, 0.6, 1.0])
def test_targets_are_td_lambda(short_core, decay):
    """Against the sum of n-step estimates, each with its weight."""
    learner = SHAC(short_core, changed(td_lambda=decay, price=PriceConfig(kind="none")), 0)
    window = first_window(learner)
    assert not window.is_last
    cost = window.outcome.cost_usd.sum(-1)
    values = learner._values(learner.target, window.seen[:, 1:], window.joint[:, 1:])
    for begin in range(3):
        steps = range(begin, 3)
        estimates = [cost[:, begin : k + 1].sum(1) + values[:, k] for k in steps]
        weights = [(1.0 - decay) * decay ** (k - begin) for k in steps]
        weights[-1] = decay ** (2 - begin)
        expected = sum(w * e for w, e in zip(weights, estimates, strict=True))
        torch.testing.assert_close(learner._targets(window)[:, begin], expected)


def test_the_target_follows_the_critic(short_core):
    learner = SHAC(short_core, changed(horizon=6, target_decay=0.3), 0)
    before = [p.detach().clone() for p in learner.target.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, learner.critic.parameters(), strict=True))
    learner.iterate(0.0)
    pairs = zip(before, learner.critic.parameters(), learner.target.parameters(), strict=True)
    for old, fast, slow in pairs:
        assert not torch.equal(old, fast)
        torch.testing.assert_close(slow, 0.3 * old + 0.7 * fast)


@pytest.mark.parametrize("critic", ["local", "central"])
def test_a_resumed_run_continues_to_the_same_numbers(short_core, critic, tmp_path):
    """Bit for bit, through a file."""
    config = changed(critic=critic, days_per_batch=3, grad_clip=0.5, deviation=0.2)
    progress = [k / 6 for k in range(6)]
    whole = SHAC(short_core, config, 3)
    expected = [whole.iterate(p) for p in progress]
    first = SHAC(short_core, config, 3)
    metrics = [first.iterate(p) for p in progress[:2]]
    save_checkpoint(tmp_path / "c", first.state_dict(), {"task": "t"})
    second = SHAC(short_core, config, 99)
    second.load_state_dict(load_checkpoint(tmp_path / "c", "t")[0])
    metrics += [second.iterate(p) for p in progress[2:]]
    assert metrics == expected
    a, b = whole.state_dict(), second.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_state_is_a_copy(short_core):
    learner = SHAC(short_core, SMALL, 0)
    learner.iterate(0.0)
    state = learner.state_dict()
    kept = {key: value.clone() for key, value in state.items()}
    learner.load_state_dict(state)
    learner.iterate(0.0)
    assert all(torch.equal(value, kept[key]) for key, value in state.items())


def test_counters_count_a_batch_of_days_as_one_gradient(short_core):
    learner = SHAC(short_core, SMALL, 0)
    learner.iterate(0.0)
    learner.iterate(0.0)
    steps = 2 * 4 * 6
    assert dataclasses.astuple(learner.counters) == (2, 2, steps, 2 * steps + 2 * 4)


def test_a_failed_day_is_counted_and_teaches_nothing(make_core, few_days):
    base = few_days.base_p_kw.copy()
    base[0, 3] *= 100.0
    core = make_core(scenarios=dataclasses.replace(few_days, base_p_kw=base), steps=6)
    learner = SHAC(core, SMALL, 0)
    for _ in range(2):
        metrics = learner.iterate(0.0)
        assert metrics["failed_days"] == 1.0
        assert all(value == value for value in metrics.values())
    assert all(value.double().isfinite().all() for value in learner.state_dict().values())


def test_it_learns(short_core):
    """Through two windows of a short day, from where nothing is known."""
    config = changed(learning_rate=2e-2, price=PriceConfig(kind="none"))
    learner = SHAC(short_core, config, 0)
    costs = [learner.iterate(k / 40)["cost_usd_per_day"] for k in range(40)]
    assert sum(costs[-5:]) / 5 < costs[0] - 0.2 * abs(costs[0])


def test_the_registry_builds_it(short_core):
    spec = METHODS["shac"]
    assert isinstance(spec.build(short_core, spec.defaults, 0), SHAC)

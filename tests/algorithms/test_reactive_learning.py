"""Learning with two numbers an action: the same methods, and a use for the second one."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gradmap.algorithms.config import LearnerConfig, PriceConfig
from gradmap.algorithms.day_model import OWN_STATE, own_state_gain
from gradmap.algorithms.gradmap import GradMAP
from gradmap.algorithms.networks import Actors
from gradmap.algorithms.rollout import environment_gradient, rollout
from gradmap.algorithms.self_supervised import SelfSupervised
from gradmap.baselines.gippo import GIPPO
from gradmap.baselines.gippo_config import GIPPOConfig
from gradmap.baselines.shac import SHAC
from gradmap.baselines.shac_config import SHACConfig
from gradmap.envs.config import AgentMix
from gradmap.envs.scenarios.model import PER_STEP, PER_TERMINAL

PRICE = PriceConfig(kind="fixed", voltage_usd_per_pu=100.0, overload_usd=10.0, margin_pu=0.03)


@pytest.fixture(scope="module")
def noon(few_days):
    """Ten to one."""
    cut = {name: getattr(few_days, name)[:, 20:26] for name in PER_TERMINAL + PER_STEP}
    return dataclasses.replace(few_days, **cut)


@pytest.fixture(scope="module")
def free(make_core, noon):
    return make_core(20, scenarios=noon, mix=AgentMix(6, 4, 2, 2, 6), reactive="free")


def test_stacked_actors_are_separate_ones():
    actors = Actors(3, 5, (8,), torch.Generator().manual_seed(0), 2)
    x = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(1))
    whole = actors(x)
    assert whole.shape == (3, 7, 2)
    by_day = x.unsqueeze(0).transpose(1, 2)
    nothing = by_day[:, :, 0, :0]
    assert actors.slope(nothing, by_day, 2).shape == (1, 7, 3, 2)
    for agent in range(3):
        alone = Actors(1, 5, (8,), torch.Generator().manual_seed(9), 2)
        own = {name: value[agent : agent + 1] for name, value in actors.state_dict().items()}
        alone.load_state_dict(own)
        one = x[agent : agent + 1]
        torch.testing.assert_close(alone(one), whole[agent : agent + 1])
        slope = alone.slope(nothing, by_day[:, :, agent : agent + 1], 2)
        whole_slope = actors.slope(nothing, by_day, 2)
        torch.testing.assert_close(slope, whole_slope[:, :, agent : agent + 1])
    assert actors.act(x.transpose(0, 1)).shape == (7, 3, 2)


@pytest.fixture(scope="module")
def played(play_model, free):
    return play_model(free)


def test_at_the_rollouts_actions_the_model_is_the_rollout(played):
    learner, done, gradient, model = played
    assert done.action.shape == gradient.shape == (3, 6, 20, 2)
    found = model.play(done.action, torch.arange(3))
    for name in ("p_kw", "q_kvar"):
        expected = getattr(done.outcome, name).detach()
        torch.testing.assert_close(
            getattr(found.devices, name), expected, rtol=1e-4, atol=3e-3, msg=name
        )
    cost = done.outcome.cost_usd.sum((-3, -2, -1)).detach()
    torch.testing.assert_close(found.devices.cost_usd, cost, rtol=1e-5, atol=1e-2)
    assert found.devices.q_kvar[..., 14:].abs().max() > 1.0
    v_pu = done.outcome.flow.v_magnitude_pu[..., learner.core.limits.monitored]
    torch.testing.assert_close(found.v_pu, v_pu.float(), rtol=0.0, atol=1e-6)


def test_the_gain_is_the_answer_of_both_numbers(played):
    learner, done, _, _ = played
    observation, values = done.observation.clone(), []
    for sign in (1.0, -1.0):
        observation[..., OWN_STATE] = done.observation[..., OWN_STATE] + sign * 1e-2
        with torch.no_grad():
            values.append(learner.actors.act(observation.flatten(0, 1)))
    slope = ((values[0] - values[1]) / 2e-2).reshape(done.action.shape)
    gain = own_state_gain(learner.actors, done)
    torch.testing.assert_close(gain, slope, rtol=1e-2, atol=1e-3)


def test_most_of_the_environments_gradient_is_in_the_model_for_both_numbers(played):
    """What it leaves out: the reaction to the voltage, and what bends."""
    learner, done, gradient, model = played
    action = done.action.clone().requires_grad_(True)
    value = learner.modelled(model, action, torch.arange(3))
    (known,) = torch.autograd.grad(value, action)
    for number in (0, 1):
        missed = (gradient - known)[..., number].norm()
        assert missed < 0.3 * gradient[..., number].norm(), number


def test_a_pass_begins_with_the_environments_gradient(played):
    """What the model leaves out can be mended, number by number."""
    learner, done, gradient, _ = played
    model = learner._model(done)
    unknown = gradient - learner._known(model, done)
    action = done.action.clone().requires_grad_(True)
    value = learner.modelled(model, action, torch.arange(3))
    value = value + (unknown * (action - done.action)).sum()
    (whole,) = torch.autograd.grad(value, action)
    torch.testing.assert_close(whole, gradient, rtol=1e-5, atol=1e-6 * gradient.abs().max().item())


def test_the_gradient_by_the_weights_is_the_self_supervised_one(free):
    """`G d pi / d theta`, both numbers of every action in it."""
    config = LearnerConfig(hidden=(8,), days_per_batch=2, price=PRICE)
    learner, days = SelfSupervised(free, config, 0), free.days("train")[:2]
    weights = list(learner.actors.parameters())
    whole = learner.objective(rollout(free, learner.actors, days).outcome)
    expected = torch.autograd.grad(whole, weights)
    done, gradient = environment_gradient(free, learner.actors, days, learner.objective)
    chosen = learner.actors.act(done.observation.flatten(0, 1)).reshape(done.action.shape)
    found = torch.autograd.grad((gradient * chosen).sum(), weights)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * b.abs().max().item())


SMALL = {"hidden": (8,), "days_per_batch": 2, "price": PRICE}
LEARNERS = {
    "model": (GradMAP, LearnerConfig(**SMALL)),
    "mended": (GradMAP, LearnerConfig(surrogate="mended", **SMALL)),
    "gradient": (GradMAP, LearnerConfig(surrogate="gradient", proximal="clip", **SMALL)),
    "self-supervised": (SelfSupervised, LearnerConfig(**SMALL)),
    "shac": (SHAC, SHACConfig(horizon=3, deviation=0.1, **SMALL)),
    "gippo": (GIPPO, GIPPOConfig(**SMALL)),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_learns_both_numbers_and_resumes(free, name):
    method, config = LEARNERS[name]
    first, second = method(free, config, 0), method(free, config, 1)
    before = [weight.detach().clone() for weight in first.actors.parameters()]
    first.iterate(0.0)
    second.load_state_dict(first.state_dict())
    one, other = first.iterate(0.1), second.iterate(0.1)
    assert one == other
    # The last layer's second column moves where there is an inverter, for any reason.
    moved = (first.actors.net[-1].weight - before[-2])[..., 1].abs().amax(1)
    assert (moved[free.inverters.kva > 0] > 0).all()
    action = first.policy().act(free.observe(free.reset(free.days("train")[:2])))
    assert action.shape == (2, 20, 2)
    assert action.isfinite().all()


def test_the_selfish_have_no_use_for_it(free):
    config = LearnerConfig(hidden=(8,), days_per_batch=2, price=PriceConfig(kind="none"))
    learner = GradMAP(free, config, 0)
    first = [weight.detach().clone() for weight in learner.actors.parameters()]
    for _ in range(5):
        learner.iterate(0.0)
    last = learner.actors.net[-1].weight - first[-2]
    assert not last[..., 1].any()
    assert last[..., 0].abs().max() > 1e-3


def test_free_reactive_power_saves_sun(make_core, noon):
    """Twelve large roofs at noon lift the voltage; absorbing costs less than curtailing."""
    config = LearnerConfig(
        hidden=(8,),
        days_per_batch=4,
        learning_rate=3e-2,
        price=PriceConfig(kind="fixed", voltage_usd_per_pu=2000.0, overload_usd=0.0),
    )
    found = {}
    for reactive in ("rule", "free"):
        task = {"mix": AgentMix(0, 0, 0, 0, 1), "pv_inverter_kw": 24.0, "reactive": reactive}
        core = make_core(12, scenarios=noon, **task)
        learner = GradMAP(core, config, 0)
        for iteration in range(10):
            learner.iterate(iteration / 10)
        with torch.no_grad():
            outcome = rollout(core, learner.policy(), core.days("train")).outcome
            found[reactive] = (float(learner.objective(outcome)), float(-outcome.p_kw.sum()))
            q = outcome.q_kvar
    assert found["free"][0] < found["rule"][0] - 0.05 * abs(found["rule"][0])
    assert found["free"][1] > 1.05 * found["rule"][1]
    assert q.mean() > 0

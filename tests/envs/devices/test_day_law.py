"""Days by one law of motion and one bill: the fleets' own steps, values and gradients."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gradmap.envs.config import AgentMix
from gradmap.envs.devices.day_law import Feedback, play_by_operations, play_days

EVERY_KIND = {
    "mix": AgentMix(1, 1, 1, 2, 1),
    "battery_kvar_per_kw": 0.3,
}


@pytest.fixture(scope="module", params=["published", "every kind", "reactive"])
def core(make_core, request):
    """Half a night; or until noon, so that cars leave and the sun comes out."""
    if request.param == "published":
        return make_core(steps=12)
    reactive = {"pv_kvar_per_kw": 0.44} if request.param == "reactive" else {}
    return make_core(24, steps=24, **EVERY_KIND, **reactive)


def actions(core, batch, size=1.0):
    generator = torch.Generator().manual_seed(3)
    shape = (batch, core.num_steps, core.num_agents)
    return size * (2.0 * torch.rand(shape, generator=generator) - 1.0)


def stepped(core, days, action, feedback=None):
    """The same day by the fleets' own steps."""
    state = core.reset(days)
    done = []
    for step in range(core.num_steps):
        act = action[:, step]
        if feedback is not None:
            own = core.observe(state)[..., core_own_state()]
            act = act + feedback.gain[:, step] * (own - feedback.seen[:, step])
        state, outcome = core.step(state, act)
        done.append(outcome)
    return done


def core_own_state():
    from gradmap.envs.observations import FEATURES

    return FEATURES.index("own_state")


def total(p_kw, cost):
    """A value that every power and cost is in, unevenly."""
    weight = torch.linspace(-1.0, 1.0, p_kw.shape[1]).view(1, -1, 1)
    return (p_kw * weight).sum() + cost.sum()


@pytest.mark.parametrize("size", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("closed", [False, True])
def test_it_is_what_the_fleets_do(core, size, closed):
    """Bounds reached or not, actions beyond the ends, with feedback or without."""
    days = core.days("train")[:2]
    action = actions(core, 2, size)
    feedback = Feedback(0.7 * actions(core, 2), 0.2 * actions(core, 2)) if closed else None
    values, slopes = [], []
    for way in ("law", "steps"):
        leaf = action.clone().requires_grad_(True)
        if way == "law":
            done = core.device_days(days).play(leaf, feedback)
            p_kw, cost, clipped = done.p_kw, done.cost_usd, done.clipped_kw
            values.append((p_kw, done.q_kvar, cost, clipped))
        else:
            steps = stepped(core, days, leaf, feedback)
            p_kw, q_kvar, each, off = (
                torch.stack([getattr(s, n) for s in steps], 1)
                for n in ("p_kw", "q_kvar", "cost_usd", "clipped_kw")
            )
            cost, clipped = each.sum((-3, -2, -1)), off.sum((-2, -1))
            values.append((p_kw, q_kvar, cost, clipped))
        slopes.append(torch.autograd.grad(total(p_kw, cost) + 0.1 * clipped.sum(), leaf)[0])
    for a, b in zip(*values, strict=True):
        # What is clipped over a day is a sum of differences of rounding's size where nothing is.
        atol = max(2e-4 * b.abs().max().item(), 1e-2 if b.ndim == 1 else 0.0)
        torch.testing.assert_close(a, b, rtol=1e-4, atol=atol)
    # At a bound reached exactly either side's derivative is one: a few in a thousand.
    is_apart = (slopes[0] - slopes[1]).abs() > 1e-3 * slopes[1].abs().max()
    assert is_apart.double().mean() < 5e-3


def test_some_of_the_days_are_those_of_all(core):
    days = core.days("train")[:3]
    action = actions(core, 3)
    rows = torch.tensor([2, 0])
    whole = core.device_days(days).play(action)
    part = core.device_days(days).play(action[rows], rows=rows)
    for a, b in zip(vars(part).values(), vars(whole).values(), strict=True):
        assert torch.equal(a, b[rows])


def in_double(law):
    """The law in double precision."""
    parts = {
        name: type(part)(**{k: v.double() for k, v in vars(part).items()})
        if dataclasses.is_dataclass(part)
        else part.double()
        for name, part in vars(law).items()
    }
    return type(law)(**parts)


def random_case(core, dtype, size=0.4):
    """A law of three days, actions on two of them, and a feedback."""
    law = core.device_days(core.days("train")[:3]).law
    law = in_double(law) if dtype == torch.float64 else law
    generator = torch.Generator().manual_seed(5)
    shape = (3, core.num_steps, core.num_agents)
    base, gain, seen = (
        size * torch.randn(shape, generator=generator, dtype=dtype) for _ in range(3)
    )
    return law, base[:2], Feedback(gain, seen), torch.tensor([2, 0])


@pytest.mark.parametrize("played", [play_days, play_by_operations])
def test_its_gradient_is_that_of_finite_differences(core, played):
    """In double precision, of all that is played."""
    law, base, feedback, rows = random_case(core, torch.float64)

    def values(x):
        return tuple(vars(played(law, x, feedback, rows)).values())

    assert torch.autograd.gradcheck(values, (base.requires_grad_(True),), fast_mode=True)


@pytest.mark.parametrize("size", [0.4, 1.5])
def test_the_compiled_loop_is_that_of_small_operations(core, size):
    """Which devices other than CPUs take."""
    law, base, feedback, rows = random_case(core, torch.float64, size)
    generator = torch.Generator().manual_seed(6)
    results = []
    for played in (play_days, play_by_operations):
        leaf = base.clone().requires_grad_(True)
        found = tuple(vars(played(law, leaf, feedback, rows)).values())
        generator.manual_seed(6)
        grads = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in found]
        results.append((*found, *torch.autograd.grad(found, leaf, grads)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", ["p_kw", "q_kvar", "states", "cost_usd", "clipped_kw"])
def test_each_of_its_results_may_be_asked_for_alone(core, name):
    law, base, feedback, rows = random_case(core, torch.float64)
    slopes = []
    for played in (play_days, play_by_operations):
        leaf = base.clone().requires_grad_(True)
        value = getattr(played(law, leaf, feedback, rows), name)
        slopes.append(torch.autograd.grad(value.square().sum(), leaf)[0])
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-8)


def test_what_is_no_number_stays_none(core):
    """A policy that has come apart is not to look like one that asks for the most."""
    law, base, feedback, rows = random_case(core, torch.float32)
    base[0, 1, 0] = torch.nan
    for played in (play_days, play_by_operations):
        found = played(law, base, feedback, rows)
        assert found.cost_usd[0].isnan()
        assert not found.cost_usd[1].isnan()

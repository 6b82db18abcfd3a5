"""Days as one recursion: the fleets' own steps, values and gradients."""

from __future__ import annotations

import pytest
import torch

from gradmap.envs.config import AgentMix
from gradmap.envs.devices import recursion
from gradmap.envs.devices.days import Feedback
from gradmap.envs.devices.recursion import scan

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
    for way in ("scan", "steps"):
        leaf = action.clone().requires_grad_(True)
        if way == "scan":
            done = core.device_days(days).play(leaf, feedback)
            p_kw = done.p_kw
            cost = done.energy_usd + done.fuel_usd + done.wear_usd + done.discomfort_usd
            values.append((done.setpoint_kw, p_kw, done.q_kvar, done.discomfort_kh, cost))
        else:
            steps = stepped(core, days, leaf, feedback)
            columns = [
                torch.stack([getattr(s, n) for s in steps], 1)
                for n in ("setpoint_kw", "p_kw", "q_kvar", "discomfort_kh", "cost_usd")
            ]
            p_kw, cost = columns[1], columns[4].sum(-1)
            values.append((*columns[:4], cost))
        slopes.append(torch.autograd.grad(total(p_kw, cost), leaf)[0])
    for a, b in zip(*values, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-3 * b.abs().max().item() / 10)
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


def test_its_gradient_is_that_of_finite_differences(core):
    """In double precision, of states and actions."""
    days = core.days("train")[:1]
    law = core.device_days(days)._law
    law = type(law)(**{k: v.double() for k, v in vars(law).items()})
    generator = torch.Generator().manual_seed(5)
    shape = (1, core.num_steps, core.num_agents)
    base, gain, seen = (
        0.4 * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    start = core.device_days(days)._start.double()
    few = slice(0, 3)  # the whole Jacobian of every agent would take minutes
    base = base[:, few].requires_grad_(True)

    def played(x):
        cut = type(law)(**{k: v[:, few] if v.ndim == 3 else v for k, v in vars(law).items()})
        return scan(x, start, gain[:, few], seen[:, few], cut, torch.tensor([0]))

    assert torch.autograd.gradcheck(played, (base,), fast_mode=True)


def test_the_compiled_loop_is_that_of_small_operations(core):
    """Which devices other than CPUs take."""
    days, rows = core.days("train")[:3], torch.tensor([2, 0])
    devices = core.device_days(days)
    shape = (3, core.num_steps, core.num_agents)
    generator = torch.Generator().manual_seed(6)
    base, gain, seen, *grads = (torch.randn(shape, generator=generator) for _ in range(5))
    given = (devices._start, 0.4 * gain, seen, devices._law, rows)
    compiled = recursion._play_compiled(base[rows], *given)
    plain = recursion._play(base[rows], *given)
    # Compiled sums are fused; temperatures are of some 20 degrees.
    for a, b in zip(compiled, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)
    grads = [x[rows] for x in grads]
    levers = (0.4 * gain, devices._law.seen_scale, rows, *plain[2:])
    torch.testing.assert_close(
        recursion._back_compiled(*grads, *levers),
        recursion._back(*grads, *levers),
        rtol=1e-4,
        atol=1e-4,
    )

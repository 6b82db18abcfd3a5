"""What holds for a fleet of any kind."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from gradmap.envs.devices.base import DeviceStep

STEP_FIELDS = [field.name for field in dataclasses.fields(DeviceStep)]


def start(fleet, batch=3, temp=5.0, seed=1):
    draws = torch.rand(batch, fleet.num_devices, generator=torch.Generator().manual_seed(seed))
    dtype = fleet.p_max_kw.dtype
    return fleet.initial_state(draws.to(dtype), torch.full((batch, 1), temp, dtype=dtype))


def some_action(fleet, batch=3, size=1.0, seed=2):
    generator = torch.Generator().manual_seed(seed)
    action = 2 * torch.rand(batch, fleet.num_devices, generator=generator) - 1
    return size * action.to(fleet.p_max_kw.dtype)


def test_the_kind_is_its_name(make_fleet, kind):
    fleet = make_fleet(kind)
    assert fleet.kind == kind
    assert fleet.num_devices == 5


def test_a_seed_draws_one_fleet(make_fleet, kind):
    first, second = make_fleet(kind), make_fleet(kind)
    for field in dataclasses.fields(first):
        a, b = getattr(first, field.name), getattr(second, field.name)
        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b


def test_a_step_keeps_shape_and_precision(make_fleet, surround, kind):
    fleet = make_fleet(kind)
    state = start(fleet)
    after, step = fleet.step(state, some_action(fleet), surround())
    assert after.shape == state.shape
    assert after.dtype == torch.float32
    for name in STEP_FIELDS:
        assert getattr(step, name).shape == (3, 5), name
        assert getattr(step, name).dtype == torch.float32, name
    assert fleet.observe(after).shape == (3, 5)


def test_the_state_before_is_left_as_it_was(make_fleet, surround, kind):
    fleet = make_fleet(kind)
    state = start(fleet)
    before = state.clone()
    fleet.step(state, some_action(fleet), surround(is_last=True))
    assert torch.equal(state, before)


@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0 - 2**-24])
@pytest.mark.parametrize("temp", [-20.0, 10.0, 35.0])
def test_initial_states_look_ordinary_to_the_policy(make_fleet, kind, draw, temp):
    fleet = make_fleet(kind, 50)
    draws, mean = torch.full((1, 50), draw), torch.tensor([[temp]])
    state = fleet.initial_state(draws, mean)
    assert fleet.observe(state).abs().max() <= 1.0 + 1e-6  # rounding at the band's edge
    assert torch.equal(state, fleet.initial_state(draws, mean))


def test_devices_and_days_do_not_touch_each_other(make_fleet, surround, kind):
    fleet = make_fleet(kind)
    state, action = start(fleet), some_action(fleet)
    after, step = fleet.step(state, action, surround())
    state[1, 2] += 0.1
    action[1, 2] = 0.9 * action[1, 2]
    after_other, step_other = fleet.step(state, action, surround())
    rest = torch.ones(3, 5, dtype=torch.bool)
    rest[1, 2] = False
    assert torch.equal(after[rest], after_other[rest])
    for name in STEP_FIELDS:
        assert torch.equal(getattr(step, name)[rest], getattr(step_other, name)[rest]), name


def test_the_device_does_what_was_asked_or_less(make_fleet, surround, kind):
    fleet = make_fleet(kind, 200)
    state = start(fleet, 20)
    before = state[..., 0] if kind == "generator" else torch.zeros(20, 200)
    _, step = fleet.step(state, some_action(fleet, 20), surround())
    # A ramp may hold an output above what is asked; then it is no more than before.
    limit = torch.maximum(step.setpoint_kw.abs(), before)
    assert (step.p_kw.abs() <= limit * (1 + 1e-6)).all()


@pytest.mark.parametrize("is_last", [False, True])
def test_gradients_pass_gradcheck(make_fleet, surround, kind, is_last):
    """In float64, at random points, so not on a kink; half of the actions are large."""
    fleet = make_fleet(kind, 6, torch.float64)
    size = torch.tensor([0.2, 1.0], dtype=torch.float64).repeat(3)
    state = start(fleet, 2).requires_grad_()
    action = (size * some_action(fleet, 2)).requires_grad_()
    around = surround(is_last=is_last, dtype=torch.float64)

    def outputs(state: Tensor, action: Tensor) -> tuple[Tensor, ...]:
        after, step = fleet.step(state, action, around)
        return (after, fleet.observe(after), *vars(step).values())

    assert torch.autograd.gradcheck(outputs, (state, action))


def test_gradients_through_two_steps_pass_gradcheck(make_fleet, surround, kind):
    fleet = make_fleet(kind, 4, torch.float64)
    around = surround(dtype=torch.float64), surround(0.3, 2.0, is_last=True, dtype=torch.float64)
    actions = [some_action(fleet, 2, 0.7, seed).requires_grad_() for seed in (3, 4)]

    def bill(first: Tensor, second: Tensor) -> Tensor:
        middle, early = fleet.step(start(fleet, 2), first, around[0])
        _, late = fleet.step(middle, second, around[1])
        steps = (early, late)
        return sum(s.energy_usd + s.fuel_usd + s.wear_usd + s.discomfort_usd for s in steps)

    assert torch.autograd.gradcheck(bill, actions)

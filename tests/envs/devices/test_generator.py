"""Generators: output between off and rated, ramp, fuel."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradmap.envs.devices.generator import GeneratorFleet, make_generators


@pytest.fixture
def one():
    """10 kW, 4 kW a step, 15 cents rising by 6 cents up to rated power."""
    return GeneratorFleet(*(torch.tensor([x]) for x in (10.0, 4.0, 0.15, 0.003)))


def output_of(value):
    return torch.tensor([[[value]]])


@pytest.mark.parametrize(
    ("before", "action", "expected"),
    [
        (0.0, 1.0, 4.0),  # held by the ramp
        (10.0, -1.0, 6.0),
        (5.0, 0.2, 6.0),  # within it
        (5.0, -1.0, 1.0),
        (2.0, -1.0, 0.0),
        (8.0, 1.0, 10.0),
    ],
)
def test_output_moves_within_the_ramp(one, surround, before, action, expected):
    after, step = one.step(output_of(before), torch.tensor([[action]]), surround(0.3))
    assert after.item() == pytest.approx(expected)
    assert step.p_kw.item() == pytest.approx(-expected)
    assert step.setpoint_kw.item() == pytest.approx(-5.0 * (action + 1.0))
    assert step.energy_usd.item() == pytest.approx(-0.3 * expected * 0.5)
    fuel = 0.5 * (0.15 * expected + 0.003 * expected**2)
    assert step.fuel_usd.item() == pytest.approx(fuel)
    for name in ("q_kvar", "wear_usd", "discomfort_usd", "discomfort_kh"):
        assert getattr(step, name).item() == 0.0


def test_where_the_ramp_holds_the_action_has_no_gradient(one, surround):
    action = torch.tensor([[1.0]], requires_grad=True)
    before = output_of(0.0).requires_grad_()
    _, step = one.step(before, action, surround())
    by_action, by_state = torch.autograd.grad(step.p_kw.sum(), (action, before))
    assert by_action.item() == 0.0
    assert by_state.item() == -1.0


@given(st.lists(st.floats(-1.0, 1.0, width=32), min_size=1, max_size=20))
def test_output_stays_between_off_and_rated(surround, actions):
    fleet = make_generators(3, 8.0, torch.Generator().manual_seed(0))
    state = fleet.initial_state(torch.full((1, 3), 0.99), torch.zeros(1, 1))
    for action in actions:
        after, step = fleet.step(state, torch.full((1, 3), action), surround())
        # One rounding of rated power, 1e-6 of it at the most.
        assert (after[0, :, 0] >= 0.0).all()
        assert (after[0, :, 0] <= fleet.p_max_kw).all()
        change = (after - state).abs()[0, :, 0]
        assert (change <= fleet.ramp_kw + 1e-6 * fleet.p_max_kw).all()
        assert (step.fuel_usd >= 0.0).all()
        state = after


def test_the_end_of_the_day_is_a_step_like_any_other(one, surround):
    steps = [
        one.step(output_of(5.0), torch.tensor([[0.2]]), surround(is_last=is_last))[1]
        for is_last in (False, True)
    ]
    assert steps[0].energy_usd == steps[1].energy_usd


def test_fleets_are_drawn_as_documented():
    fleet = make_generators(2000, 10.0, torch.Generator().manual_seed(0))
    for values, low, high in (
        (fleet.p_max_kw, 8.0, 12.0),
        (fleet.ramp_kw / fleet.p_max_kw, 0.4, 0.6),
        (fleet.fuel_usd_per_kwh, 0.13, 0.17),
        (2.0 * fleet.fuel_usd_per_kw2h * fleet.p_max_kw, 0.04, 0.08),
    ):
        assert values.min() >= low - 1e-5
        assert values.max() <= high + 1e-5
        assert values.mean() == pytest.approx((low + high) / 2, rel=0.01)  # 2,000 draws


def test_the_day_starts_below_half_of_rated_power(one):
    state = one.initial_state(torch.tensor([[0.0], [0.5], [1.0]]), torch.zeros(3, 1))
    assert state.flatten().tolist() == [0.0, 2.5, 5.0]


def test_the_policy_sees_the_output_of_the_step_before(one):
    seen = one.observe(torch.tensor([[[0.0], [5.0], [10.0]]]))
    assert seen.tolist() == [[-1.0, 0.0, 1.0]]

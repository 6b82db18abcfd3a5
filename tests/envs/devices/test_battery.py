"""Batteries: energy is kept account of, limits hold, projection is reported."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradmap.envs.devices.battery import BatteryFleet, make_batteries

HOURS = 0.5


@pytest.fixture
def one():
    """10 kW, 25 kWh, 90 % each way."""
    return BatteryFleet(*(torch.tensor([x]) for x in (10.0, 25.0, 0.9, 0.03)))


def full_of(energy_kwh, start_kwh=None):
    return torch.tensor([[[energy_kwh, energy_kwh if start_kwh is None else start_kwh]]])


def run(fleet, state, actions, surround):
    """Steps through `actions`; returns states and powers, float64, `[time + 1]` and `[time]`."""
    energies, powers = [state[0, 0, 0].item()], []
    for action in actions:
        state, step = fleet.step(state, torch.tensor([[action]]), surround(dt=HOURS))
        energies.append(state[0, 0, 0].item())
        powers.append(step.p_kw.item())
    return energies, powers


@given(
    st.lists(st.floats(-1.0, 1.0, width=32), min_size=1, max_size=48),
    st.floats(0.0, 1.0, width=32, exclude_max=True),
)
def test_energy_is_kept_account_of(surround, actions, draw):
    fleet = make_batteries(1, 12.0, torch.Generator().manual_seed(3))
    state = fleet.initial_state(torch.tensor([[draw]]), torch.zeros(1, 1))
    energies, powers = run(fleet, state, actions, surround)
    eta, size = fleet.efficiency.item(), fleet.energy_max_kwh.item()
    into = sum(p * eta for p in powers if p > 0)
    out = sum(-p / eta for p in powers if p < 0)
    # A float32 sum of up to 48 terms, none above the capacity: a few roundings
    # of the capacity, 6e-8 of it each, for every step.
    rounding = 2e-7 * size * len(actions)
    assert energies[-1] == pytest.approx(energies[0] + HOURS * (into - out), abs=rounding)
    assert min(energies) >= -rounding
    assert max(energies) <= size + rounding
    assert max(map(abs, powers)) <= fleet.p_max_kw.item()


def test_what_comes_back_is_less_by_both_efficiencies(one, surround):
    energies, powers = run(one, full_of(0.0), [0.8, 0.4, -1.0, -1.0, -1.0], surround)
    bought, sold = sum(p for p in powers if p > 0), -sum(p for p in powers if p < 0)
    assert energies[-1] == pytest.approx(0.0, abs=1e-5)
    assert sold / bought == pytest.approx(0.9 * 0.9, rel=1e-6)


def test_rest_loses_nothing(one, surround):
    energies, powers = run(one, full_of(7.0), [0.0] * 10, surround)
    assert energies == [7.0] * 11
    assert powers == [0.0] * 10


@pytest.mark.parametrize(
    ("energy", "action", "expected"),
    [
        (25.0, 1.0, 0.0),  # full
        (0.0, -1.0, 0.0),  # empty
        (24.1, 1.0, 0.9 / (0.9 * HOURS)),  # what still fits, drawn over half an hour
        (2.0, -1.0, -2.0 * 0.9 / HOURS),  # what is left, less the loss
        (12.0, 1.0, 10.0),  # nothing in the way
        (12.0, -1.0, -10.0),
    ],
)
def test_projection_bites_and_is_reported(one, surround, energy, action, expected):
    _, step = one.step(full_of(energy), torch.tensor([[action]]), surround())
    assert step.setpoint_kw.item() == pytest.approx(10.0 * action)
    assert step.p_kw.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_where_projection_bites_the_action_has_no_gradient(one, surround):
    action = torch.tensor([[1.0]], requires_grad=True)
    state = full_of(24.9).requires_grad_()
    after, step = one.step(state, action, surround())
    by_action, by_state = torch.autograd.grad(step.p_kw.sum() + after.sum(), (action, state))
    assert by_action.item() == 0.0
    assert by_state[0, 0, 0].item() != 0.0


def test_bill_and_wear_follow_the_terminal_power(one, surround):
    for action in (0.5, -0.5):
        _, step = one.step(full_of(12.0), torch.tensor([[action]]), surround(0.3))
        assert step.energy_usd.item() == pytest.approx(0.3 * 10.0 * action * HOURS)
        assert step.wear_usd.item() == pytest.approx(0.03 * 5.0 * HOURS)
        for name in ("q_kvar", "fuel_usd", "discomfort_usd", "discomfort_kh"):
            assert getattr(step, name).item() == 0.0


@pytest.mark.parametrize(("energy", "start"), [(15.0, 10.0), (5.0, 10.0), (10.0, 10.0)])
def test_the_last_step_values_what_was_gained_since_midnight(one, surround, energy, start):
    rest = torch.zeros(1, 1)
    _, last = one.step(full_of(energy, start), rest, surround(refill=0.12, is_last=True))
    assert last.energy_usd.item() == pytest.approx(-0.12 * 0.9 * (energy - start))
    _, early = one.step(full_of(energy, start), rest, surround(refill=0.12))
    assert early.energy_usd.item() == 0.0


def test_the_last_step_counts_its_own_charge(one, surround):
    _, last = one.step(
        full_of(10.0), torch.tensor([[1.0]]), surround(0.2, refill=0.1, is_last=True)
    )
    gained = 10.0 * HOURS * 0.9
    assert last.energy_usd.item() == pytest.approx(0.2 * 10.0 * HOURS - 0.1 * 0.9 * gained)


def test_the_policy_sees_the_state_of_charge(one):
    assert one.observe(torch.cat([full_of(x) for x in (0.0, 12.5, 25.0)], dim=1)).tolist() == [
        [-1.0, 0.0, 1.0]
    ]


def test_fleets_are_drawn_as_documented():
    fleet = make_batteries(2000, 10.0, torch.Generator().manual_seed(0))
    hours = fleet.energy_max_kwh / fleet.p_max_kw
    round_trip = fleet.efficiency.square()
    for values, low, high in (
        (fleet.p_max_kw, 8.0, 12.0),
        (hours, 2.5, 3.0),
        (round_trip, 0.88, 0.94),
        (fleet.wear_usd_per_kwh, 0.03, 0.04),
    ):
        assert values.min() >= low - 1e-5
        assert values.max() <= high + 1e-5
        assert values.mean() == pytest.approx((low + high) / 2, rel=0.01)  # 2,000 draws


def test_the_day_starts_between_30_and_70_percent(one):
    draws = torch.tensor([[0.0], [0.5], [1.0]])
    state = one.initial_state(draws, torch.zeros(3, 1))
    assert (state[..., 0] / 25.0).flatten().tolist() == pytest.approx([0.3, 0.5, 0.7])
    assert torch.equal(state[..., 0], state[..., 1])

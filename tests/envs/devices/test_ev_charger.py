"""Chargers: the car is away by day, is full at most, and pays for what is missing."""

from __future__ import annotations

import pytest
import torch

from gradmap.envs.devices.ev_charger import EVChargerFleet, make_ev_chargers

HOURS = 0.5


@pytest.fixture
def one():
    """7 kW, 9 kWh a day, 90 %, away from 7.5 to 18 h, $1 a kWh missing."""
    return EVChargerFleet(*(torch.tensor([x]) for x in (7.0, 9.0, 0.9, 7.5, 18.0, 1.0)))


def day(fleet, action, surround, energy=2.0):
    """A day at one action; energies `[49]` and what every step did."""
    state, steps, energies = torch.tensor([[[energy, energy]]]), [], [energy]
    for step in range(48):
        around = surround(hour=HOURS * step, dt=HOURS, is_last=step == 47)
        state, done = fleet.step(state, torch.tensor([[action]]), around)
        energies.append(state[0, 0, 0].item())
        steps.append(done)
    return energies, steps


def test_it_charges_at_home_alone_and_until_full(one, surround):
    energies, steps = day(one, 1.0, surround)
    powers = [step.p_kw.item() for step in steps]
    assert powers[0] == 7.0
    assert powers[15:36] == [0.0] * 21  # 7.5 to 18 h
    assert all(step.setpoint_kw.item() == 0.0 for step in steps[15:36])
    assert max(energies) == pytest.approx(9.0, abs=1e-6)
    assert energies[15] == pytest.approx(9.0, abs=1e-6)  # full at departure
    assert energies[16] == pytest.approx(0.0, abs=1e-6)  # and a day's need short then
    charged = HOURS * 0.9 * sum(powers)
    assert energies[-1] == pytest.approx(2.0 + charged - 9.0, abs=1e-5)


def test_what_is_missing_at_departure_is_charged_once(one, surround):
    _, steps = day(one, -1.0, surround)
    costs = [step.discomfort_usd.item() for step in steps]
    assert costs[14] == pytest.approx(9.0 - 2.0)
    assert sum(costs) == costs[14]
    _, full = day(one, 1.0, surround)
    assert sum(step.discomfort_usd.item() for step in full) == pytest.approx(0.0, abs=1e-6)


def test_what_is_charged_in_the_evening_is_worth_its_price(one, surround):
    energies, steps = day(one, 1.0, surround)
    last = steps[-1]
    bought = 0.2 * HOURS * last.p_kw.item()
    left = 0.1 * (energies[-1] - 2.0) / 0.9
    assert last.energy_usd.item() == pytest.approx(bought - left, abs=1e-6)


def test_it_sees_whether_it_is_home_and_how_long(one, surround):
    for hour, expected in ((0.0, (1.0, 7.5)), (7.5, (0.0, 0.0)), (18.0, (1.0, 13.5))):
        is_home, deadline = one.outlook(surround(hour=hour))[0, 0].tolist()
        assert (is_home, 12.0 * (deadline + 1.0)) == pytest.approx(expected, abs=1e-5)


def test_drawn_cars_can_be_charged_in_time():
    fleet = make_ev_chargers(500, 7.0, 1.0, torch.Generator().manual_seed(1))
    assert (fleet.depart_hour >= 6).all()
    assert (fleet.arrive_hour <= 20).all()
    night = (24.0 - fleet.arrive_hour + fleet.depart_hour) * fleet.p_max_kw * fleet.efficiency
    assert (night > 2.0 * fleet.need_kwh).all()
    # From midnight alone, at worst empty.
    assert (fleet.depart_hour * fleet.p_max_kw * fleet.efficiency > fleet.need_kwh).all()

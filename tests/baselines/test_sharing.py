"""Sharing out a unit's power: sums hold, limits hold, levels are common."""

from __future__ import annotations

import pytest
import torch

from gradmap.baselines.sharing import share_out
from gradmap.envs.devices.base import Surroundings

DT = 0.5
TEMP = torch.tensor([[3.0]])


def unit_of(fleet):
    return torch.arange(fleet.num_devices) % 2


def sums(fleet, kw):
    return torch.zeros(len(kw), 2).index_add(1, unit_of(fleet), kw)


def after(fleet, state, action):
    around = Surroundings(torch.tensor([[0.2]]), TEMP, 0.1, DT, False)
    return fleet.step(state, action, around)


@pytest.fixture
def states(core):
    return core.reset(core.days("train")[:1]).devices


@pytest.mark.parametrize("kw", [[6.0, 15.0], [-8.0, -3.0], [5.0, -5.0], [0.0, 0.0]])
def test_batteries_follow_their_unit_and_none_works_against_it(core, states, kw):
    fleet, state = core.fleets[0], states[0]
    wanted = torch.tensor([kw]) * fleet.p_max_kw.mean() / 12
    action, power = share_out(fleet, unit_of(fleet), wanted, state, TEMP, DT)
    assert torch.allclose(sums(fleet, power), wanted, atol=1e-2)
    sign = wanted[:, unit_of(fleet)].sign()
    assert (power * sign >= 0.0).all()
    _, step = after(fleet, state, action)
    assert torch.allclose(step.p_kw, power, atol=1e-2)


def test_batteries_are_led_to_one_state_of_charge(core, states):
    fleet, state = core.fleets[0], states[0]
    for _ in range(12):
        wanted = sums(fleet, 0.2 * fleet.p_max_kw.unsqueeze(0))
        action, _ = share_out(fleet, unit_of(fleet), wanted, state, TEMP, DT)
        state, _ = after(fleet, state, action)
    charge = fleet.observe(state)[0]
    for own in (0, 1):
        assert charge[own::2].std() < 0.02


def test_houses_are_led_to_one_place_in_their_bands(core, states):
    fleet, state = core.fleets[1], states[1]
    wanted = sums(fleet, 0.4 * fleet.p_max_kw.unsqueeze(0))
    for _ in range(40):
        action, power = share_out(fleet, unit_of(fleet), wanted, state, TEMP, DT)
        assert torch.allclose(sums(fleet, power), wanted, rtol=1e-3)
        state, step = after(fleet, state, action)
        assert torch.allclose(step.p_kw, power, rtol=1e-4)
    place = fleet.observe(state)[0]
    for own in (0, 1):
        assert place[own::2].std() < 0.02


def test_generators_run_at_one_marginal_cost(core, states):
    fleet, state = core.fleets[2], states[2]
    wanted = -sums(fleet, 0.5 * fleet.p_max_kw.unsqueeze(0))
    for _ in range(4):
        action, power = share_out(fleet, unit_of(fleet), wanted, state, TEMP, DT)
        state, step = after(fleet, state, action)
        assert torch.allclose(step.p_kw, power, rtol=1e-4, atol=1e-3)
    assert torch.allclose(sums(fleet, power), wanted, rtol=1e-3)
    output = -power[0]
    cost = fleet.fuel_usd_per_kwh + 2.0 * fleet.fuel_usd_per_kw2h * output
    inside = (output > 1e-3) & (output < fleet.p_max_kw - 1e-3)
    for own in (0, 1):
        marginal = cost[own::2][inside[own::2]]
        assert marginal.numel() < 2 or marginal.std() < 1e-3


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("kw", [1e4, -1e4])
def test_more_than_devices_can_do_is_the_most_they_can(core, states, place, kw):
    fleet, state = core.fleets[place], states[place]
    action, power = share_out(fleet, unit_of(fleet), torch.full((1, 2), kw), state, TEMP, DT)
    assert action.isfinite().all()
    assert action.abs().max() <= 1.0 + 1e-4
    assert (power.abs() <= fleet.p_max_kw * (1.0 + 1e-4)).all()

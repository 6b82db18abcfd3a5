"""PV inverters: no more than the sun gives, reactive power inside the circle."""

from __future__ import annotations

import pytest
import torch

from gradmap.envs.devices.pv_inverter import PVInverterFleet
from gradmap.envs.kinds import MAX_KVAR_PER_KW


@pytest.fixture
def plain():
    return PVInverterFleet(torch.tensor([10.0]))


@pytest.fixture
def reactive():
    return PVInverterFleet(torch.tensor([10.0]), MAX_KVAR_PER_KW)


def at(fleet, action, surround, sun=0.5):
    state = torch.zeros(1, 1, 1)
    return fleet.step(state, torch.tensor([[action]]), surround(sun=sun))


@pytest.mark.parametrize(("action", "share"), [(-1.0, 0.0), (0.0, 0.5), (1.0, 1.0)])
def test_an_action_is_a_share_of_the_sun(plain, surround, action, share):
    after, done = at(plain, action, surround)
    assert done.p_kw.item() == pytest.approx(-share * 5.0)
    assert after[0, 0, 0].item() == pytest.approx(share * 5.0)
    assert done.q_kvar.item() == 0.0
    assert done.energy_usd.item() == pytest.approx(-0.2 * 0.5 * share * 5.0)
    assert done.setpoint_kw.item() == done.p_kw.item()


@pytest.mark.parametrize(
    ("action", "p_kw", "q_kvar"),
    [(1.0, -5.0, 0.0), (0.5, -5.0, 1.1), (0.0, -5.0, 2.2), (-0.5, -2.5, 2.2), (-1.0, 0.0, 2.2)],
)
def test_reactive_power_comes_before_curtailment(reactive, surround, action, p_kw, q_kvar):
    _, done = at(reactive, action, surround)
    assert done.p_kw.item() == pytest.approx(p_kw)
    assert done.q_kvar.item() == pytest.approx(q_kvar)


def test_it_stays_inside_the_circle(reactive, surround):
    """Of an inverter of 1.1 kVA per kW, at any sun and action."""
    for sun in torch.linspace(0.0, 1.0, 11).tolist():
        for action in torch.linspace(-1.0, 1.0, 21).tolist():
            _, done = at(reactive, action, surround, sun)
            assert done.p_kw.item() ** 2 + done.q_kvar.item() ** 2 <= 11.0**2


def test_at_night_there_is_nothing(reactive, surround):
    for action in (-1.0, 0.0, 1.0):
        _, done = at(reactive, action, surround, 0.0)
        assert done.p_kw.item() == done.q_kvar.item() == 0.0


def test_it_sees_the_sun(plain, surround):
    share, deadline = plain.outlook(surround(sun=0.3))[0, 0].tolist()
    assert share == pytest.approx(0.3)
    assert deadline == 0.0


def test_gradients_of_both_powers_pass_gradcheck(surround):
    fleet = PVInverterFleet(torch.tensor([8.0, 10.0], dtype=torch.float64), 0.3)
    action = torch.tensor([[0.4, -0.3]], dtype=torch.float64, requires_grad=True)
    around = surround(dtype=torch.float64)
    state = torch.zeros(1, 2, 1, dtype=torch.float64)

    def powers(action):
        _, done = fleet.step(state, action, around)
        return done.p_kw, done.q_kvar, done.energy_usd

    assert torch.autograd.gradcheck(powers, (action,))

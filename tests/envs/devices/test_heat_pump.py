"""Heat pumps: exact buildings, a COP within its limits, discomfort by the kelvin hour."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradmap.envs.devices.heat_pump import (
    DISCOMFORT_USD_PER_KH,
    POWER_FACTOR,
    HeatPumpFleet,
    cop,
    make_heat_pumps,
)


@pytest.fixture
def one():
    """5 kW, 0.4 kW/K, 40 h, 2 K of gains, 20 to 23 degC, for two houses."""
    values = (5.0, 0.4, 40.0, 2.0, 20.0, 23.0, 1.0)
    return HeatPumpFleet(*(torch.tensor([x], dtype=torch.float64) for x in values))


def at(*temps_degc):
    return torch.tensor([[[temp, temp] for temp in temps_degc]], dtype=torch.float64)


def act(*values):
    return torch.tensor([values], dtype=torch.float64)


def indoor_after(fleet, indoor, action, around):
    return fleet.step(at(indoor), act(action), around)[0][0, 0, 0].item()


@pytest.mark.parametrize(
    ("outdoor", "expected"), [(-50.0, 1.8), (0.0, 2.8), (15.0, 4.0), (27.5, 5.0), (60.0, 5.0)]
)
def test_the_cop_falls_with_the_cold_between_its_limits(outdoor, expected):
    assert cop(torch.tensor(outdoor)).item() == pytest.approx(expected)


@given(st.floats(-60.0, 60.0), st.floats(-60.0, 60.0))
def test_the_cop_never_falls_as_it_gets_warmer(first, second):
    low, high = sorted((first, second))
    assert cop(torch.tensor(low)) <= cop(torch.tensor(high))


def euler(indoor, action, outdoor, dt, num=20_000):
    """The heat balance `C dT/dt = COP P - H (T - T_out - gain)` in small explicit steps."""
    power, loss, hours, gain = 5.0 * 0.5 * (action + 1.0), 0.4, 40.0, 2.0
    heat = min(max(2.8 + 0.08 * outdoor, 1.8), 5.0) * power
    for _ in range(num):
        indoor += dt / num * (heat - loss * (indoor - outdoor - gain)) / (loss * hours)
    return indoor


@pytest.mark.parametrize("action", [-1.0, 0.2, 1.0])
@pytest.mark.parametrize("outdoor", [-15.0, 8.0])
@pytest.mark.parametrize("dt", [0.5, 6.0])
def test_a_step_is_the_heat_balance_integrated(one, surround, action, outdoor, dt):
    around = surround(temp=outdoor, dt=dt, dtype=torch.float64)
    # Euler's error is about (dt / 40 h)^2 / 2 of the rise, over its 20,000 steps.
    exact = indoor_after(one, 20.5, action, around)
    assert exact == pytest.approx(euler(20.5, action, outdoor, dt), abs=5e-5)


def test_two_half_steps_are_one_step(one, surround):
    whole = surround(temp=-3.0, dt=1.0, dtype=torch.float64)
    half = surround(temp=-3.0, dt=0.5, dtype=torch.float64)
    middle = indoor_after(one, 20.0, 0.3, half)
    assert indoor_after(one, middle, 0.3, half) == pytest.approx(
        indoor_after(one, 20.0, 0.3, whole), abs=1e-12
    )


def test_the_building_settles_where_heat_and_loss_meet(one, surround):
    around = surround(temp=0.0, dt=4000.0, dtype=torch.float64)
    assert indoor_after(one, 20.0, -0.2, around) == pytest.approx(0.0 + 2.0 + 2.8 * 2.0 / 0.4)


def test_a_unit_holds_its_band_on_the_design_day(surround):
    """At -14 degC and full power every building settles above its band's lower edge."""
    fleet = make_heat_pumps(500, 5.0, 1.0, torch.Generator().manual_seed(0))
    state = fleet.initial_state(torch.zeros(1, 500), torch.tensor([[-14.0]]))
    after, _ = fleet.step(state, torch.ones(1, 500), surround(temp=-14.0, dt=1e5))
    needed = fleet.comfort_low_degc - fleet.gain_k + 14.0
    spare = (after[0, :, 0] - fleet.comfort_low_degc) / needed
    assert spare.numpy() == pytest.approx(0.1, abs=1e-5)  # a tenth to spare, in float32


@pytest.mark.parametrize(("action", "p_kw"), [(-1.0, 0.0), (0.0, 2.5), (1.0, 5.0)])
def test_power_follows_the_action_with_its_reactive_part(one, surround, action, p_kw):
    _, step = one.step(at(21.0), act(action), surround(0.3, dtype=torch.float64))
    assert step.setpoint_kw.item() == step.p_kw.item() == p_kw
    assert step.q_kvar.item() == pytest.approx(p_kw * math.tan(math.acos(POWER_FACTOR)))
    assert step.energy_usd.item() == pytest.approx(0.3 * p_kw * 0.5)
    assert step.fuel_usd.item() == step.wear_usd.item() == 0.0


def test_discomfort_counts_kelvin_hours_outside_the_band(one, surround):
    """Measured after the step; this building stays where it is, for a balanced power."""
    temps = (17.0, 20.0, 21.5, 23.0, 24.0)
    hold = [(temp - 5.0 - 2.0) * 0.4 / 3.2 / 5.0 * 2.0 - 1.0 for temp in temps]
    fleet = HeatPumpFleet(
        *(value.expand(5) for name, value in vars(one).items() if name != "kind"),
    )
    after, step = fleet.step(at(*temps), act(*hold), surround(dtype=torch.float64))
    assert after[0, :, 0].tolist() == pytest.approx(temps)
    assert step.discomfort_kh[0].tolist() == pytest.approx([1.5, 0.0, 0.0, 0.0, 0.5], abs=1e-9)
    assert torch.equal(step.discomfort_usd, step.discomfort_kh * 1.0)


def test_discomfort_is_paid_for_every_house(make_fleet):
    fleet = make_fleet("heat_pump")  # two houses each
    assert fleet.discomfort_usd_per_kh.tolist() == [2.0 * DISCOMFORT_USD_PER_KH] * 5


def test_the_last_step_values_the_heat_kept_since_midnight(one, surround):
    state = torch.tensor([[[22.0, 20.5]]], dtype=torch.float64)
    last = surround(0.2, 10.0, refill=0.1, is_last=True, dtype=torch.float64)
    after, step = one.step(state, act(-1.0), last)
    heat_kwh = 0.4 * 40.0 * (after[0, 0, 0].item() - 20.5)
    assert step.energy_usd.item() == pytest.approx(-0.1 * heat_kwh / 3.6)
    early = surround(0.2, 10.0, refill=0.1, dtype=torch.float64)
    assert one.step(state, act(-1.0), early)[1].energy_usd.item() == 0.0


@given(st.floats(0.0, 1.0, exclude_max=True), st.floats(-30.0, 40.0))
def test_the_day_starts_inside_the_band_and_no_colder_than_unheated(draw, temp):
    fleet = make_heat_pumps(20, 5.0, 1.0, torch.Generator().manual_seed(1))
    state = fleet.initial_state(torch.full((1, 20), draw), torch.tensor([[temp]]))
    indoor = state[0, :, 0]
    assert (indoor >= fleet.comfort_low_degc).all()
    assert (indoor <= fleet.comfort_high_degc).all()
    unheated = torch.minimum(temp + fleet.gain_k, fleet.comfort_high_degc)
    assert (indoor >= unheated - 1e-5).all()
    assert torch.equal(indoor, state[0, :, 1])


def test_the_policy_sees_its_place_in_the_band(one):
    assert one.observe(at(20.0, 21.5, 23.0)).tolist() == [[-1.0, 0.0, 1.0]]

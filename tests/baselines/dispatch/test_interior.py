"""The interior-point method: by hand, against HiGHS, and against the environment."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradmap.baselines.dispatch.devices import fleet_blocks
from gradmap.baselines.dispatch.highs import solve_with_highs
from gradmap.baselines.dispatch.horizon import Horizon
from gradmap.baselines.dispatch.interior import solve_interior
from gradmap.baselines.dispatch.problem import no_rows, play_devices, solve_dispatch
from gradmap.baselines.dispatch.rows import Rows
from gradmap.envs.devices.battery import BatteryFleet
from gradmap.envs.devices.generator import GeneratorFleet
from gradmap.envs.devices.heat_pump import HeatPumpFleet, cop
from gradmap.feeders.errors import GradmapError


def horizon(tariff, temp=5.0, refill=0.0):
    price = torch.tensor([tariff])
    return Horizon(price, torch.full_like(price, temp), refill, 0.5)


def one(*values):
    return [torch.tensor([value]) for value in values]


def battery(wear=0.01):
    return BatteryFleet(*one(4.0, 10.0, 0.9, wear))


def generator():
    return GeneratorFleet(*one(8.0, 3.0, 0.1, 0.005))


def pump(discomfort=0.5):
    return HeatPumpFleet(*one(5.0, 0.3, 40.0, 2.0, 20.0, 23.0, discomfort))


def solved(fleet, state, ahead):
    return solve_dispatch((fleet,), (torch.tensor([[state]]),), ahead, tolerance=1e-8)


def test_a_battery_buys_cheap_and_sells_dear():
    found = solved(battery(), [0.0, 0.0], horizon([0.1, 0.1, 0.5, 0.6]))
    # 4 kWh bought, 0.81 of it sold: first at rated power where it pays most.
    assert found.p_kw[0, :, 0].tolist() == pytest.approx([4.0, 4.0, -2.48, -4.0], abs=1e-3)
    cost = 0.11 * 4.0 - 0.49 * 1.24 - 0.59 * 2.0
    assert found.cost_usd.item() == pytest.approx(cost, abs=1e-5)
    assert found.bound_usd.item() == pytest.approx(cost, abs=1e-5)
    assert found.bound_usd <= found.cost_usd + 1e-9


def test_a_battery_keeps_what_is_worth_more_at_midnight():
    found = solved(battery(), [5.0, 5.0], horizon([0.2, 0.2], refill=0.4))
    assert (found.p_kw > 0).all()
    assert solved(battery(), [5.0, 5.0], horizon([0.2, 0.2], refill=0.2)).p_kw.abs().max() < 1e-3


def test_a_generator_runs_to_its_marginal_price_within_the_ramp():
    # 0.1 + 2 * 0.005 g = 0.16 at 6 kW; three kW a step from rest.
    found = solved(generator(), [0.0], horizon([0.16] * 4))
    assert found.p_kw[0, :, 0].tolist() == pytest.approx([-3.0, -6.0, -6.0, -6.0], abs=5e-3)
    cost = sum(0.5 * g * (0.1 + 0.005 * g - 0.16) for g in (3.0, 6.0, 6.0, 6.0))
    assert found.bound_usd.item() == pytest.approx(cost, abs=1e-5)


def test_a_heat_pump_holds_the_lower_edge_where_heat_is_dear():
    found = solved(pump(20.0), [20.0, 20.0], horizon([0.3] * 6))
    held = 0.3 * (20.0 - 5.0 - 2.0) / cop(torch.tensor(5.0)).item()
    assert found.p_kw[0, :, 0].tolist() == pytest.approx([held] * 6, rel=1e-3)


def test_a_heat_pump_against_every_choice_on_a_grid():
    ahead, fleet = horizon([0.1, 0.6, 0.2], temp=-5.0, refill=0.15), pump()
    state = torch.tensor([[[20.5, 20.5]]])
    levels = torch.linspace(-1, 1, 41)
    choices = torch.cartesian_prod(levels, levels, levels)
    num = len(choices)
    wide = Horizon(
        ahead.tariff_usd_per_kwh.expand(num, -1), ahead.temp_outdoor_degc.expand(num, -1), 0.15, 0.5
    )
    _, _, cost = play_devices((fleet,), (state.expand(num, -1, -1),), wide, [choices[..., None]])
    found = solved(fleet, [20.5, 20.5], ahead)
    assert found.bound_usd <= cost.min()
    assert found.cost_usd.item() == pytest.approx(cost.min().item(), abs=2e-3)


@pytest.fixture(scope="module")
def problem(make_core):
    """Two days of 20 agents, twelve steps, with random limits on each step's power."""
    core = make_core(steps=12)
    days = core.days("test")
    scenarios = core.scenarios
    index = days.numpy()
    ahead = Horizon(
        torch.tensor(scenarios.tariff_usd_per_kwh[index]),
        torch.tensor(scenarios.temp_outdoor_degc[index]),
        core.refill_usd_per_kwh,
        core.dt_hours,
    )
    blocks = fleet_blocks(core.fleets, core.reset(days).devices, ahead)
    random = np.random.default_rng(0)
    group = [random.integers(0, 6, fleet.num_devices) for fleet in core.fleets]
    return core, days, ahead, blocks, group


def limits(tight: float, seed: int = 1) -> Rows:
    random = np.random.default_rng(seed)
    per_kw = random.normal(size=(12, 2, 6))
    used = np.ones((12, 2), bool)
    used[3:5] = False
    used[:, 1] &= np.arange(12) % 2 == 0
    return Rows(per_kw * used[..., None], np.where(used, tight, 1.0), used)


@pytest.mark.parametrize("tight", [20.0, 2.0, -5.0])
@pytest.mark.parametrize("day", [0, 1])
def test_highs_finds_the_same_optimum(problem, day, tight):
    blocks, group = problem[3][day], problem[4]
    rows = limits(tight)
    found = solve_interior(blocks, group, rows, price_max=3.0, tolerance=1e-7)
    value = found.cost_usd + found.charge_usd
    other = solve_with_highs(blocks, group, rows, price_max=3.0)
    assert found.bound_usd == pytest.approx(value, abs=1e-5 * (1 + abs(value)))
    # HiGHS has tangents for fuel, 31 pieces of the range.
    pieces = sum(float((b.curvature * b.upper**2).sum()) for b in blocks) / (8 * 31**2)
    assert other - 1e-4 <= value <= other + pieces + 1e-4 * (1 + abs(value))


def test_a_bound_holds_however_early_the_method_stops(problem):
    blocks, group = problem[3][0], problem[4]
    rows = limits(2.0)
    best = solve_interior(blocks, group, rows, price_max=3.0, tolerance=1e-8)
    bounds = [
        solve_interior(blocks, group, rows, price_max=3.0, max_iterations=k).bound_usd
        for k in (0, 3, 6, 9, 12, 20)
    ]
    assert bounds == sorted(bounds)
    assert bounds[-1] <= best.cost_usd + best.charge_usd + 1e-9


def test_prices_lie_where_limits_bind(problem):
    blocks, group = problem[3][0], problem[4]
    found = solve_interior(blocks, group, limits(2.0), price_max=3.0, tolerance=1e-7)
    assert (found.price >= 0).all()
    assert found.price.max() > 1e-3
    assert (found.price[~limits(2.0).is_used] == 0).all()
    assert found.charge_usd < 1e-3


def test_a_charge_on_change_leaves_the_bound_of_the_plain_problem(problem):
    blocks, group = problem[3][0], problem[4]
    rows = limits(2.0)
    plain = solve_interior(blocks, group, rows, price_max=3.0, tolerance=1e-7)
    held = [b.near(np.zeros(b.shape[1:]), 0.5) for b in blocks]
    found = solve_interior(held, group, rows, price_max=3.0, tolerance=1e-7, plain=blocks)
    assert found.bound_usd < plain.bound_usd + 1e-6
    assert found.cost_usd > plain.cost_usd


def test_the_environment_follows_to_rounding(problem):
    core, days, ahead, _, _ = problem
    found = solve_dispatch(core.fleets, core.reset(days).devices, ahead)
    outcome = core.run_open_loop(days, found.action)
    torch.testing.assert_close(outcome.p_kw.double(), found.p_kw, rtol=1e-4, atol=1e-3)
    cost = outcome.cost_usd.double().sum((1, 2, 3))
    torch.testing.assert_close(cost, found.cost_usd, rtol=1e-5, atol=1e-3)
    assert (found.bound_usd <= cost + 1e-3).all()  # of float32
    torch.testing.assert_close(found.bound_usd, cost, rtol=1e-4, atol=0.0)


def test_no_network_is_no_row(problem):
    rows = no_rows(2, 12)
    assert len(rows) == 2
    assert not rows[0].is_used.any()


def test_an_unknown_device_type_is_named(problem):
    class Kettle:
        kind = "kettle"

    with pytest.raises(GradmapError, match="no dispatch problem for device type kettle"):
        fleet_blocks((Kettle(),), (torch.zeros(1, 1, 1),), problem[2])


def test_a_horizon_says_all_that_is_wrong():
    with pytest.raises(GradmapError, match=r"tariff has shape .* temperature has .* dt_hours"):
        Horizon(torch.zeros(3), torch.zeros(2), 0.1, 0.0)

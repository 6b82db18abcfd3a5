"""The linear network against differences of the AC power flow, and its cuts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from gradmap.baselines.dispatch.cuts import (
    CURRENT,
    OVER,
    UNDER,
    Cuts,
    Point,
    add_cuts,
    slopes,
    tangents,
)
from gradmap.baselines.dispatch.horizon import Horizon
from gradmap.baselines.dispatch.problem import solve_dispatch
from gradmap.baselines.dispatch.responses import responses
from gradmap.baselines.dispatch.rows import UNIT
from gradmap.baselines.dispatch.sensitivity import (
    Groups,
    grid_values,
    linearise,
    solve_grid,
    terminal_powers,
)
from gradmap.feeders.powerflow import assembly
from gradmap.feeders.powerflow.solve import solve_power_flow

NUDGE_KW = 1e-2


@pytest.fixture(scope="module")
def core(make_core):
    """Fifty agents, eight steps."""
    return make_core(50, steps=8)


@pytest.fixture(scope="module")
def base(core):
    """Base load and sun of the two test days. `[day, time, terminal]` each"""
    index = core.days("test").numpy()
    names = ("base_p_kw", "base_q_kvar", "pv_kw")
    return tuple(torch.tensor(getattr(core.scenarios, name)[index]) for name in names)


@pytest.fixture(scope="module")
def p_kw(core):
    """Some power of every agent, so that currents flow both ways."""
    generator = torch.Generator().manual_seed(0)
    return 40.0 * torch.randn(2, 8, core.num_agents, generator=generator).double()


def test_groups_hold_every_agent_once(core, p_kw):
    groups = Groups.of(core)
    assert groups.group.shape == (core.num_agents,)
    assert torch.equal(groups.terminal[groups.group], core.agent_terminal)
    reactive = torch.tensor([kind == "heat_pump" for kind in core.agent_kinds])
    assert torch.equal(groups.kvar_per_kw[groups.group] > 0, reactive)
    torch.testing.assert_close(groups.total(p_kw).sum(-1), p_kw.sum(-1))


def test_the_value_is_the_environments_power_flow(core, base):
    days = core.days("test")
    action = torch.zeros(2, 8, core.num_agents)
    outcome = core.run_open_loop(days, action)
    grid = linearise(core, *base, outcome.p_kw.double())
    num = len(core.limits.monitored)
    v_pu = outcome.flow.v_magnitude_pu[..., core.limits.monitored]
    torch.testing.assert_close(grid.value[..., :num], v_pu, rtol=0.0, atol=1e-6)
    loading = outcome.flow.branch_loading
    torch.testing.assert_close(grid.value[..., num:], loading, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("agent", [0, 21, 30, 49])
def test_slopes_are_those_of_the_power_flow(core, base, p_kw, agent):
    grid, groups = linearise(core, *base, p_kw), Groups.of(core)
    nudge = torch.zeros_like(p_kw)
    nudge[..., agent] = NUDGE_KW
    ends = [grid_values(core, *base, groups, groups.total(p_kw + sign * nudge)) for sign in (1, -1)]
    expected = (ends[0] - ends[1]) / (2 * NUDGE_KW)
    found = grid.per_kw[..., grid.group[agent]]
    # Where two conductors of a branch are loaded alike, the slope has a kink.
    is_close = (found - expected).abs() < 1e-8
    assert is_close.double().mean() > 0.999
    assert expected.abs().max() > 1e-5


def test_the_model_is_right_to_second_order(core, base, p_kw):
    grid, groups = linearise(core, *base, p_kw), Groups.of(core)
    num = len(core.limits.monitored)
    errors = []
    for share in (0.02, 0.01):
        moved = groups.total(p_kw * (1 + share))
        true = grid_values(core, *base, groups, moved)
        errors.append((grid.at(moved) - true)[..., :num].abs().max().item())
    assert errors[1] < 0.35 * errors[0]


def test_a_dispatch_keeps_the_linear_limits(core, base):
    days = core.days("test")
    scenarios, index = core.scenarios, days.numpy()
    ahead = Horizon(
        torch.tensor(scenarios.tariff_usd_per_kwh[index]),
        torch.tensor(scenarios.temp_outdoor_degc[index]),
        core.refill_usd_per_kwh,
        core.dt_hours,
    )
    states = core.reset(days).devices
    free = solve_dispatch(core.fleets, states, ahead)
    grid = linearise(core, *base, 0.5 * free.p_kw)
    # At night nothing binds: bring the band's end below what would be.
    num = len(core.limits.monitored)
    high = grid.high.clone()
    high[:num] = grid.at(Groups.of(core).total(free.p_kw))[..., :num].max() - 2e-3
    grid = dataclasses.replace(grid, high=high)
    held = solve_dispatch(core.fleets, states, ahead, grid)
    assert (held.excess < 2e-5).all()
    assert (held.bound_usd >= free.bound_usd - 1e-3).all()
    assert (held.bound_usd <= held.cost_usd + 1e-2).all()
    assert 0 < held.choice.num_rows < 8 * 2 * 30
    assert (held.price_usd >= 0).all()
    assert held.price_usd.max() > 1.0
    again = solve_dispatch(core.fleets, states, ahead, grid, choice=held.choice)
    assert again.num_rounds <= held.num_rounds
    torch.testing.assert_close(again.cost_usd, held.cost_usd, rtol=1e-3, atol=1e-2)


@pytest.fixture(scope="module")
def point(core, base, p_kw):
    """A day's operating point, its responses and powers."""
    groups = Groups.of(core)
    day = tuple(part[0] for part in base)
    group_kw = groups.total(p_kw[0])
    flow = solve_grid(core, day, groups, group_kw)
    return Point(flow, core.limits), responses(flow, day, groups, group_kw), group_kw, groups, day


def some_cuts(point):
    cuts = Cuts.none()
    for t, kind, index in ((0, OVER, 3), (1, UNDER, 100), (1, CURRENT, 0), (4, CURRENT, 7)):
        angle = float(np.angle(point.current[t, index])) if kind == CURRENT else 0.0
        cuts = cuts.plus(t, kind, index, angle)
    return cuts


def test_cuts_are_tangents_of_voltages_and_currents(core, point):
    at, response, group_kw, groups, day = point
    problem = tangents(at, response, group_kw.numpy(), some_cuts(at), 0.0)
    cuts = problem.cuts
    volts, amps = np.abs(at.voltage), np.abs(at.current)
    expected = [volts[0, 3], -volts[1, 100], amps[1, 0], amps[4, 7]]
    np.testing.assert_allclose(at.left(cuts), expected, rtol=1e-12)
    left = problem.rows.per_kw[cuts.step, problem.slot]
    right = problem.rows.right[cuts.step, problem.slot]
    room = (left * group_kw.numpy()[cuts.step]).sum(1) - right
    np.testing.assert_allclose(room * UNIT, at.left(cuts) - problem.ends, atol=1e-10)
    for group in (0, 10):
        ends = []
        for sign in (1, -1):
            moved = group_kw.clone()
            moved[:, group] += sign * NUDGE_KW
            near = Point(solve_grid(core, day, groups, moved), core.limits)
            ends.append(near.left(cuts, problem.angle))
        slope = (ends[0] - ends[1]) / (2 * NUDGE_KW)
        np.testing.assert_allclose(problem.slope[:, group], slope, atol=1e-8)


def test_the_deepest_limits_are_added_and_none_twice(point):
    at, response = point[:2]
    depth = [float(excess.max()) for excess in at.excess()]
    cuts = add_cuts(Cuts.none(), at, response, 0.0, (4, 3))
    for kind, deepest in enumerate(depth):
        own = cuts.kind == kind
        assert own.any() == (deepest > 0)
        if own.any():
            excess = at.excess()[kind][cuts.step[own], cuts.index[own]]
            assert excess.max() == deepest
            assert (excess > 0).all()
            assert np.bincount(cuts.step[own]).max() <= (4 if kind != CURRENT else 3)
    names = set(zip(cuts.step.tolist(), cuts.kind.tolist(), cuts.index.tolist(), strict=True))
    assert len(names) == len(cuts) > 0
    more = add_cuts(cuts, at, response, 0.0, (4, 3))
    assert len(more) >= len(cuts)
    assert len(cuts.only(cuts.kind == CURRENT)) == int((cuts.kind == CURRENT).sum())


def test_a_current_that_turns_a_little_takes_its_cut_along(point):
    at, response = point[:2]
    t, index = np.unravel_index(np.argmax(np.abs(at.current)), at.current.shape)
    angle = float(np.angle(at.current[t, index]))
    turned = Cuts.none().plus(int(t), CURRENT, int(index), angle - 0.1)
    tolerance = float(np.abs(at.current).max()) - 1.0 - 1e-9
    found = add_cuts(turned, at, response, tolerance, (1, 1))
    current = found.kind == CURRENT
    assert int(current.sum()) == 1
    assert found.angle[current][0] == pytest.approx(angle)
    away = Cuts.none().plus(int(t), CURRENT, int(index), angle - 2.0)
    found = add_cuts(away, at, response, tolerance, (1, 1))
    assert int((found.kind == CURRENT).sum()) == 2


@pytest.mark.parametrize("is_tapped", [False, True])
def test_a_sparse_network_has_the_same_slopes(make_core, core, base, p_kw, monkeypatch, is_tapped):
    """Of cuts, at the network's taps and at others, and of all limits."""
    monkeypatch.setattr(assembly, "DENSE_PORTS", 0)
    thin = make_core(50, steps=8)
    assert (core.network.method, thin.network.method) == ("dense", "sparse")
    groups = Groups.of(core)
    day = tuple(part[0] for part in base)
    group_kw = groups.total(p_kw[0])
    powers = [part.to(core.device) for part in terminal_powers(*day, groups, group_kw)]
    taps = torch.tensor([3, -2, 4, 1, 0, 5, -1]) if is_tapped else None
    found = []
    for each in (core, thin):
        flow = solve_power_flow(each.network, *powers, taps=taps, tolerance_pu=1e-11)
        at = Point(flow, each.limits)
        response = responses(flow, day, groups, group_kw)
        found.append(slopes(at, response, some_cuts(at)))
        cuts = add_cuts(Cuts.none(), at, response, -0.02, (4, 3))
        found.append((cuts.index, tangents(at, response, group_kw.numpy(), cuts, 0.0).at))
    assert np.abs(found[0]).max() > 1e-4
    np.testing.assert_allclose(found[2], found[0], rtol=0.0, atol=1e-9)
    np.testing.assert_array_equal(found[3][0], found[1][0])
    if not is_tapped:
        dense, sparse = (
            linearise(each, *(part[:, :3] for part in base), p_kw[:, :3]) for each in (core, thin)
        )
        torch.testing.assert_close(sparse.per_kw, dense.per_kw, rtol=0.0, atol=1e-9)

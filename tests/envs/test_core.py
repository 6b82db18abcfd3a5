"""The core: what a step gives, and that neither batch nor order nor gradient matters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from gradmap.envs.fleet import build_agents
from gradmap.envs.outcome import COST_TERMS, Outcome, stack_outcomes
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import solve_power_flow

# Powers and costs come from float32 devices; voltages are solved to 1e-8 p.u.,
# and a batch stops iterating when its slowest scenario has converged.
SOLVED_TO = 1e-7


def some_actions(core, batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2.0 * torch.rand(batch, core.num_steps, core.num_agents, generator=generator) - 1.0


def run(core, days, actions):
    """Steps through the days; returns the last state and the outcomes."""
    state, outcomes = core.reset(days), []
    for action in actions.unbind(1):
        state, outcome = core.step(state, action)
        outcomes.append(outcome)
    return state, stack_outcomes(outcomes)


def assert_same(first: Outcome, second: Outcome, tolerance=0.0):
    for field in dataclasses.fields(Outcome):
        if field.name != "flow":
            a, b = getattr(first, field.name), getattr(second, field.name)
            torch.testing.assert_close(a, b, rtol=0.0, atol=0.0, msg=field.name)
    for name in ("v_magnitude_pu", "branch_loading"):
        a, b = getattr(first.flow, name), getattr(second.flow, name)
        torch.testing.assert_close(a, b, rtol=0.0, atol=tolerance)


def test_the_published_day_has_48_half_hours(core):
    assert core.num_steps == 48
    assert core.dt_hours == 0.5
    assert core.num_agents == 20
    assert len(core.agent_names) == len(core.agent_kinds) == len(core.agent_terminal) == 20


def test_a_step_has_documented_shapes(core):
    days = core.days("train")[:3]
    state = core.reset(days)
    assert state.step == 0
    assert not state.is_failed.any()
    assert core.observe(state).shape == (3, 20, core.num_features)
    assert core.observe(state).dtype == torch.float32
    after, outcome = core.step(state, torch.zeros(3, 20))
    assert after.step == 1
    for name in ("setpoint_kw", "p_kw", "q_kvar", "discomfort_kh", "clipped_kw"):
        assert getattr(outcome, name).shape == (3, 20), name
        assert getattr(outcome, name).dtype == torch.float32, name
    assert outcome.cost_usd.shape == (3, 20, len(COST_TERMS))
    assert outcome.is_usable.tolist() == [True] * 3
    assert outcome.flow.v_magnitude_pu.shape == (3, core.feeder.num_nodes)
    assert outcome.flow.v_magnitude_pu.dtype == torch.float64
    assert after.v_measured_pu.shape == (3, len(core.feeder.terminals))
    assert after.v_measured_pu.dtype == torch.float32


def test_a_day_ends_after_its_last_step(short_core):
    state = short_core.reset(short_core.days("test"))
    for _ in range(short_core.num_steps):
        assert not short_core.is_done(state)
        state, _ = short_core.step(state, torch.zeros(2, 20))
    assert short_core.is_done(state)
    # What came last can still be looked at.
    assert short_core.observe(state).isfinite().all()
    with pytest.raises(GradmapError, match="the day is over; call reset"):
        short_core.step(state, torch.zeros(2, 20))


@pytest.mark.parametrize("shape", [(2, 19), (3, 20), (20,), (2, 20, 1)])
def test_an_action_of_another_shape_is_refused(short_core, shape):
    state = short_core.reset(short_core.days("test"))
    with pytest.raises(GradmapError, match=r"expected \[batch, agent\] = \(2, 20\)"):
        short_core.step(state, torch.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 5, 20), (2, 7, 20), (2, 6, 19), (1, 6, 20), (2, 6)])
def test_a_day_of_actions_of_another_shape_is_refused(short_core, shape):
    with pytest.raises(GradmapError, match=r"expected \[batch, time, agent\] = \(2, 6, 20\)"):
        short_core.run_open_loop(short_core.days("test"), torch.zeros(shape))


def test_actions_beyond_the_ends_count_as_the_ends(short_core):
    state = short_core.reset(short_core.days("train"))
    wild = torch.linspace(-9.0, 9.0, 80).reshape(4, 20)
    _, first = short_core.step(state, wild)
    _, second = short_core.step(state, wild.clamp(-1.0, 1.0))
    assert_same(first, second)


def test_the_same_days_run_alike(short_core):
    days = short_core.days("train")
    first, second = (run(short_core, days, some_actions(short_core, 4))[1] for _ in range(2))
    assert_same(first, second)


def test_a_second_core_of_the_task_runs_alike(make_core, short_core):
    days, actions = short_core.days("train"), some_actions(short_core, 4)
    assert_same(run(short_core, days, actions)[1], run(make_core(steps=6), days, actions)[1])


def test_days_differ_in_where_they_start(core):
    energy = core.reset(core.days("train")).devices[0][..., 0]
    assert len(energy.unique()) == energy.numel()


def test_another_seed_is_another_fleet(make_core, core):
    other = make_core(seed=core.config.seed + 1)
    assert other.agent_names == core.agent_names
    assert not torch.equal(other.fleets[0].p_max_kw, core.fleets[0].p_max_kw)
    day = core.days("test")[:1]
    assert not torch.equal(other.reset(day).devices[0], core.reset(day).devices[0])


def test_a_state_can_be_stepped_from_twice(short_core):
    state = short_core.reset(short_core.days("train"))
    kept = [tensor.clone() for tensor in (*state.devices, state.v_measured_pu)]
    first = short_core.step(state, torch.ones(4, 20))[1]
    second = short_core.step(state, torch.ones(4, 20))[1]
    assert_same(first, second)
    assert all(map(torch.equal, kept, (*state.devices, state.v_measured_pu)))


def test_a_batch_is_its_days_one_by_one(short_core):
    days, actions = short_core.days("train"), some_actions(short_core, 4)
    state, together = run(short_core, days, actions)
    for k in range(4):
        one, alone = run(short_core, days[k : k + 1], actions[k : k + 1])
        for field in dataclasses.fields(Outcome):
            if field.name != "flow":
                row = getattr(together, field.name)[k : k + 1]
                assert torch.equal(getattr(alone, field.name), row), field.name
        torch.testing.assert_close(
            alone.flow.v_magnitude_pu[0],
            together.flow.v_magnitude_pu[k],
            rtol=0.0,
            atol=SOLVED_TO,
        )
        torch.testing.assert_close(
            one.v_measured_pu[0], state.v_measured_pu[k], rtol=0.0, atol=2 * SOLVED_TO
        )


def test_a_day_may_occur_twice_in_a_batch(short_core):
    day = short_core.days("test")[:1]
    actions = some_actions(short_core, 1)
    _, twice = run(short_core, day.repeat(2), actions.repeat(2, 1, 1))
    assert torch.equal(twice.cost_usd[0], twice.cost_usd[1])
    assert torch.equal(twice.flow.v_magnitude_pu[0], twice.flow.v_magnitude_pu[1])


def test_open_loop_is_stepping(core):
    days, actions = core.days("validation"), some_actions(core, 2)
    _, stepped = run(core, days, actions)
    assert_same(core.run_open_loop(days, actions), stepped, SOLVED_TO)


def test_gradients_never_change_a_value(short_core):
    days = short_core.days("train")
    actions = some_actions(short_core, 4)
    _, without = run(short_core, days, actions)
    _, with_them = run(short_core, days, actions.clone().requires_grad_())
    assert with_them.p_kw.requires_grad
    assert_same(without, with_them)
    open_loop = short_core.run_open_loop(days, actions)
    assert_same(open_loop, short_core.run_open_loop(days, actions.clone().requires_grad_()))
    with torch.no_grad():
        assert_same(without, run(short_core, days, actions.clone().requires_grad_())[1])


def permuted(agents, order):
    """The same agents with each fleet's devices in another order."""
    fleets, terminals, first = [], [], 0
    for fleet, new in zip(agents.fleets, order, strict=True):
        fields = {f.name: getattr(fleet, f.name) for f in dataclasses.fields(fleet)}
        moved = {k: v[new] for k, v in fields.items() if isinstance(v, Tensor)}
        fleets.append(dataclasses.replace(fleet, **moved))
        terminals.append(agents.terminal[first + new])
        first += len(new)
    return dataclasses.replace(agents, fleets=tuple(fleets), terminal=torch.cat(terminals))


def test_the_order_of_agents_does_not_matter(make_core, short_core, task_feeder):
    agents = build_agents(short_core.config, task_feeder)
    generator = torch.Generator().manual_seed(5)
    order = [torch.randperm(size, generator=generator) for size in agents.sizes]
    starts = np.cumsum([0, *agents.sizes[:-1]])
    whole = torch.cat([start + new for start, new in zip(starts, order, strict=True)])
    other = make_core(steps=6, agents=permuted(agents, order))
    days, actions = short_core.days("train"), some_actions(short_core, 4)
    state = short_core.reset(days)
    moved = dataclasses.replace(
        state, devices=tuple(own[:, new] for own, new in zip(state.devices, order, strict=True))
    )
    for action in actions.unbind(1):
        torch.testing.assert_close(
            other.observe(moved), short_core.observe(state)[:, whole], rtol=0.0, atol=1e-5
        )
        state, outcome = short_core.step(state, action)
        moved, outcome_moved = other.step(moved, action[:, whole])
        for name in ("setpoint_kw", "p_kw", "q_kvar", "cost_usd", "discomfort_kh"):
            expected = getattr(outcome, name)[:, whole]
            assert torch.equal(getattr(outcome_moved, name), expected), name
        # Powers at one terminal are summed in another order, in float32: some
        # 1e-4 kW of 1,000, which moves no voltage by 1e-7 p.u.
        torch.testing.assert_close(
            outcome_moved.flow.v_magnitude_pu, outcome.flow.v_magnitude_pu, rtol=0.0, atol=1e-6
        )


def test_scenarios_for_another_feeder_are_refused(make_core, few_days):
    names = list(few_days.terminal_names)
    swapped = dataclasses.replace(few_days, terminal_names=tuple(names[1:] + names[:1]))
    with pytest.raises(GradmapError, match="not those of feeder ieee123"):
        make_core(scenarios=swapped)


def test_the_network_may_be_single_precision(make_core, short_core):
    """Voltages then agree to its own tolerance, 1e-6 p.u., and float32 rounding."""
    single = make_core(steps=6, core={"dtype": torch.complex64})
    days, actions = short_core.days("train"), some_actions(short_core, 4)
    _, fine = run(short_core, days, actions)
    _, coarse = run(single, days, actions)
    assert torch.equal(coarse.p_kw, fine.p_kw)
    assert coarse.flow.v_magnitude_pu.dtype == torch.float32
    gap = coarse.flow.v_magnitude_pu.double() - fine.flow.v_magnitude_pu
    assert gap.abs().max() < 1e-5


def test_a_measured_voltage_is_that_of_the_load_terminal(short_core):
    state = short_core.reset(short_core.days("train"))
    after, outcome = short_core.step(state, torch.zeros(4, 20))
    num = len(short_core.feeder.terminals)
    measured = outcome.flow.v_terminal_pu.abs()[:, :num].to(torch.float32)
    torch.testing.assert_close(after.v_measured_pu, measured, rtol=0.0, atol=1.2e-7)  # 1 ulp


def test_before_midnight_every_device_is_idle(short_core):
    """The first voltages are those of the day's first base load and sun alone."""
    days = short_core.days("train")
    index = days.numpy()
    s = short_core.scenarios
    network = Network.from_feeder(short_core.feeder, devices=True)
    p_kw = np.concatenate([s.base_p_kw[index, 0], -s.pv_kw[index, 0]], axis=-1)
    q_kvar = np.concatenate([s.base_q_kvar[index, 0], np.zeros_like(s.pv_kw[index, 0])], axis=-1)
    flow = solve_power_flow(network, torch.tensor(p_kw), torch.tensor(q_kvar))
    expected = flow.v_terminal_pu.abs()[:, : len(s.terminal_names)].to(torch.float32)
    measured = short_core.reset(days).v_measured_pu
    torch.testing.assert_close(measured, expected, rtol=0.0, atol=2 * SOLVED_TO)


def test_detaching_a_state_cuts_the_gradient(short_core):
    action = torch.zeros(4, 20, requires_grad=True)
    state, _ = short_core.step(short_core.reset(short_core.days("train")), action)
    assert state.devices[0].requires_grad
    assert state.v_measured_pu.requires_grad
    cut = state.detach()
    assert not any(own.requires_grad for own in cut.devices)
    assert not cut.v_measured_pu.requires_grad
    assert cut.step == state.step


@pytest.mark.parametrize("day", [-1, 10_000])
def test_an_unknown_day_is_refused(core, day):
    with pytest.raises(GradmapError, match="expected indices from 0 to"):
        core.reset(torch.tensor([0, day]))

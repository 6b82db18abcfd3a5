"""Observations: what each feature is, and that nothing of any other agent is in it."""

from __future__ import annotations

import dataclasses
import datetime
import math

import pytest
import torch

from gradmap.envs.observations import (
    FEATURES,
    NUM_PUBLIC,
    TARIFF_MIDDLE,
    TARIFF_SCALE,
    TEMP_MIDDLE,
    TEMP_SCALE,
    VOLTAGE_SCALE,
    clock_features,
)

KINDS = ("battery", "heat_pump", "generator")


def feature(observation, name):
    return observation[..., FEATURES.index(name)]


def walked(core, days, steps=3):
    """A state some random steps into the day."""
    generator = torch.Generator().manual_seed(1)
    state = core.reset(days)
    for _ in range(steps):
        action = 2.0 * torch.rand(len(days), core.num_agents, generator=generator) - 1.0
        state, _ = core.step(state, action)
    return state


@pytest.fixture(scope="module")
def crowded(make_core):
    """Agents of every type, several of them at one terminal."""
    core = make_core(300, steps=8)
    at = core.agent_terminal.tolist()
    assert len(set(at)) < len(at)
    return core


def test_features_are_own_site_and_public_figures(core):
    days = core.days("train")
    state = walked(core, days, 17)
    seen = core.observe(state)
    s, index, at = core.scenarios, days.numpy(), core.agent_terminal.numpy()
    rated_kw = core.feeder.terminals.p_kw[at]
    public = {
        "tariff": (s.tariff_usd_per_kwh[index, 17] - TARIFF_MIDDLE) / TARIFF_SCALE,
        "temp_outdoor": (s.temp_outdoor_degc[index, 17] - TEMP_MIDDLE) / TEMP_SCALE,
        "working_day": [
            1.0 if datetime.date.fromisoformat(s.date[day]).weekday() < 5 else -1.0 for day in index
        ],
    }
    for parts, name in enumerate(("day", "half_day", "third_day", "quarter_day"), start=1):
        angle = 2 * math.pi * parts * 17 / 48
        public |= {f"sin_{name}": [math.sin(angle)] * 4, f"cos_{name}": [math.cos(angle)] * 4}
    for name, expected in public.items():
        column = feature(seen, name)
        assert torch.equal(column, column[:, :1].expand_as(column)), name
        assert column[:, 0].numpy() == pytest.approx(expected, abs=1e-5), name
    own = {
        "own_base_load": s.base_p_kw[index, 17][:, at] / rated_kw,
        "own_pv": s.pv_kw[index, 17][:, at] / rated_kw,
        "own_voltage": (state.v_measured_pu.numpy()[:, at] - 1.0) / VOLTAGE_SCALE,
    }
    for name, expected in own.items():
        assert feature(seen, name).numpy() == pytest.approx(expected, abs=1e-5), name
    devices = [f.observe(own) for f, own in zip(core.fleets, state.devices, strict=True)]
    assert torch.equal(feature(seen, "own_state"), torch.cat(devices, dim=1))
    assert seen.shape[-1] == len(FEATURES) == len(public) + len(own) + 1


def test_a_central_critic_sees_every_terminal_and_the_fleets(core):
    days = core.days("train")
    state = walked(core, days, 17)
    seen = core.observe_global(state)
    scenarios, index, rated_kw = core.scenarios, days.numpy(), core.feeder.terminals.p_kw
    num = core.network.num_load_terminals
    assert seen.dtype == torch.float32
    assert seen.shape == (4, core.num_global_features) == (4, NUM_PUBLIC + 3 * num + 3)
    public, voltage, base, pv, fleets = seen.split([NUM_PUBLIC, num, num, num, 3], dim=-1)
    assert torch.equal(public, core.observe(state)[:, 0, :NUM_PUBLIC])
    assert torch.equal(voltage, (state.v_measured_pu - 1.0) / VOLTAGE_SCALE)
    assert base.numpy() == pytest.approx(scenarios.base_p_kw[index, 17] / rated_kw, abs=1e-5)
    assert pv.numpy() == pytest.approx(scenarios.pv_kw[index, 17] / rated_kw, abs=1e-5)
    own_state = feature(core.observe(state), "own_state").split([8, 8, 4], dim=-1)
    torch.testing.assert_close(fleets, torch.stack([own.mean(-1) for own in own_state], -1))


def test_features_are_of_the_order_of_one(core):
    """At every step of eight days; a device that is left to itself may go further."""
    state = core.reset(torch.arange(core.scenarios.num_days))
    for step in range(core.num_steps):
        now = dataclasses.replace(state, step=step)
        assert core.observe(now).abs().max() < 3.0
        assert core.observe_global(now).abs().max() < 3.0


def test_after_the_last_step_a_critic_sees_its_weather_and_the_voltages_it_left(short_core):
    state = walked(short_core, short_core.days("test"), short_core.num_steps)
    seen = short_core.observe_global(state)
    before = dataclasses.replace(state, step=short_core.num_steps - 1)
    assert torch.equal(seen, short_core.observe_global(before))


def test_the_clock_tells_every_step_apart():
    clock = clock_features(48)
    gaps = torch.cdist(clock, clock) + 9.0 * torch.eye(48)
    assert gaps.min() > 0.1


def test_the_voltage_seen_is_that_of_the_step_before(core):
    state = walked(core, core.days("test"))
    after, outcome = core.step(state, torch.zeros(2, 20))
    at = core.agent_terminal
    expected = (outcome.flow.v_terminal_pu.abs()[:, at] - 1.0) / VOLTAGE_SCALE
    seen = feature(core.observe(after), "own_voltage").double()
    # One rounding of a voltage to float32, over the scale, and one of the result.
    torch.testing.assert_close(seen, expected, rtol=1e-6, atol=2e-6)


def perturbed(state, fleet, device):
    """The state with one device's private state moved."""
    devices = [own.clone() for own in state.devices]
    devices[fleet][:, device] = 0.9 * devices[fleet][:, device] + 1.0
    return dataclasses.replace(state, devices=tuple(devices))


@pytest.mark.parametrize("fleet", range(3), ids=KINDS)
def test_an_observation_never_changes_when_another_agents_state_does(crowded, fleet):
    """Every device of the type in turn, seen from every other agent, near and far."""
    days = crowded.days("train")
    state = walked(crowded, days)
    before = crowded.observe(state)
    first = sum(f.num_devices for f in crowded.fleets[:fleet])
    assert crowded.fleets[fleet].kind == KINDS[fleet]
    for device in range(crowded.fleets[fleet].num_devices):
        moved = crowded.observe(perturbed(state, fleet, device))
        others = torch.arange(crowded.num_agents) != first + device
        assert torch.equal(moved[:, others], before[:, others])
        own_change = (moved - before)[:, first + device]
        is_own_state = torch.tensor([name == "own_state" for name in FEATURES])
        assert (own_change[:, is_own_state] != 0.0).all()
        assert (own_change[:, ~is_own_state] == 0.0).all()


@pytest.mark.parametrize("fleet", range(3), ids=KINDS)
def test_no_gradient_leads_from_another_agents_state_to_an_observation(crowded, fleet):
    state = walked(crowded, crowded.days("train")[:1])
    devices = tuple(own.clone().requires_grad_() for own in state.devices)
    seen = crowded.observe(dataclasses.replace(state, devices=devices))
    own = torch.cat([f.observe(own) for f, own in zip(crowded.fleets, devices, strict=True)], -1)
    first = sum(f.num_devices for f in crowded.fleets[:fleet])
    weights = torch.arange(1.0, crowded.num_agents + 1.0)
    direct = torch.autograd.grad((weights * own).sum(), devices[fleet], retain_graph=True)[0]
    total = torch.autograd.grad((weights.unsqueeze(-1) * seen).sum(), devices[fleet])[0]
    assert torch.equal(total, direct)
    assert first < crowded.num_agents


@pytest.mark.parametrize("fleet", range(3), ids=KINDS)
def test_a_step_later_only_the_own_voltage_feels_another_agent(crowded, fleet):
    """Through the wires, as a real meter would: no other feature may."""
    state = walked(crowded, crowded.days("train"))
    moved = perturbed(state, fleet, slice(None))
    # Full power both ways: storage, band and ramp then decide what devices do.
    action = torch.where(torch.arange(crowded.num_agents) % 2 == 0, 1.0, -1.0).expand(4, -1)
    seen, seen_moved = (crowded.observe(crowded.step(s, action)[0]) for s in (state, moved))
    first = sum(f.num_devices for f in crowded.fleets[:fleet])
    others = torch.ones(crowded.num_agents, dtype=torch.bool)
    others[first : first + crowded.fleets[fleet].num_devices] = False
    changed = (seen_moved != seen)[:, others].flatten(0, 1).any(0)
    names = {
        name for name, is_changed in zip(FEATURES, changed.tolist(), strict=True) if is_changed
    }
    assert names <= {"own_voltage"}


def test_another_agents_action_shows_in_the_voltage_only(crowded):
    state = walked(crowded, crowded.days("train"))
    action = torch.zeros(4, crowded.num_agents)
    other = action.clone()
    other[:, 0] = 0.5
    seen, seen_other = (crowded.observe(crowded.step(state, a)[0]) for a in (action, other))
    changed = (seen != seen_other)[:, 1:].flatten(0, 1).any(0)
    assert [
        name for name, is_changed in zip(FEATURES, changed.tolist(), strict=True) if is_changed
    ] == ["own_voltage"]

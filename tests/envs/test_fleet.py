"""The agents of a task: how many of which type, their names and their places."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradmap.envs.config import AgentMix, TaskConfig
from gradmap.envs.fleet import build_agents, move_fleet

KINDS = ("battery", "heat_pump", "generator")


def task(num_agents, **more):
    return dataclasses.replace(TaskConfig(), num_agents=num_agents, **more)


@given(
    st.integers(1, 5000),
    st.tuples(*[st.floats(0.0, 10.0)] * 3).filter(lambda shares: sum(shares) > 1e-3),
)
def test_counts_are_the_shares_to_within_one(num_agents, shares):
    counts = AgentMix(*shares).counts(num_agents)
    assert tuple(counts) == KINDS
    assert sum(counts.values()) == num_agents
    for count, share in zip(counts.values(), shares, strict=True):
        assert abs(count - num_agents * share / sum(shares)) < 1.0 + 1e-9
        assert count >= 0


def test_a_device_type_without_a_share_has_no_agent():
    assert AgentMix(0.0, 1.0, 0.0).counts(7) == {"battery": 0, "heat_pump": 7, "generator": 0}
    assert AgentMix(1.0, 1.0, 0.0).counts(3)["generator"] == 0


def test_the_published_mix_is_40_40_20(task_feeder):
    agents = build_agents(task(1000), task_feeder)
    assert [agents.kinds.count(kind) for kind in KINDS] == [400, 400, 200]
    assert agents.sizes == [400, 400, 200]
    assert agents.num_agents == 1000


def test_agents_are_named_by_type_and_number(task_feeder):
    agents = build_agents(task(1000), task_feeder)
    assert agents.names[0] == "battery_0000"
    assert {"battery_0007", "heat_pump_0123", "generator_0042"} <= set(agents.names)
    assert len(set(agents.names)) == 1000
    assert all(
        name.rpartition("_")[0] == kind
        for name, kind in zip(agents.names, agents.kinds, strict=True)
    )


@pytest.mark.parametrize("num_agents", [30, 1000])
def test_each_type_is_spread_in_proportion_to_load(task_feeder, num_agents):
    agents = build_agents(task(num_agents), task_feeder)
    load_kw = task_feeder.terminals.p_kw
    kinds = np.array(agents.kinds)
    for kind in KINDS:
        at = agents.terminal.numpy()[kinds == kind]
        found = np.bincount(at, minlength=len(load_kw))
        wanted = len(at) * load_kw / load_kw.sum()
        assert np.abs(found - wanted).max() < 1.0 + 1e-6, kind


def test_neighbours_in_number_are_not_neighbours_on_the_feeder(task_feeder):
    """Or the first agents of a type would all sit at the head of the feeder."""
    terminal = build_agents(task(1000), task_feeder).terminal[:400]
    steps = (terminal.diff() >= 0).double().mean().item()
    assert 0.4 < steps < 0.6


def test_a_seed_draws_the_same_agents(task_feeder):
    first, second = (build_agents(task(50, seed=3), task_feeder) for _ in range(2))
    assert torch.equal(first.terminal, second.terminal)
    assert torch.equal(first.fleets[1].loss_kw_per_k, second.fleets[1].loss_kw_per_k)
    other = build_agents(task(50, seed=4), task_feeder)
    assert not torch.equal(first.terminal, other.terminal)


@pytest.mark.parametrize("num_agents", [50, 100, 1000, 4000])
def test_the_feeder_has_the_same_flexible_power_for_any_number(task_feeder, num_agents):
    config = TaskConfig()
    agents = build_agents(task(num_agents), task_feeder)
    mean_kw = (config.battery_kw, config.heat_pump_kw, config.generator_kw)
    for fleet, mean, share in zip(agents.fleets, mean_kw, (400, 400, 200), strict=True):
        total = fleet.p_max_kw.sum().item()
        # Each device is within 20 % of the mean: a third of that over sqrt(n).
        spread = 0.2 / fleet.num_devices**0.5
        assert total == pytest.approx(share * mean, rel=2.0 * spread)


@pytest.mark.parametrize("num_agents", [1, 20, 50])
def test_below_50_agents_the_flexible_power_shrinks(task_feeder, num_agents):
    """No agent stands for more than 20 devices of the mean size, each within 20 % of it."""
    batteries = build_agents(task(num_agents), task_feeder).fleets[0].p_max_kw
    ratio = batteries / (20 * TaskConfig().battery_kw)
    assert ratio.min() >= 0.8
    assert ratio.max() <= 1.2


@pytest.mark.parametrize(
    ("num_agents", "mix", "kinds"),
    [
        (1, AgentMix(), ("battery",)),
        (1, AgentMix(0.0, 0.0, 1.0), ("generator",)),
        (2, AgentMix(), ("battery", "heat_pump")),
        (7, AgentMix(0.0, 2.0, 0.5), ("heat_pump", "generator")),
        (3, AgentMix(1, 1, 1), KINDS),
    ],
)
def test_any_number_and_any_mix_makes_a_day(make_core, num_agents, mix, kinds):
    core = make_core(num_agents, steps=3, mix=mix)
    assert tuple(fleet.kind for fleet in core.fleets) == kinds
    assert set(core.agent_kinds) == set(kinds)
    outcome = core.run_open_loop(core.days("train"), torch.ones(4, 3, num_agents))
    assert outcome.p_kw.shape == (4, 3, num_agents)
    assert outcome.is_usable.all()
    assert core.observe(core.reset(core.days("train"))).shape == (4, num_agents, core.num_features)


def test_a_fleet_moves_whole(task_feeder):
    for fleet in build_agents(task(9), task_feeder).fleets:
        moved = move_fleet(fleet, torch.device("meta"))
        assert moved.kind == fleet.kind
        tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
        assert tensors
        assert all(tensor.device.type == "meta" for tensor in tensors)

"""Rules: price, comfort and droop by voltage, from the own observation alone."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradmap.algorithms.rollout import rollout
from gradmap.baselines.rules import RulesPolicy
from gradmap.baselines.rules_config import RulesConfig
from gradmap.envs.observations import FEATURES, TARIFF_MIDDLE, TARIFF_SCALE, VOLTAGE_SCALE
from gradmap.feeders.errors import GradmapError

CHEAP, MIDDLE, DEAR = 0.05, 0.22, 0.9


def seen(core, *, tariff=MIDDLE, own=0.0, voltage=1.0, batch=1):
    """An observation with the features that rules read; the others are noise."""
    noise = torch.Generator().manual_seed(0)
    observation = torch.randn(batch, core.num_agents, core.num_features, generator=noise)
    observation[..., FEATURES.index("tariff")] = (tariff - TARIFF_MIDDLE) / TARIFF_SCALE
    observation[..., FEATURES.index("own_state")] = own
    observation[..., FEATURES.index("own_voltage")] = (voltage - 1.0) / VOLTAGE_SCALE
    return observation


def acts(core, kind, config=None, **observed):
    """Actions of one device type. `[device]`"""
    action = RulesPolicy(core, config).act(seen(core, **observed))[0]
    return action[torch.tensor([k == kind for k in core.agent_kinds])]


def test_batteries_buy_cheap_and_sell_dear(core):
    config = RulesConfig()
    assert acts(core, "battery", tariff=CHEAP).tolist() == pytest.approx([config.charge_rate] * 8)
    assert acts(core, "battery", tariff=MIDDLE).tolist() == [0.0] * 8
    sold = acts(core, "battery", tariff=DEAR)
    assert sold.tolist() == pytest.approx([-config.discharge_rate] * 8)


def test_thermostats_heat_the_cold_house_most(core):
    target = RulesConfig().thermostat_target
    owns = (-3.0, target - 0.2, target, target + 0.2, 3.0)
    actions = [acts(core, "heat_pump", own=own) for own in owns]
    assert (actions[0] == 1.0).all()
    assert (actions[-1] == -1.0).all()
    for colder, warmer in itertools.pairwise(actions):
        assert (colder >= warmer).all()
    assert actions[2].tolist() == pytest.approx([0.0] * 8, abs=1e-6)  # at its target


def test_generators_run_up_to_where_fuel_meets_the_price(core):
    fleet = core.fleets[2]
    assert (acts(core, "generator", tariff=0.1) == -1.0).all()
    assert (acts(core, "generator", tariff=DEAR) == 1.0).all()
    price = 0.19
    output = (acts(core, "generator", tariff=price) + 1.0) / 2.0 * fleet.p_max_kw
    marginal = fleet.fuel_usd_per_kwh + 2.0 * fleet.fuel_usd_per_kw2h * output
    is_inside = (output > 0.0) & (output < fleet.p_max_kw)
    assert is_inside.any()
    assert marginal[is_inside].tolist() == pytest.approx([price] * int(is_inside.sum()), rel=1e-5)


VOLTAGES = (0.90, 0.94, 0.955, 0.965, 0.98, 1.0, 1.02, 1.035, 1.045, 1.06, 1.10)


@pytest.mark.parametrize(
    ("kind", "observed"),
    [
        ("battery", {"tariff": CHEAP}),
        ("battery", {"tariff": DEAR}),
        ("heat_pump", {"own": -3.0}),
        ("generator", {"tariff": DEAR}),
    ],
)
def test_droop_is_monotone(core, kind, observed):
    """The higher the voltage, the more is drawn, or the less is fed in; never the reverse."""
    drawn = torch.stack([acts(core, kind, voltage=v, **observed) for v in VOLTAGES])
    if kind == "generator":
        drawn = -drawn
    assert (drawn.diff(dim=0) >= 0.0).all()
    assert (drawn[-1] > drawn[0]).all()


@pytest.mark.parametrize(
    ("kind", "observed", "voltage", "off"),
    [
        ("battery", {"tariff": CHEAP}, 0.94, 0.0),
        ("battery", {"tariff": DEAR}, 1.06, 0.0),
        ("heat_pump", {"own": -3.0}, 0.94, -1.0),
        ("generator", {"tariff": DEAR}, 1.06, -1.0),
    ],
)
def test_outside_the_limits_nothing_adds_to_the_fault(core, kind, observed, voltage, off):
    assert acts(core, kind, voltage=voltage, **observed).tolist() == pytest.approx(
        [off] * core.agent_kinds.count(kind)
    )


@pytest.mark.parametrize("side", [-0.95, 0.0, 0.95])
def test_near_1_pu_droop_is_silent(core, side):
    voltage = 1.0 + side * RulesConfig().droop_start_pu
    for kind, observed in (
        ("battery", {"tariff": CHEAP}),
        ("heat_pump", {"own": -0.8}),
        ("generator", {"tariff": 0.19}),
    ):
        at_one = acts(core, kind, **observed)
        assert acts(core, kind, voltage=voltage, **observed).tolist() == pytest.approx(
            at_one.tolist()
        )


def test_droop_may_be_set(core):
    wide = RulesConfig(droop_start_pu=0.09, droop_end_pu=0.1)
    assert (acts(core, "generator", wide, tariff=DEAR, voltage=1.06) == 1.0).all()


@given(arrays("float32", (2, 20, len(FEATURES)), elements=st.floats(-50.0, 50.0, width=32)))
def test_actions_stay_within_bounds(core, observation):
    action = RulesPolicy(core).act(torch.from_numpy(observation))
    assert action.shape == (2, 20)
    assert action.dtype == torch.float32
    assert action.isfinite().all()
    assert action.abs().max() <= 1.0


def test_only_the_own_observation_counts(core):
    policy = RulesPolicy(core)
    observation = seen(core, tariff=0.19, own=-0.6, voltage=1.04)
    before = policy.act(observation)
    for agent in range(core.num_agents):
        other = observation.clone()
        other[:, torch.arange(core.num_agents) != agent] += 0.7
        assert torch.equal(policy.act(other)[:, agent], before[:, agent])


def test_rules_have_no_memory(core):
    policy = RulesPolicy(core)
    observation = seen(core, tariff=CHEAP, batch=3)
    first = policy.act(observation)
    policy.act(seen(core, tariff=DEAR))
    policy.reset(torch.tensor([4, 5]))
    assert torch.equal(policy.act(observation), first)


@pytest.mark.parametrize("mix", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)])
def test_rules_serve_any_mix(make_core, mix):
    from gradmap.envs.config import AgentMix

    core = make_core(4, steps=3, mix=AgentMix(*mix))
    done = rollout(core, RulesPolicy(core), core.days("train"))
    assert done.action.shape == (4, 3, 4)
    assert done.outcome.is_usable.all()


def test_rules_keep_houses_warm(core):
    outcome = rollout(core, RulesPolicy(core), core.days("test")).outcome
    assert outcome.discomfort_kh.sum(dim=1).max() < 1.0


def test_settings_are_a_value():
    assert RulesConfig() == RulesConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        RulesConfig().charge_rate = 1.0


def test_settings_out_of_range_are_named_at_once():
    with pytest.raises(GradmapError) as caught:
        RulesConfig(charge_rate=1.5, discharge_rate=-0.1, droop_start_pu=0.05)
    message = str(caught.value)
    assert all(name in message for name in ("charge_rate is 1.5", "discharge_rate", "droop"))

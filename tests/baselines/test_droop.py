"""Droop by IEEE 1547: the installer's schedule, capped by the curve at the own terminal."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradmap.algorithms.rollout import rollout
from gradmap.baselines.droop import DroopPolicy
from gradmap.baselines.droop_config import DroopConfig
from gradmap.baselines.rules import RulesPolicy
from gradmap.baselines.rules_config import RulesConfig
from gradmap.envs.constraints import violations
from gradmap.envs.observations import FEATURES, TARIFF_MIDDLE, TARIFF_SCALE, VOLTAGE_SCALE
from gradmap.feeders.errors import GradmapError

CHEAP, DEAR = 0.05, 0.9
STANDARD = DroopConfig(shift_pu=0.0)


def acts(core, kind, config=None, *, tariff=0.22, own=0.0, voltage=1.0):
    """Actions of one device type, all of them seeing the same. `[device]`"""
    seen = torch.zeros(1, core.num_agents, core.num_features)
    seen[..., FEATURES.index("tariff")] = (tariff - TARIFF_MIDDLE) / TARIFF_SCALE
    seen[..., FEATURES.index("own_state")] = own
    seen[..., FEATURES.index("own_voltage")] = (voltage - 1.0) / VOLTAGE_SCALE
    action = DroopPolicy(core, config).act(seen)[0]
    return action[torch.tensor([k == kind for k in core.agent_kinds])]


@pytest.mark.parametrize(("voltage", "share"), [(1.0, 1.0), (1.01, 1.0), (1.03, 0.5), (1.05, 0.0)])
def test_generators_are_capped_by_the_shifted_curve(core, voltage, share):
    action = acts(core, "generator", tariff=DEAR, voltage=voltage)
    assert action.tolist() == pytest.approx([2.0 * share - 1.0] * 4, abs=1e-4)


def test_the_standards_own_curve_is_silent_within_the_band(core):
    for voltage in (0.95, 1.0, 1.05):
        for kind, seen in (
            ("battery", {"tariff": CHEAP}),
            ("battery", {"tariff": DEAR}),
            ("heat_pump", {"own": -3.0}),
            ("generator", {"tariff": DEAR}),
        ):
            assert torch.equal(
                acts(core, kind, STANDARD, voltage=voltage, **seen),
                acts(core, kind, STANDARD, **seen),
            )
    half = acts(core, "generator", STANDARD, tariff=DEAR, voltage=1.08)
    assert half.tolist() == pytest.approx([0.0] * 4, abs=1e-4)


def test_the_curve_caps_and_does_not_scale(core):
    """A battery at a quarter of its power is left alone where the cap is a half."""
    action = acts(core, "battery", tariff=DEAR, voltage=1.03)
    assert action.tolist() == pytest.approx([-DroopConfig().discharge_rate] * 8)
    assert acts(core, "battery", tariff=DEAR, voltage=1.05).tolist() == pytest.approx(
        [0.0] * 8, abs=1e-4
    )


@pytest.mark.parametrize(
    ("kind", "seen", "off"), [("battery", {"tariff": CHEAP}, 0.0), ("heat_pump", {"own": -3}, -1.0)]
)
def test_low_voltage_curtails_what_draws(core, kind, seen, off):
    action = acts(core, kind, voltage=0.95, **seen)
    assert action.tolist() == pytest.approx([off] * 8, abs=1e-4)
    high = acts(core, kind, voltage=1.08, **seen)
    assert torch.equal(high, acts(core, kind, **seen))


def test_without_voltage_trouble_droop_and_rules_are_one_schedule(core):
    schedule = {
        "charge_below_usd": 0.16,
        "discharge_above_usd": 0.25,
        "charge_rate": 0.5,
        "discharge_rate": 0.4,
        "thermostat_target": -0.5,
        "thermostat_gain": 3.0,
    }
    noise = torch.Generator().manual_seed(0)
    seen = torch.randn(3, core.num_agents, core.num_features, generator=noise)
    seen[..., FEATURES.index("own_voltage")] *= 0.1
    droop = DroopPolicy(core, DroopConfig(**schedule)).act(seen)
    assert torch.equal(droop, RulesPolicy(core, RulesConfig(**schedule)).act(seen))


@given(arrays("float32", (2, 20, len(FEATURES)), elements=st.floats(-50.0, 50.0, width=32)))
def test_actions_stay_within_bounds(core, observation):
    action = DroopPolicy(core).act(torch.from_numpy(observation))
    assert action.dtype == torch.float32
    assert action.isfinite().all()
    assert action.abs().max() <= 1.0


def test_the_shifted_curve_violates_less_than_the_standards(core):
    days = core.days("train")

    def depth(config):
        flow = rollout(core, DroopPolicy(core, config), days).outcome.flow
        return sum(float(v.sum()) for v in vars(violations(flow, core.limits)).values())

    greedy = {"charge_rate": 1.0, "discharge_rate": 1.0}
    assert depth(DroopConfig(**greedy)) < depth(DroopConfig(**greedy, shift_pu=0.0))


def test_settings_out_of_range_are_named_at_once(core):
    with pytest.raises(GradmapError) as caught:
        DroopConfig(charge_rate=1.5, discharge_rate=-0.1, shift_pu=0.07)
    message = str(caught.value)
    assert all(name in message for name in ("charge_rate is 1.5", "discharge_rate", "shift_pu"))
    with pytest.raises(GradmapError, match=r"v2_pu is 1\.2"):
        DroopPolicy(core, DroopConfig(v2_pu=1.2))

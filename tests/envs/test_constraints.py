"""Violations: what lies outside the limits, and exactly on them."""

from __future__ import annotations

import types

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradmap.envs.constraints import Limits, violations

LIMITS = Limits(0.95, 1.05, torch.tensor([0, 2]))


def flow(v_pu, loading=(0.0,)):
    """What `violations` reads of a power flow."""
    return types.SimpleNamespace(
        v_magnitude_pu=torch.as_tensor(v_pu, dtype=torch.float64),
        branch_loading=torch.as_tensor(loading, dtype=torch.float64),
    )


@pytest.mark.parametrize(
    ("v_pu", "over", "under"),
    [
        (0.95, 0.0, 0.0),
        (1.05, 0.0, 0.0),
        (1.0, 0.0, 0.0),
        (1.06, 0.01, 0.0),
        (0.92, 0.0, 0.03),
    ],
)
def test_a_voltage_violates_beyond_its_limit_only(v_pu, over, under):
    found = violations(flow([v_pu, 1.0, 1.0]), LIMITS)
    assert found.over_pu.tolist() == pytest.approx([over, 0.0], abs=1e-15)
    assert found.under_pu.tolist() == pytest.approx([under, 0.0], abs=1e-15)
    next_up, next_down = np.nextafter(1.05, 2.0), np.nextafter(0.95, 0.0)
    beyond = violations(flow([next_up, 1.0, next_down]), LIMITS)
    assert beyond.over_pu[0] > 0.0
    assert beyond.under_pu[1] > 0.0


def test_a_node_that_is_not_monitored_does_not_count():
    found = violations(flow([1.0, 2.0, 1.0]), LIMITS)
    assert found.over_pu.tolist() == [0.0, 0.0]


def test_a_branch_is_overloaded_beyond_its_rating():
    found = violations(flow([1.0] * 3, [0.3, 1.0, 1.25]), LIMITS)
    assert found.overload.tolist() == [0.0, 0.0, 0.25]


def test_tightened_limits_find_violations_earlier():
    tight = LIMITS.tightened(0.01)
    assert (tight.vmin_pu, tight.vmax_pu) == pytest.approx((0.96, 1.04))
    found = violations(flow([1.045, 1.0, 0.955], [1.0]), tight)
    assert found.over_pu.tolist() == pytest.approx([0.005, 0.0])
    assert found.under_pu.tolist() == pytest.approx([0.0, 0.005])
    assert found.overload.tolist() == [0.0]
    assert LIMITS.tightened(0.0) == LIMITS


@given(arrays(np.float64, (4, 3), elements=st.floats(0.0, 2.0)))
def test_violations_are_depths(v_pu):
    found = violations(flow(v_pu), LIMITS)
    monitored = torch.tensor(v_pu)[:, [0, 2]]
    assert (found.over_pu >= 0.0).all()
    assert (found.under_pu >= 0.0).all()
    assert not ((found.over_pu > 0.0) & (found.under_pu > 0.0)).any()
    inside = monitored - found.over_pu + found.under_pu
    assert (inside >= 0.95 - 1e-12).all()
    assert (inside <= 1.05 + 1e-12).all()


def test_a_failed_power_flow_has_no_depth():
    found = violations(flow([[np.nan] * 3]), LIMITS)
    assert found.over_pu.isnan().all()
    assert found.under_pu.isnan().all()


def test_all_nodes_but_the_sources_own_are_monitored(core):
    monitored = set(core.limits.monitored.tolist())
    source = set(np.flatnonzero(core.feeder.is_source_node).tolist())
    assert source
    assert monitored | source == set(range(core.feeder.num_nodes))
    assert not monitored & source
    outcome = core.run_open_loop(core.days("test"), torch.zeros(2, 48, 20))
    found = violations(outcome.flow, core.limits)
    assert found.over_pu.shape == (2, 48, len(monitored))
    assert found.overload.shape == (2, 48, len(core.feeder.branches))

"""IEEE 13, 34 and 37 as read: held to OpenDSS's own solution of the public circuits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import solve_power_flow
from gradmap.feeders.validate import validate_feeder

# IEEE 13's switch of 1e7 S leaves 3e-9 p.u. of rounding, by the order of the sums.
TOLERANCE_PU = {"ieee13": 1e-8, "ieee34": 1e-9, "ieee37": 1e-9}
# Terminals, branches, load as the README has it.
SIZES = {
    "ieee13": (17, 17, 3466.0, 2102.0),
    "ieee34": (78, 40, 1769.0, 1044.0),
    "ieee37": (32, 40, 2457.0, 1201.0),
}


@pytest.fixture(scope="module", params=sorted(SIZES))
def feeder(request):
    return load_feeder(request.param)


def test_counts_and_totals(feeder, golden_of):
    golden = golden_of(feeder.name)
    assert len(feeder.bus_names) == golden.summary["buses"]
    assert feeder.num_nodes == golden.summary["nodes"]
    assert set(feeder.node_names) == set(golden.v_pu)
    assert len(set(feeder.terminals.load)) == golden.summary["loads"]
    terminals, branches, p_kw, q_kvar = SIZES[feeder.name]
    assert len(feeder.terminals) == terminals
    assert len(feeder.branches) == branches
    assert feeder.terminals.p_kw.sum() == pytest.approx(p_kw, abs=1e-9)
    assert feeder.terminals.q_kvar.sum() == pytest.approx(q_kvar, abs=1e-9)
    regulators = feeder.regulators
    assert dict(zip(regulators.control, regulators.tap, strict=True)) == golden.summary["taps"]
    assert set(regulators.tap_min) == {-16}
    assert set(regulators.tap_max) == {16}
    assert np.isfinite(feeder.bus_xy).all()


def test_opendss_solves_to_the_golden_voltages(feeder, golden_of):
    golden, t = golden_of(feeder.name), feeder.terminals
    with OpenDSSReplay(feeder, devices=False, tolerance_pu=1e-12) as replay:
        solution = replay.solve(t.p_kw, t.q_kvar)
    expected = np.array([golden.v_pu[name] for name in feeder.node_names])
    tolerance = TOLERANCE_PU[feeder.name]
    assert solution.converged
    assert np.abs(solution.v_pu - expected).max() < tolerance
    # Powers of branches are differences of voltages: ten times the tolerance.
    assert solution.losses_kw == pytest.approx(golden.summary["losses_kw"], rel=10 * tolerance)
    assert solution.source_kw == pytest.approx(golden.summary["source_kw"], rel=10 * tolerance)


def test_our_power_flow_solves_to_the_golden_voltages(feeder, golden_of):
    golden, t = golden_of(feeder.name), feeder.terminals
    flow = solve_power_flow(
        Network.from_feeder(feeder, devices=False),
        torch.tensor(t.p_kw)[None],
        torch.tensor(t.q_kvar)[None],
        tolerance_pu=1e-10,
    )
    expected = np.array([golden.v_pu[name] for name in feeder.node_names])
    # The delta side of IEEE 37 is tied to ground by a millionth of a transformer's
    # rating: what is common to its three phases is known to 2e-8 only.
    assert np.abs(flow.v_pu[0].numpy() - expected).max() < 5e-8
    assert float(flow.losses_kw) == pytest.approx(golden.summary["losses_kw"], rel=1e-6)


def test_every_operating_point_is_opendss_s(feeder):
    report = validate_feeder(feeder)
    assert report.passed, report.to_dict()
    assert report.tolerance_pu == 1e-6
    assert len(report.rows) == 8
    # An order inside what is asked for, so that a slip shows before it fails anyone.
    assert max(row.max_error_pu for row in report.rows) < 1e-7

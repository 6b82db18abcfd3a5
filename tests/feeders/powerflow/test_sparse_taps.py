"""Taps and capacitors of each scenario's own on sparse networks: as on dense ones."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.powerflow import implicit
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.regulation import Regulation
from gradmap.feeders.powerflow.response import current_response
from gradmap.feeders.powerflow.solve import PowerFlow, solve_power_flow
from gradmap.feeders.synthetic_feeder import synthetic

TIGHT = {"tolerance_pu": 1e-12, "max_iterations": 500}

LIMITS = {  # largest difference, in the property's unit
    "v_pu": 1e-9,
    "v_terminal_pu": 1e-9,
    "unbalance_pct": 1e-7,
    # A closed switch of 1e7 S turns a voltage's last digit into 1e-6 A.
    "branch_current_a": 1e-5,
    "branch_loading": 1e-7,
    "losses_kw": 1e-4,
    "source_kw": 1e-4,
    "source_kvar": 1e-4,
}


@pytest.fixture(scope="module")
def pairs(ieee123):
    """The same feeders, dense and sparse."""
    feeders = {name: load_feeder(name) for name in ("ieee13", "ieee34")}
    feeders |= {"ieee123": ieee123, "synthetic": synthetic(150, seed=3)}
    return {
        name: [Network.from_feeder(feeder, devices=True, method=m) for m in ("dense", "sparse")]
        for name, feeder in feeders.items()
    }


def positions(feeder, count, seed=3):
    """Random taps over half of their range, and capacitors on or off."""
    generator = torch.Generator().manual_seed(seed)
    taps = torch.randint(-8, 9, (count, len(feeder.regulators)), generator=generator)
    shape = (count, len(feeder.controls.capacitors))
    return taps, torch.rand(shape, generator=generator) < 0.5


def judged(flow):
    total = flow.losses_kw.sum() / 100 + flow.source_kw.sum() / 1e3
    for name in ("v_magnitude_pu", "branch_loading", "v_terminal_magnitude_pu", "unbalance_pct"):
        total = total + getattr(flow, name).mean(-1).sum()
    return total + flow.branch_current_a.abs().mean(-1).sum() / 100


@pytest.mark.parametrize("name", ["ieee13", "ieee34", "ieee123", "synthetic"])
@pytest.mark.parametrize("moves", ["taps", "capacitors", "both"])
def test_values_and_gradients_are_the_dense_ones(pairs, draw, name, moves):
    taps, is_on = positions(pairs[name][0].feeder, 4)
    given = {"taps": taps} if moves != "capacitors" else {}
    given |= {"capacitors": is_on} if moves != "taps" else {}
    p, q = draw(pairs[name][0], 4, scale=0.5)
    flows, gradients = [], []
    for network in pairs[name]:
        mine = p.clone().requires_grad_(), q.clone().requires_grad_()
        flow = solve_power_flow(network, *mine, **TIGHT, **given)
        assert flow.converged.all()
        flows.append(flow)
        gradients.append(torch.autograd.grad(judged(flow), mine))
    dense, sparse = flows
    for attribute, limit in LIMITS.items():
        difference = getattr(sparse, attribute) - getattr(dense, attribute)
        assert float(difference.detach().abs().max()) < limit, attribute
    assert torch.equal(sparse.taps, dense.taps)
    assert torch.equal(sparse.capacitors, dense.capacitors)
    for found, expected in zip(gradients[1], gradients[0], strict=True):
        assert float((found - expected).abs().max()) < 1e-7


def test_a_large_feeder_meets_opendss():
    feeder = synthetic(600, seed=2)
    network = Network.from_feeder(feeder)
    assert network.method == "sparse"
    taps, is_on = positions(feeder, 3)
    p = network.p_nominal_kw * torch.tensor([[0.3], [0.6], [0.9]], dtype=torch.float64)
    q = 0.4 * p
    flow = solve_power_flow(network, p, q, taps=taps, capacitors=is_on, tolerance_pu=1e-10)
    with OpenDSSReplay(feeder, devices=False, tolerance_pu=1e-10) as replay:
        for k in range(3):
            replay.move(taps[k].numpy(), is_on[k].numpy())
            expected = replay.solve(p[k].numpy(), q[k].numpy())
            assert np.abs(flow.v_pu[k].numpy() - expected.v_pu).max() < 1e-6
            own = flow.branch_current_a[k].numpy()
            scale = np.abs(expected.branch_current_a).max()
            assert np.abs(own - expected.branch_current_a).max() < 1e-6 * scale


def test_adjoint_by_elimination(pairs, draw, monkeypatch):
    sparse = pairs["ieee34"][1]
    taps, is_on = positions(sparse.feeder, 3)
    p, q = draw(sparse, 3, scale=0.5)
    found = []
    for limit in (200, 3):
        monkeypatch.setattr(implicit, "_LIMIT", limit)
        mine = p.clone().requires_grad_()
        flow = solve_power_flow(sparse, mine, q, taps=taps, capacitors=is_on, **TIGHT)
        found.append(torch.autograd.grad(judged(flow), mine)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-11)


def test_controls_settle_where_those_of_a_dense_network_do(pairs, draw):
    p, q = draw(pairs["ieee123"][0], 6, scale=0.9)
    dense, sparse = (Regulation(network).settle(p, q) for network in pairs["ieee123"])
    assert int(dense.tap_operations.sum()) > 0
    for name in ("taps", "capacitors", "tap_operations", "sweeps", "is_settled"):
        assert torch.equal(getattr(sparse, name), getattr(dense, name)), name
    assert float((sparse.flow.v_pu - dense.flow.v_pu).abs().max()) < 1e-7  # two tolerances of 1e-8


def test_single_precision(pairs, draw):
    dense, sparse = pairs["ieee123"]
    taps, is_on = positions(dense.feeder, 5)
    p, q = draw(dense, 5)
    exact = solve_power_flow(dense, p, q, taps=taps, capacitors=is_on, **TIGHT)
    single = sparse.to(dtype=torch.complex64)
    rough = solve_power_flow(single, p.float(), q.float(), taps=taps, capacitors=is_on)
    assert rough.v_pu.dtype == torch.complex64
    assert float((rough.v_pu - exact.v_pu).abs().max()) < 2e-6  # two tolerances of 1e-6
    torch.testing.assert_close(rough.losses_kw.double(), exact.losses_kw, rtol=1e-4, atol=0.0)


def test_chunks_stacks_and_copies(pairs, draw):
    sparse = pairs["ieee34"][1]
    p, q = draw(sparse, 40, 2, scale=0.5)
    taps = positions(sparse.feeder, 80)[0].reshape(40, 2, -1)
    whole = solve_power_flow(sparse, p, q, taps=taps, **TIGHT)
    steps = [solve_power_flow(sparse, p[:, k], q[:, k], taps=taps[:, k], **TIGHT) for k in range(2)]
    stacked = PowerFlow.stack(steps, dim=1)
    assert torch.equal(stacked.taps, taps)
    torch.testing.assert_close(stacked.v_pu, whole.v_pu, rtol=0.0, atol=1e-10)
    copied = pickle.loads(pickle.dumps(sparse))
    again = solve_power_flow(copied, p[0], q[0], taps=taps[0], **TIGHT)
    torch.testing.assert_close(again.v_pu, whole.v_pu[0], rtol=0.0, atol=1e-10)


def test_a_scenario_without_a_solution_is_flagged(pairs, draw):
    sparse = pairs["ieee13"][1]
    p, q = draw(sparse, 2, scale=0.5)
    p[1] = torch.nan
    p.requires_grad_()
    flow = solve_power_flow(sparse, p, q, taps=torch.zeros(2, 3, dtype=torch.int64))
    assert flow.converged.tolist() == [True, False]
    assert bool(flow.v_pu[1].isnan().all())
    assert bool(flow.branch_current_a[1].isnan().all())
    (gradient,) = torch.autograd.grad(flow.losses_kw[0] + flow.v_magnitude_pu[0].sum(), p)
    assert bool(gradient.isfinite().all())
    slopes = current_response(flow, p, q, torch.tensor([20]), torch.zeros(1))
    assert bool(slopes[0].isfinite().all())
    assert bool(slopes[1].isnan().all())


def test_a_feeder_without_what_moves_says_so(toy):
    network = Network.from_feeder(toy.feeder, method="sparse")
    nothing = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(GradmapError, match="has no tap or capacitor that can be moved"):
        solve_power_flow(network, network.p_nominal_kw, network.q_nominal_kvar, taps=nothing)

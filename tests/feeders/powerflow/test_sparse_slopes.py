"""Slopes of sparse networks, exact: against the dense elimination and against differences."""

from __future__ import annotations

import pytest
import torch

from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.powerflow.linear import LinearPowerFlow
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.response import current_response
from gradmap.feeders.powerflow.solve import solve_power_flow
from gradmap.feeders.powerflow.sparse_linear import SparseLinearPowerFlow, linear_power_flow

FEEDERS = ["ieee13", "ieee34", "ieee123"]
TIGHT = {"tolerance_pu": 1e-12, "max_iterations": 500}


@pytest.fixture(scope="module")
def pairs(ieee123):
    """The same feeders, dense and sparse."""
    feeders = {"ieee123": ieee123} | {name: load_feeder(name) for name in FEEDERS[:2]}
    return {
        name: [Network.from_feeder(feeder, devices=True, method=m) for m in ("dense", "sparse")]
        for name, feeder in feeders.items()
    }


def devices(network):
    return torch.arange(network.num_load_terminals, network.num_terminals)


@pytest.mark.parametrize("name", FEEDERS)
@pytest.mark.parametrize("is_tapped", [False, True])
def test_port_currents_answer_as_in_the_dense_network(pairs, draw, name, is_tapped):
    p, q = draw(pairs[name][0], 2, scale=0.5)
    terminals = devices(pairs[name][0])
    ratio = torch.linspace(0.0, 0.6, len(terminals)).double()
    taps = torch.arange(len(pairs[name][0].feeder.regulators)) - 2 if is_tapped else None
    found = []
    for network in pairs[name]:
        flow = solve_power_flow(network, p, q, taps=taps, **TIGHT)
        found.append(current_response(flow, p, q, terminals, ratio))
    torch.testing.assert_close(found[1], found[0], rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("name", FEEDERS)
def test_linear_model_has_the_exact_slopes(pairs, draw, name):
    """Of every terminal's P and Q, beside those of the dense elimination at 1e-9."""
    dense, sparse = pairs[name]
    p, q = draw(dense, scale=0.5)
    terminals = devices(dense)
    model = SparseLinearPowerFlow.around(sparse, p, q, terminals)
    num, padded = len(terminals), 2 * dense.num_padded_ports
    flow = solve_power_flow(dense, p, q, **TIGHT)
    zeros, ones = torch.zeros(num).double(), torch.ones(num).double()
    by_p, both = (current_response(flow, p, q, terminals, ratio) for ratio in (zeros, ones))
    current = torch.cat((by_p, both - by_p))
    voltage = dense.maps.port_voltage(current)
    eye = torch.eye(2 * num, dtype=torch.float64)
    moved = model._forward(eye).T.chunk(2, dim=1)
    assert moved[0].shape == (2 * num, padded)
    torch.testing.assert_close(moved[0], voltage, rtol=0.0, atol=1e-9)
    torch.testing.assert_close(moved[1], current, rtol=0.0, atol=1e-9)
    # Forward and back are transposes of each other.
    there = torch.randn(4 * dense.num_padded_ports, 3, dtype=torch.float64)
    torch.testing.assert_close(model._backward(there).T, there.T @ model._forward(eye))


def test_it_moves_as_the_dense_model_does(pairs, draw):
    p, q = draw(pairs["ieee123"][0])
    terminals = devices(pairs["ieee123"][0])
    found = []
    for network, kind in zip(
        pairs["ieee123"], (LinearPowerFlow, SparseLinearPowerFlow), strict=True
    ):
        model = linear_power_flow(network, p, q, terminals)
        assert type(model) is kind
        flow = solve_power_flow(network, p.expand(3, 2, -1), q.expand(3, 2, -1), **TIGHT)
        generator = torch.Generator().manual_seed(0)
        change = torch.randn(2, 3, 2, len(terminals), generator=generator).double()
        change.requires_grad_(True)
        moved = model.move(flow, *change)
        score = moved.v_magnitude_pu.sum() + moved.branch_loading.square().sum()
        found.append((moved.v_pu, moved.branch_loading, *torch.autograd.grad(score, change)))
    # The dense slopes are differences over 1 kW: 1e-7 of a kW's own current.
    for dense, sparse in zip(*found, strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-6, atol=1e-8)


def test_single_precision_and_a_failed_flow(pairs, draw):
    single = pairs["ieee123"][1].to(dtype=torch.complex64)
    p, q = draw(single)
    model = SparseLinearPowerFlow.around(single, p, q, devices(single))
    assert 0 < model.num_bytes < 2**21
    failed = solve_power_flow(single, 1e4 * p[None], 1e4 * q[None])
    assert not failed.converged.any()
    change = torch.zeros(2, 1, single.num_load_terminals, requires_grad=True)
    moved = model.move(failed, *change)
    assert moved.u.dtype == torch.float32
    moved.v_magnitude_pu.sum().backward()
    assert change.grad.isfinite().all()
    with pytest.raises(GradmapError, match="no solution"):
        SparseLinearPowerFlow.around(single, 1e4 * p, 1e4 * q, devices(single))

"""The environment on a sparse network: the same day as on a dense one."""

from __future__ import annotations

import torch

from gradmap.algorithms.day_model import linear_feeder
from gradmap.envs.catalog import make
from gradmap.feeders.powerflow import assembly
from gradmap.feeders.powerflow.sparse_linear import SparseLinearPowerFlow
from gradmap.feeders.synthetic_feeder import synthetic


def test_day_on_a_sparse_network(make_core, monkeypatch):
    dense = make_core(20, steps=6)
    monkeypatch.setattr(assembly, "DENSE_PORTS", 0)
    sparse = make_core(20, steps=6)
    assert (dense.network.method, sparse.network.method) == ("dense", "sparse")
    assert isinstance(linear_feeder(sparse), SparseLinearPowerFlow)
    found = []
    for core in (dense, sparse):
        action = torch.full((2, core.num_agents), 0.3, requires_grad=True)
        state, outcome = core.step(core.reset(core.days("train")[:2]), action)
        total = outcome.cost_usd.sum() + outcome.flow.v_magnitude_pu.sum()
        total = total + outcome.flow.branch_loading.sum()
        (grad,) = torch.autograd.grad(total, action)
        found.append((core.observe(state), outcome.flow.v_magnitude_pu.detach(), grad))
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


def test_taps_are_alive_on_a_sparse_network(make_core, monkeypatch):
    found = []
    for ports in (450, 0):
        monkeypatch.setattr(assembly, "DENSE_PORTS", ports)
        core = make_core(20, steps=6, regulation="quasi-static")
        action = torch.full((2, 6, core.num_agents), 0.8, requires_grad=True)
        outcome = core.run_open_loop(core.days("train")[:2], action)
        (grad,) = torch.autograd.grad(outcome.flow.v_magnitude_pu.sum(), action)
        found.append((outcome.tap_operations, outcome.flow.v_magnitude_pu.detach(), grad))
        assert core.network.method == ("dense" if ports else "sparse")
    assert torch.equal(found[1][0], found[0][0])
    # Two power flows to 1e-8 p.u., and gradients summed in single precision.
    for k, limit in ((1, 1e-7), (2, 1e-4)):
        expected = found[0][k]
        error = float((found[1][k] - expected).abs().max())
        assert error < limit * float(expected.abs().max())


def test_a_task_on_a_large_feeder_of_ones_own():
    """Above the ports up to which a network is dense, from a feeder at hand."""
    core = make(feeder=synthetic(520, seed=0), num_agents=60, difficulty=1.0)
    assert core.network.method == "sparse"
    assert core.network.num_ports > assembly.DENSE_PORTS
    action = torch.zeros(1, core.num_agents, requires_grad=True)
    _, outcome = core.step(core.reset(core.days("train")[:1]), action)
    assert outcome.is_usable.all()
    (grad,) = torch.autograd.grad(outcome.flow.v_magnitude_pu.sum(), action)
    assert (grad != 0).all()

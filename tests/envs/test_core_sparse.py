"""The environment on a sparse network: the same day as on a dense one."""

from __future__ import annotations

import torch

from gradmap.algorithms.day_model import linear_feeder
from gradmap.feeders.powerflow import assembly
from gradmap.feeders.powerflow.sparse_linear import SparseLinearPowerFlow


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

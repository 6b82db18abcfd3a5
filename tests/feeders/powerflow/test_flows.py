"""Currents, loading, losses, source power and unbalance of a solution."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradmap.feeders.powerflow.planar import affine_magnitude, magnitude
from gradmap.feeders.powerflow.solve import solve_power_flow


@pytest.fixture(scope="module")
def flow(network, draw):
    return solve_power_flow(network, *draw(network, 5), tolerance_pu=1e-12)


def test_summary_is_opendss_summary(network, golden):
    flow = solve_power_flow(network, network.p_nominal_kw, network.q_nominal_kvar)
    assert float(flow.losses_kw) == pytest.approx(golden.summary["losses_kw"], abs=1e-4)
    assert float(flow.source_kw) == pytest.approx(golden.summary["source_kw"], abs=1e-2)
    # OpenDSS's figure counts the source's own reactance.
    assert float(flow.source_kvar) == pytest.approx(golden.summary["source_kvar"], abs=0.1)


def test_power_is_conserved(network, flow):
    drawn = flow.v_terminal_pu[:, : network.num_ports] * flow.port_current_a.conj()
    load_kw = (drawn.real / network.port_base_a).sum(1)
    torch.testing.assert_close(flow.source_kw, load_kw + flow.losses_kw, rtol=1e-8, atol=0)


def test_single_precision_losses(single, network, draw):
    p, q = draw(network, 16)
    exact = solve_power_flow(network, p, q)
    found = solve_power_flow(single, p.float(), q.float())
    torch.testing.assert_close(found.losses_kw.double(), exact.losses_kw, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.source_kw.double(), exact.source_kw, rtol=1e-5, atol=0)
    torch.testing.assert_close(
        found.branch_loading.double(), exact.branch_loading, rtol=1e-4, atol=1e-5
    )


def test_branch_currents_and_losses_follow_from_the_voltages(ieee123, flow):
    volts = flow.v_pu.numpy() * 1e3 * ieee123.node_kv_base
    branches = ieee123.branches
    current = (branches.current_siemens @ volts.T).T
    np.testing.assert_allclose(flow.branch_current_a.numpy(), current, atol=1e-4)
    share = np.abs(current) / branches.rating_a[branches.conductor_branch]
    loading = np.zeros((len(volts), len(branches)))
    for conductor, branch in enumerate(branches.conductor_branch):
        loading[:, branch] = np.maximum(loading[:, branch], share[:, conductor])
    np.testing.assert_allclose(flow.branch_loading.numpy(), loading, atol=1e-6)
    losses = np.einsum("bn,bn->b", volts, np.conj((branches.series_siemens @ volts.T).T)).real
    np.testing.assert_allclose(flow.losses_kw.numpy(), losses / 1e3, rtol=1e-6)


def test_unbalance_is_negative_over_positive_sequence(ieee123, network, flow):
    phasors = flow.v_pu[:, network.three_phase_node]
    turn = np.exp(2j * np.pi / 3)
    positive = (phasors @ torch.tensor([1, turn, turn**2])) / 3
    negative = (phasors @ torch.tensor([1, turn**2, turn])) / 3
    expected = 100 * negative.abs() / positive.abs()
    torch.testing.assert_close(flow.unbalance_pct, expected)
    bus = {ieee123.node_bus[k] for k in network.three_phase_node[:, 0].tolist()}
    assert len(bus) == flow.unbalance_pct.shape[1]
    assert (flow.unbalance_pct < 3).all()


def test_magnitude_is_flat_at_zero():
    planar = torch.tensor([[3.0, 0.0, 4.0, 0.0]], requires_grad=True)
    found = magnitude(planar)
    assert found.tolist() == [[5.0, 0.0]]
    found.sum().backward()
    torch.testing.assert_close(planar.grad, torch.tensor([[0.6, 0.0, 0.8, 0.0]]))


def test_affine_magnitude_is_the_magnitude_of_the_image():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(700, 5, generator=generator, dtype=torch.float64)
    matrix = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    expected = magnitude(rows @ matrix)
    torch.testing.assert_close(affine_magnitude(rows, matrix), expected)
    taped = affine_magnitude(rows.requires_grad_(), matrix)
    torch.testing.assert_close(taped, expected)
    assert torch.autograd.gradcheck(lambda x: affine_magnitude(x, matrix), (rows[:3],))


def test_branch_without_current_has_no_nan_gradient(network, draw):
    """The open ties carry a charging current of nothing at all."""
    p, q = draw(network, 2)
    flow = solve_power_flow(network, p.requires_grad_(), q)
    assert float(flow.branch_loading.detach().min()) < 1e-4
    (grad,) = torch.autograd.grad(flow.branch_loading.sum(), p)
    assert grad.isfinite().all()

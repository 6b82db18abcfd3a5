"""The implicit gradient: gradcheck, unrolled autograd and finite differences agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradmap.feeders.powerflow import implicit
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import PowerFlow, solve_power_flow


def score(flow, seed=0):
    """A number that everything in a solution enters."""
    generator = torch.Generator().manual_seed(seed)

    def weigh(values):
        weight = torch.randn(values.shape[-1:], generator=generator, dtype=torch.float64)
        return (values * weight.to(values.dtype)).sum()

    return (
        weigh(flow.v_magnitude_pu)
        + weigh(flow.v_pu.real)
        + weigh(flow.v_terminal_pu.imag)
        + weigh(flow.v_terminal_magnitude_pu)
        + weigh(flow.branch_loading)
        + 0.01 * weigh(flow.port_current_a.real)
        + 0.01 * weigh(flow.branch_current_a.imag)
        + 0.01 * weigh(flow.unbalance_pct)
        + 0.01 * (flow.losses_kw + flow.source_kw + flow.source_kvar).sum()
    )


def regimes(network, p, q):
    """Where the voltages of a solution stand among the thresholds of the law."""
    flow = solve_power_flow(network, p.detach(), q.detach(), max_iterations=300)
    u = flow.v_terminal_magnitude_pu[..., : network.num_load_terminals]
    t = network.feeder.terminals
    edges = [torch.tensor(edge) for edge in (t.vlow_pu, t.vmin_pu, t.vmax_pu)]
    places = sum((u > edge).to(torch.int64) for edge in edges)
    names = ("impedance", "line", "in range", "above")
    return {names[place] for place in places.flatten().tolist()}


@pytest.mark.parametrize(
    ("scale", "vlow", "expected"),
    [
        (1.0, 0.5, {"in range"}),
        (3.0, 0.5, {"line"}),
        (8.0, 0.75, {"line", "impedance"}),
        (-2.0, 0.5, {"in range", "above"}),
    ],
)
def test_gradcheck_on_every_law(build_toy, draw, scale, vlow, expected):
    """Every law of load, wye and delta, on all sides of its thresholds."""
    toy = Network.from_feeder(build_toy(vlow_pu=np.full(7, vlow)), devices=True)
    p, q = draw(toy, 2, scale=scale, seed=1)
    assert regimes(toy, p, q) >= expected

    def outputs(p, q):
        flow = solve_power_flow(toy, p, q, tolerance_pu=1e-13, max_iterations=300)
        names = ("v_pu", "v_terminal_magnitude_pu", "branch_loading", "losses_kw", "source_kvar")
        return tuple(getattr(flow, name) for name in names)

    assert torch.autograd.gradcheck(
        outputs, (p.requires_grad_(), q.requires_grad_()), eps=1e-3, atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("scale", [1.0, 4.0, 0.1, -2.0])
def test_implicit_unrolled_and_finite_differences_agree(network, reference, draw, scale):
    p, q = (x.requires_grad_() for x in draw(network, scale=scale, seed=5))
    generator = torch.Generator().manual_seed(1)
    weight_v = torch.randn(278, generator=generator, dtype=torch.float64)
    weight_u = torch.randn(190, generator=generator, dtype=torch.complex128)

    def value(u, v):
        return (v.abs() * weight_v).sum() + (u * weight_u).real.sum()

    def implicit_value(p, q):
        flow = solve_power_flow(network, p, q, tolerance_pu=1e-13, max_iterations=300)
        return value(flow.v_terminal_pu, flow.v_pu)

    found = torch.autograd.grad(implicit_value(p, q), (p, q))
    unrolled = torch.autograd.grad(value(*reference.solve(p, q, iterations=300)), (p, q))
    for ours, theirs in zip(found, unrolled, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)
    for k in (0, 30, 66, 95, 150):
        for which in (0, 1):
            moved = torch.zeros(190, dtype=torch.float64)
            moved[k] = 1e-2
            ends = []
            for sign in (1, -1):
                powers = [p.detach(), q.detach()]
                powers[which] = powers[which] + sign * moved
                ends.append(float(implicit_value(*powers)))
            expected = (ends[0] - ends[1]) / 2e-2
            assert float(found[which][k]) == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_every_quantity_has_a_gradient(network, draw):
    p, q = (x.requires_grad_() for x in draw(network, 3))
    flow = solve_power_flow(network, p, q, tolerance_pu=1e-12)
    grad_p, _ = torch.autograd.grad(score(flow), (p, q))
    assert grad_p.isfinite().all()
    direction = torch.randn(p.shape, generator=torch.Generator().manual_seed(2)).double()
    h = 1e-3
    with torch.no_grad():
        ends = [
            float(score(solve_power_flow(network, p + s * direction, q, tolerance_pu=1e-13)))
            for s in (h, -h)
        ]
    expected = (ends[0] - ends[1]) / (2 * h)
    assert float((grad_p * direction).sum()) == pytest.approx(expected, rel=1e-6)


def test_gradient_of_a_batch_past_a_chunk_is_that_of_its_parts(network, draw):
    p, q = draw(network, 300)
    flow = solve_power_flow(network, p.requires_grad_(), q, tolerance_pu=1e-12)
    (whole,) = torch.autograd.grad(flow.v_magnitude_pu.square().sum(), p)
    part = p.detach()[250:270].requires_grad_()
    flow = solve_power_flow(network, part, q[250:270], tolerance_pu=1e-12)
    (alone,) = torch.autograd.grad(flow.v_magnitude_pu.square().sum(), part)
    torch.testing.assert_close(whole[250:270], alone, rtol=1e-8, atol=1e-10)


def test_single_precision_gradient(network, single, draw):
    p, q = draw(network, 8)
    grads = []
    for net in (network, single):
        mine = p.to(net.real_dtype).requires_grad_()
        flow = solve_power_flow(net, mine, q.to(net.real_dtype))
        grads.append(torch.autograd.grad(score(flow, seed=3), mine)[0].double())
    scale = grads[0].abs().amax(1, keepdim=True)
    assert float(((grads[0] - grads[1]) / scale).abs().max()) < 1e-4


@pytest.mark.parametrize("reduce", ["masked", "selected"])
def test_failed_scenario_has_zero_gradient_and_harms_no_other(network, draw, reduce):
    p, q = draw(network, 4)
    p[1, 3], p[2, 5] = float("nan"), 1e6
    p.requires_grad_()
    q.requires_grad_()
    flow = solve_power_flow(network, p, q)
    assert flow.converged.tolist() == [True, False, False, True]
    if reduce == "selected":
        loss = flow.v_magnitude_pu[flow.converged].square().sum()
    else:
        loss = torch.where(flow.converged[:, None], flow.v_magnitude_pu, 0.0).square().sum()
        loss = loss + torch.where(flow.converged, flow.losses_kw, 0.0).sum()
    grad_p, grad_q = torch.autograd.grad(loss, (p, q))
    for grad in (grad_p, grad_q):
        assert (grad[[1, 2]] == 0).all()
        assert grad[[0, 3]].isfinite().all()
        assert (grad[[0, 3]] != 0).any()
    # Even a loss that lets the NaN through leaves the others theirs.
    flow = solve_power_flow(network, p, q)
    grad_p, _ = torch.autograd.grad(flow.v_magnitude_pu.square().sum(), (p, q))
    assert grad_p.isfinite().all()
    assert (grad_p[[1, 2]] == 0).all()


def test_adjoint_that_does_not_converge_is_solved_directly(network, draw, monkeypatch):
    p, q = draw(network, 6, scale=2.0)
    grads = []
    for limit in (200, 3):
        monkeypatch.setattr(implicit, "_LIMIT", limit)
        mine = p.clone().requires_grad_()
        flow = solve_power_flow(network, mine, q, tolerance_pu=1e-12)
        grads.append(torch.autograd.grad(score(flow), mine)[0])
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-12)


def test_gradient_flows_to_what_is_given_and_in_its_dtype(network, draw):
    p, q = draw(network, 2)
    p32 = p.float().requires_grad_()
    flow = solve_power_flow(network, p32, q)
    flow.losses_kw.sum().backward()
    assert p32.grad is not None
    assert p32.grad.dtype == torch.float32
    guess = solve_power_flow(network, p.clone().requires_grad_(), q)
    assert not solve_power_flow(network, p, q, guess=guess).v_pu.requires_grad


def test_gradient_through_a_stack(network, draw):
    p, q = draw(network, 2)
    p.requires_grad_()
    steps = [solve_power_flow(network, p * factor, q) for factor in (1.0, 0.5)]
    flow = PowerFlow.stack(steps, dim=1)
    (found,) = torch.autograd.grad(flow.losses_kw.sum(), p)
    parts = [
        torch.autograd.grad(step.losses_kw.sum(), p)[0]
        for step in [solve_power_flow(network, p * factor, q) for factor in (1.0, 0.5)]
    ]
    torch.testing.assert_close(found, parts[0] + parts[1])


def test_second_derivative_is_refused(network, draw):
    p, q = draw(network, 1)
    p.requires_grad_()
    flow = solve_power_flow(network, p, q)
    (first,) = torch.autograd.grad(flow.losses_kw.sum(), p, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()

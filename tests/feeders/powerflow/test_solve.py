"""Solutions: against published values, the reference, and each other."""

from __future__ import annotations

import pickle

import pytest
import torch

from gradmap.feeders.errors import GradmapError
from gradmap.feeders.powerflow.fixed_point import chunks
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import PowerFlow, solve_power_flow


def largest(values):
    return float(values.abs().max())


def test_nominal_case_is_opendss_solution(network, ieee123, golden):
    flow = solve_power_flow(network, network.p_nominal_kw, network.q_nominal_kvar)
    expected = torch.tensor(
        [golden.v_pu[name] for name in ieee123.node_names], dtype=torch.complex128
    )
    assert largest(flow.v_pu - expected) < 1e-8
    assert flow.v_pu.dtype == torch.complex128
    assert flow.v_pu.shape == (278,)


@pytest.mark.parametrize(
    ("scale", "regime"),
    [(1.0, (0.95, 1.06)), (4.0, (0.0, 0.8)), (0.1, (1.05, 1.2)), (-2.0, (1.2, 1.5))],
)
def test_solution_is_the_reference(network, reference, draw, scale, regime):
    """Ordinary, heavily loaded, light and reverse: all sides of the thresholds."""
    p, q = draw(network, 2, scale=scale)
    flow = solve_power_flow(network, p, q, tolerance_pu=1e-12)
    assert flow.converged.all()
    u, v = reference.solve(p[0], q[0], iterations=300)
    magnitude = u.abs()
    assert ((magnitude > regime[0]) & (magnitude < regime[1])).any()
    assert largest(flow.v_pu[0] - v) < 1e-9
    assert largest(flow.v_terminal_pu[0] - u) < 1e-10


def test_toy_with_every_law_is_the_reference(toy, toy_reference, draw):
    for scale in (0.1, 1.0, 3.0, 8.0, -2.0):
        p, q = draw(toy, scale=scale, seed=3)
        flow = solve_power_flow(toy, p, q, tolerance_pu=1e-12)
        u, v = toy_reference.solve(p, q, iterations=200)
        assert bool(flow.converged), scale
        assert largest(flow.v_pu - v) < 1e-9
        assert largest(flow.v_terminal_pu - u) < 1e-9


def test_single_precision_is_within_a_millionth(network, single, draw):
    p, q = draw(network, 64)
    exact = solve_power_flow(network, p, q, tolerance_pu=1e-12)
    flow = solve_power_flow(single, p.float(), q.float())
    assert flow.v_pu.dtype == torch.complex64
    assert largest(flow.v_pu - exact.v_pu) < 5e-7


def test_default_tolerance_bounds_the_error(network, draw):
    p, q = draw(network, 64)
    exact = solve_power_flow(network, p, q, tolerance_pu=1e-13)
    for tolerance in (1e-4, 1e-6, 1e-8):
        flow = solve_power_flow(network, p, q, tolerance_pu=tolerance)
        assert largest(flow.v_pu - exact.v_pu) < tolerance
        assert (flow.residual <= tolerance).all()


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 1, 3)])
def test_leading_axes_are_kept(network, draw, lead):
    p, q = draw(network, *lead)
    flow = solve_power_flow(network, p, q)
    feeder = network.feeder
    shapes = {
        "converged": lead,
        "iterations": lead,
        "residual": lead,
        "v_pu": (*lead, 278),
        "v_magnitude_pu": (*lead, 278),
        "v_terminal_pu": (*lead, 190),
        "v_terminal_magnitude_pu": (*lead, 190),
        "port_current_a": (*lead, 95),
        "branch_current_a": (*lead, len(feeder.branches.conductor_branch)),
        "branch_loading": (*lead, len(feeder.branches)),
        "losses_kw": lead,
        "source_kw": lead,
        "source_kvar": lead,
        "unbalance_pct": (*lead, len(network.three_phase_node)),
    }
    assert {name: tuple(getattr(flow, name).shape) for name in shapes} == shapes
    flat = solve_power_flow(network, p.reshape(-1, 190), q.reshape(-1, 190))
    assert torch.equal(flow.v_pu.reshape(-1, 278), flat.v_pu)


def test_batch_is_the_loop_in_any_order(network, draw):
    """Past the size of a chunk, and with scenarios of all kinds side by side."""
    count = chunks(network, 10**6)[0].stop + 40
    p, q = draw(network, count)
    factor = torch.linspace(-1.0, 3.0, count, dtype=torch.float64)[:, None]
    p, q = p * factor, q * factor
    flow = solve_power_flow(network, p, q, tolerance_pu=1e-10)
    assert flow.converged.all()
    for k in range(0, count, 29):
        alone = solve_power_flow(network, p[k], q[k], tolerance_pu=1e-10)
        assert largest(flow.v_pu[k] - alone.v_pu) < 1e-9
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    turned = solve_power_flow(network, p[order], q[order], tolerance_pu=1e-10)
    assert largest(flow.v_pu[order] - turned.v_pu) < 1e-9


def test_heavy_scenarios_do_not_hold_the_others_up(network, draw):
    p, q = draw(network, 8)
    p[3], q[3] = 4.0 * p[3], 4.0 * q[3]
    flow = solve_power_flow(network, p, q)
    assert flow.converged.all()
    assert flow.iterations[3] > 10
    assert flow.iterations.sort().values[-2] <= 10


def test_gradient_never_changes_a_value(network, single, draw):
    for net in (network, single):
        p, q = draw(net, 5)
        plain = solve_power_flow(net, p, q)
        taped = solve_power_flow(net, p.requires_grad_(), q)
        with torch.no_grad():
            silent = solve_power_flow(net, p, q)
        for flow in (taped, silent):
            for name in ("v_pu", "v_magnitude_pu", "branch_loading", "losses_kw", "unbalance_pct"):
                assert torch.equal(getattr(flow, name), getattr(plain, name)), name
        assert taped.v_pu.requires_grad
        assert not silent.v_pu.requires_grad


def test_repeated_solves_are_equal_and_independent(network, draw):
    """Buffers are kept from solve to solve: results must not lie in them."""
    p, q = draw(network, 4)
    first = solve_power_flow(network, p, q)
    before = first.u.clone(), first.j.clone()
    solve_power_flow(network, 1.1 * p, q)
    again = solve_power_flow(network, p, q)
    assert torch.equal(first.u, before[0])
    assert torch.equal(first.j, before[1])
    assert torch.equal(again.v_pu, first.v_pu)


def test_warm_start_saves_iterations_and_agrees(network, draw):
    p, q = draw(network, 2, 6)
    first = solve_power_flow(network, p, q)
    moved = solve_power_flow(network, p + 0.05, q)
    warm = solve_power_flow(network, p + 0.05, q, guess=first)
    assert (warm.iterations < moved.iterations).all()
    assert largest(warm.v_pu - moved.v_pu) < 2e-8
    same = solve_power_flow(network, p, q, guess=first)
    assert (same.iterations == 1).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e6])
def test_impossible_scenario_is_flagged_alone(network, draw, bad):
    p, q = draw(network, 6)
    expected = solve_power_flow(network, p, q)
    p[2, 17] = bad
    flow = solve_power_flow(network, p, q)
    assert flow.converged.tolist() == [True, True, False, True, True, True]
    others = flow.converged
    assert largest(flow.v_pu[others] - expected.v_pu[others]) < 1e-8
    for name in ("v_pu", "v_terminal_pu", "branch_loading", "losses_kw", "source_kw"):
        assert getattr(flow, name)[2].isnan().all(), name
        assert getattr(flow, name)[others].isfinite().all(), name


def test_failed_guess_is_not_used(network, draw):
    p, q = draw(network, 3)
    bad = p.clone()
    bad[1, 0] = float("nan")
    guess = solve_power_flow(network, bad, q)
    flow = solve_power_flow(network, p, q, guess=guess)
    assert flow.converged.all()
    assert largest(flow.v_pu - solve_power_flow(network, p, q).v_pu) < 1e-8


def test_iterations_count_until_the_limit(network, draw):
    p, q = draw(network, 3)
    for limit in (1, 2, 3):
        flow = solve_power_flow(network, p, q, max_iterations=limit, tolerance_pu=1e-12)
        assert not flow.converged.any()
        assert (flow.iterations == limit).all()
    enough = solve_power_flow(network, p, q, tolerance_pu=1e-6)
    for limit in range(3, 12):
        flow = solve_power_flow(network, p, q, max_iterations=limit, tolerance_pu=1e-6)
        assert torch.equal(flow.converged, enough.iterations <= limit)


def test_stack_joins_along_a_new_axis(network, draw):
    parts = [solve_power_flow(network, *draw(network, 3, seed=seed)) for seed in range(4)]
    flow = PowerFlow.stack(parts, dim=1)
    assert flow.v_pu.shape == (3, 4, 278)
    for k, part in enumerate(parts):
        torch.testing.assert_close(flow.v_pu[:, k], part.v_pu)
        torch.testing.assert_close(flow.losses_kw[:, k], part.losses_kw)
        assert torch.equal(flow.iterations[:, k], part.iterations)
    with pytest.raises(GradmapError, match="no solution"):
        PowerFlow.stack([])
    with pytest.raises(GradmapError, match="leading shapes"):
        PowerFlow.stack([parts[0], solve_power_flow(network, *draw(network, 2))])


def test_solution_does_not_need_a_good_processor_count(network, draw):
    p, q = draw(network, 40)
    expected = solve_power_flow(network, p, q)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found = solve_power_flow(network, p, q)
    finally:
        torch.set_num_threads(threads)
    assert largest(found.v_pu - expected.v_pu) < 1e-9


def test_faults_of_a_call_are_named_together(network, draw):
    p, q = draw(network, 3)
    with pytest.raises(GradmapError, match=r"p_kw has shape \(3, 95\).*tolerance_pu is 0"):
        solve_power_flow(network, p[:, :95], q, tolerance_pu=0)
    with pytest.raises(GradmapError, match="real floating dtype"):
        solve_power_flow(network, p.long(), q)
    with pytest.raises(GradmapError, match="max_iterations is 0"):
        solve_power_flow(network, p, q, max_iterations=0)
    with pytest.raises(GradmapError, match="is empty"):
        solve_power_flow(network, p[:0], q[:0])
    with pytest.raises(GradmapError, match="leading shape"):
        solve_power_flow(network, p, q, guess=solve_power_flow(network, p[:2], q[:2]))
    other = pickle.loads(pickle.dumps(network))
    with pytest.raises(GradmapError, match="another network"):
        solve_power_flow(other, p, q, guess=solve_power_flow(network, p, q))


def test_pickled_network_gives_the_same_numbers(network, draw):
    p, q = draw(network, 3)
    copy: Network = pickle.loads(pickle.dumps(network))
    assert torch.equal(solve_power_flow(copy, p, q).v_pu, solve_power_flow(network, p, q).v_pu)


def test_inference_mode_leaves_nothing_behind(ieee123, draw):
    with torch.inference_mode():
        network = Network.from_feeder(ieee123)
        p, q = draw(network, 3)
        inside = solve_power_flow(network, p, q).v_pu
    p, q = draw(network, 3)
    flow = solve_power_flow(network, p.requires_grad_(), q)
    flow.losses_kw.sum().backward()
    assert torch.equal(flow.v_pu, inside.clone())
    with torch.inference_mode():
        assert torch.equal(solve_power_flow(network, p, q).v_pu, inside)

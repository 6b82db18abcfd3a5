"""The sparse method: the same answers as the dense one, and what is its own."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import GROUND, Branches, Feeder, LoadModel, Terminals
from gradmap.feeders.powerflow import assembly, implicit
from gradmap.feeders.powerflow.linear import LinearPowerFlow
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import solve_power_flow
from gradmap.feeders.powerflow.sparse_basis import difference_basis
from gradmap.feeders.synthetic_feeder import synthetic

PROPERTIES = {  # largest difference, in the property's unit
    "v_pu": 1e-9,
    "v_magnitude_pu": 1e-9,
    "v_terminal_pu": 1e-9,
    "v_terminal_magnitude_pu": 1e-9,
    "unbalance_pct": 1e-7,
    "port_current_a": 1e-6,
    # A closed switch of 1e7 S turns a voltage's last digit into 1e-6 A.
    "branch_current_a": 1e-5,
    "branch_loading": 1e-7,
    "losses_kw": 1e-4,
    "source_kw": 1e-4,
    "source_kvar": 1e-4,
}
SWITCH_SIEMENS = 1e7


def make_radial(build_toy, num_buses: int, seed: int) -> Feeder:
    """A random tree of lines and closed switches, with a floating delta bus at its end."""
    rng = np.random.default_rng(seed)
    phases, parent = [(0, 1, 2)], [0]
    for k in range(1, num_buses):
        above = int(rng.integers(max(0, k - 12), k))
        own = phases[above]
        if len(own) == 3 and k > 5 and rng.random() < 0.2:
            own = (int(rng.integers(3)),)
        phases.append(own)
        parent.append(above)
    first = np.cumsum([0] + [len(own) for own in phases])
    count = first[-1] + 3
    y = sp.lil_matrix((count, count), dtype=complex)
    y[:3, :3] = np.diag(np.full(3, 1.0 / (0.01 + 0.1j)))
    y_source = sp.csc_matrix(y)
    series = sp.lil_matrix((count, count), dtype=complex)
    current = sp.lil_matrix((first[-1] - 3, count), dtype=complex)
    for k in range(1, num_buses):
        own = len(phases[k])
        length = rng.uniform(0.01, 0.05)
        z = length * ((0.3 + 0.6j) * np.eye(own) + (0.15 + 0.4j) * np.ones((own, own)))
        # Few in series: each takes digits, of the dense matrices too.
        switched = 1.0 - 4.0 / num_buses
        block = np.linalg.inv(z) if rng.random() < switched else SWITCH_SIEMENS * np.eye(own)
        here = first[k] + np.arange(own)
        there = first[parent[k]] + np.array([phases[parent[k]].index(p) for p in phases[k]])
        both = np.concatenate([there, here])
        series[np.ix_(both, both)] += np.kron([[1, -1], [-1, 1]], block)
        current[np.ix_(here - 3, both)] = np.hstack([block, -block])
    delta = 2.0 * (3.0 * np.eye(3) - np.ones((3, 3))) * (1.0 - 4.0j) / 3.0
    ends = np.concatenate([np.arange(3, 6), first[-1] + np.arange(3)])
    series[np.ix_(ends, ends)] += np.kron([[1, -1], [-1, 1]], delta)
    y = sp.csc_matrix(y + series + sp.diags(np.full(count, 1e-6j)))
    toy = build_toy()
    names = [f"b{k}.{phase + 1}" for k, own in enumerate(phases) for phase in own]
    names += [f"floating.{phase}" for phase in (1, 2, 3)]
    conductors = first[-1] - 3
    branch = np.repeat(np.arange(num_buses - 1), [len(own) for own in phases[1:]])
    return dataclasses.replace(
        toy,
        name="radial",
        node_names=tuple(names),
        node_kv_base=np.full(count, 2.4),
        y_siemens=y,
        y_source_siemens=y_source,
        source_current_a=np.concatenate(
            [2400 * np.exp(-2j * np.pi * np.arange(3) / 3) / (0.01 + 0.1j), np.zeros(count - 3)]
        ),
        is_source_node=np.arange(count) < 3,
        terminals=_radial_terminals(toy.terminals, phases, first, rng),
        branches=Branches(
            name=tuple(f"line.{k}" for k in range(1, num_buses)),
            kind=("line",) * (num_buses - 1),
            bus_from=tuple(f"b{k}" for k in parent[1:]),
            bus_to=tuple(f"b{k}" for k in range(1, num_buses)),
            rating_a=np.full(num_buses - 1, 300.0),
            conductor_branch=branch,
            conductor_node=np.arange(conductors),
            current_siemens=sp.csr_matrix(current),
            series_siemens=sp.csr_matrix(series),
        ),
        frozen_current_a=np.zeros(count, dtype=complex),
        bus_names=(*(f"b{k}" for k in range(num_buses)), "floating"),
        bus_xy=np.full((num_buses + 1, 2), np.nan),
    )


def _radial_terminals(toy: Terminals, phases, first, rng) -> Terminals:
    rows = [(first[-1], first[-1] + 1, 4.16)]
    for k, own in enumerate(phases):
        if k > 2 and rng.random() < 0.5:
            if len(own) == 3 and rng.random() < 0.5:
                a = first[k] + rng.permutation(3)[:2]
                rows.append((a[0], a[1], 4.16))
            else:
                rows.append((first[k] + rng.integers(len(own)), GROUND, 2.4))
    count = len(rows)
    node_from, node_to, kv = map(np.array, zip(*rows, strict=True))
    fields = {}  # what is not of interest is the toy's, repeated
    for name in Terminals.__dataclass_fields__:
        value = getattr(toy, name)
        at = np.zeros(count, dtype=int)
        fields[name] = tuple(value[k] for k in at) if isinstance(value, tuple) else value[at]
    models = (LoadModel.CONSTANT_POWER, LoadModel.CONSTANT_IMPEDANCE, LoadModel.CONSTANT_CURRENT)
    power = 1500.0 / count
    fields |= {
        "name": tuple(f"load{k}" for k in range(count)),
        "load": tuple(f"load{k}" for k in range(count)),
        "node_from": node_from,
        "node_to": node_to,
        "kv_rated": kv,
        "is_delta": node_to != GROUND,
        "model": rng.choice(np.array(models), count),
        "p_kw": power * rng.uniform(0.5, 1.5, count),
        "q_kvar": 0.4 * power * rng.uniform(0.5, 1.5, count),
    }
    return Terminals(**fields)


@pytest.fixture(scope="module")
def pairs(ieee123, build_toy):
    """The same feeders, dense and sparse."""
    feeders = {
        "ieee123": ieee123,
        "toy": build_toy(),
        "radial 30": make_radial(build_toy, 30, seed=1),
        "radial 300": make_radial(build_toy, 300, seed=2),
        "synthetic": synthetic(250, seed=1),
    }
    return {
        name: [Network.from_feeder(feeder, devices=True, method=m) for m in ("dense", "sparse")]
        for name, feeder in feeders.items()
    }


def largest(values):
    return float(values.detach().abs().max())


def score(flow):
    """A weighted sum over everything that has a gradient."""
    generator = torch.Generator().manual_seed(5)
    total = torch.zeros((), dtype=torch.float64)
    for name in ("v_magnitude_pu", "v_terminal_magnitude_pu", "branch_loading", "unbalance_pct"):
        value = getattr(flow, name)
        weight = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        total = total + (weight * value).sum() / value[..., 0].numel()
    total = total + 0.01 * flow.port_current_a.abs().mean(-1).sum()
    return total + 0.01 * (flow.losses_kw + flow.source_kw + flow.source_kvar).sum()


@pytest.mark.parametrize("name", ["ieee123", "toy", "radial 30", "radial 300", "synthetic"])
@pytest.mark.parametrize("scale", [1.0, 0.1, 3.0, -2.0])
def test_dense_and_sparse_agree(pairs, draw, name, scale):
    """Ordinary, light, heavy and reverse: both sides of the thresholds."""
    dense, sparse = pairs[name]
    assert (dense.method, sparse.method) == ("dense", "sparse")
    p, q = draw(dense, 3, scale=scale)
    flows, grads = [], []
    for network in (dense, sparse):
        mine = p.clone().requires_grad_(), q.clone().requires_grad_()
        flow = solve_power_flow(network, *mine, tolerance_pu=1e-12)
        flows.append(flow)
        grads.append(torch.autograd.grad(score(flow), mine))
    assert flows[0].converged.all()
    assert flows[1].converged.all()
    assert (flows[0].iterations - flows[1].iterations).abs().max() <= 1
    for attribute, limit in PROPERTIES.items():
        found, expected = (getattr(flow, attribute) for flow in reversed(flows))
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert largest(found - expected) < limit, attribute
    for found, expected in zip(grads[1], grads[0], strict=True):
        assert largest(found - expected) < 1e-7


def test_terminals_reach_the_laws_that_they_should(pairs, draw):
    """The cases above lie below, within and above the range."""
    _, sparse = pairs["radial 300"]
    ranges = []
    for scale in (3.0, 1.0, -2.0):
        p, q = draw(sparse, 1, scale=scale)
        ranges.append(solve_power_flow(sparse, p, q).v_terminal_magnitude_pu)
    assert float(ranges[0].min()) < 0.95
    assert bool(((ranges[1] > 0.95) & (ranges[1] < 1.05)).any())
    assert float(ranges[2].max()) > 1.05


@pytest.mark.parametrize("name", ["toy", "radial 30"])
def test_gradient_is_that_of_finite_differences(pairs, draw, name):
    _, sparse = pairs[name]
    p, q = draw(sparse, 2)

    def outcome(p, q):
        flow = solve_power_flow(sparse, p, q, tolerance_pu=1e-13)
        return flow.v_magnitude_pu, flow.branch_loading, flow.losses_kw, flow.source_kvar

    inputs = (p.requires_grad_(), q.requires_grad_())
    # Steps of 1 W: errors of 1e-13 p.u. over them are far below the limit.
    assert torch.autograd.gradcheck(outcome, inputs, eps=1e-2, atol=1e-7, rtol=1e-4)


def test_batch_is_the_loop(pairs, draw):
    """Past the size of a chunk, and one that is no multiple of it."""
    _, sparse = pairs["radial 300"]
    p, q = draw(sparse, 37)
    p.requires_grad_()
    flow = solve_power_flow(sparse, p, q, tolerance_pu=1e-12)
    (grad,) = torch.autograd.grad(score(flow), p)
    for k in (0, 15, 16, 36):
        alone = solve_power_flow(sparse, p[k], q[k], tolerance_pu=1e-12)
        assert largest(alone.v_pu - flow.v_pu[k]) < 1e-11
        assert largest(alone.branch_loading - flow.branch_loading[k]) < 1e-9
    assert grad.isfinite().all()
    order = torch.arange(36, -1, -1)
    turned = solve_power_flow(sparse, p[order], q[order], tolerance_pu=1e-12)
    assert largest(turned.v_pu[order] - flow.v_pu) < 1e-11


def test_gradient_never_changes_a_value(pairs, draw):
    _, sparse = pairs["radial 30"]
    p, q = draw(sparse, 5)
    plain = solve_power_flow(sparse, p, q)
    taped = solve_power_flow(sparse, p.requires_grad_(), q)
    for name in PROPERTIES:
        assert torch.equal(getattr(taped, name), getattr(plain, name)), name


def test_failed_scenario_is_flagged_and_harms_no_other(pairs, draw):
    _, sparse = pairs["radial 300"]
    p, q = draw(sparse, 4)
    expected = solve_power_flow(sparse, p, q)
    p[1, 3], p[2, 5] = float("nan"), 1e7
    p.requires_grad_()
    flow = solve_power_flow(sparse, p, q)
    assert flow.converged.tolist() == [True, False, False, True]
    for name in PROPERTIES:
        assert getattr(flow, name)[1:3].isnan().all(), name
        assert getattr(flow, name)[[0, 3]].isfinite().all(), name
    assert largest((flow.v_pu - expected.v_pu)[[0, 3]]) < 1e-8
    total = torch.where(flow.converged[:, None], flow.v_magnitude_pu, 0.0).square().sum()
    (grad,) = torch.autograd.grad(total + flow.losses_kw.sum(), p)
    assert grad.isfinite().all()
    assert (grad[[1, 2]] == 0).all()
    assert (grad[[0, 3]] != 0).any()


def test_warm_start_agrees(pairs, draw):
    _, sparse = pairs["radial 300"]
    p, q = draw(sparse, 3)
    first = solve_power_flow(sparse, p, q)
    warm = solve_power_flow(sparse, p + 0.01, q, guess=first)
    cold = solve_power_flow(sparse, p + 0.01, q)
    assert (warm.iterations < cold.iterations).all()
    assert largest(warm.v_pu - cold.v_pu) < 2e-8


@pytest.mark.parametrize("name", ["ieee123", "radial 300"])
def test_single_precision(pairs, draw, name):
    """The loop rounds, the elimination does not."""
    dense, sparse = pairs[name]
    single = sparse.to(dtype=torch.complex64)
    p, q = draw(dense, 5)
    exact = solve_power_flow(dense, p.requires_grad_(), q, tolerance_pu=1e-12)
    mine = p.detach().float().requires_grad_()
    flow = solve_power_flow(single, mine, q.float())
    assert flow.v_pu.dtype == torch.complex64
    assert flow.losses_kw.dtype == torch.float32
    assert largest(flow.v_pu - exact.v_pu) < 1e-6
    assert largest(flow.branch_current_a - exact.branch_current_a) < 1e-2
    assert largest(flow.losses_kw / exact.losses_kw - 1) < 1e-4
    (expected,) = torch.autograd.grad(score(exact), p)
    (found,) = torch.autograd.grad(score(flow), mine)
    assert found.dtype == torch.float32
    assert largest(found - expected) < 1e-4 * largest(expected)


def test_adjoint_that_does_not_converge_is_solved_directly(pairs, draw, monkeypatch):
    _, sparse = pairs["radial 30"]
    p, q = draw(sparse, 3, scale=2.0)
    grads = []
    for limit in (200, 3):
        monkeypatch.setattr(implicit, "_LIMIT", limit)
        mine = p.clone().requires_grad_()
        flow = solve_power_flow(sparse, mine, q, tolerance_pu=1e-12)
        grads.append(torch.autograd.grad(score(flow), mine)[0])
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-8, atol=1e-11)


def test_linear_model_is_the_dense_one(pairs, draw):
    dense, sparse = pairs["ieee123"]
    p, q = draw(dense)
    at = torch.tensor([100, 120, 180])
    models = [LinearPowerFlow.around(network, p, q, at) for network in (dense, sparse)]
    torch.testing.assert_close(models[1].voltage, models[0].voltage, rtol=0, atol=1e-9)
    flows = [solve_power_flow(network, p[None], q[None]) for network in (dense, sparse)]
    change = torch.full((1, 3), 2.0, dtype=torch.float64)
    moved = [
        model.move(flow, change, 0 * change) for model, flow in zip(models, flows, strict=True)
    ]
    assert largest(moved[1].v_pu - moved[0].v_pu) < 1e-8
    assert largest(moved[1].losses_kw - moved[0].losses_kw) < 1e-4


def test_method_is_chosen_by_ports(ieee123, monkeypatch):
    assert Network.from_feeder(ieee123).method == "dense"
    monkeypatch.setattr(assembly, "DENSE_PORTS", 94)
    assert Network.from_feeder(ieee123).method == "sparse"
    assert Network.from_feeder(ieee123, method="dense").method == "dense"
    with pytest.raises(GradmapError, match="found method 'fast', expected one of auto"):
        Network.from_feeder(ieee123, method="fast")


def test_what_needs_matrices_says_so(pairs):
    _, sparse = pairs["ieee123"]
    for name in ("dense", "node", "conductor"):
        with pytest.raises(GradmapError, match="method='dense'"):
            getattr(sparse, name)


def test_isolated_bus_is_refused(build_toy):
    feeder = make_radial(build_toy, 30, seed=1)
    y = feeder.y_siemens.tolil()
    y[20, :] = 0
    y[:, 20] = 0
    object.__setattr__(feeder, "y_siemens", sp.csc_matrix(y))
    with pytest.raises(GradmapError, match="radial has a singular admittance"):
        Network.from_feeder(feeder, method="sparse")


def test_memory_is_stated(pairs):
    dense, sparse = pairs["radial 300"]
    ports, terminals = sparse.num_padded_ports, sparse.num_terminals
    assert dense.bytes_per_scenario == 8 * (2 * terminals + 4 * ports)
    assert sparse.bytes_per_scenario == dense.bytes_per_scenario + 16 * sparse.num_nodes
    assert 0 < sparse.bytes_of_matrices < dense.bytes_of_matrices
    single = sparse.to(dtype=torch.complex64)
    assert single.bytes_per_scenario < sparse.bytes_per_scenario


def test_copies_give_the_same_numbers(pairs, draw):
    _, sparse = pairs["radial 30"]
    p, q = draw(sparse, 3)
    expected = solve_power_flow(sparse, p, q).v_pu
    for copy in (pickle.loads(pickle.dumps(sparse)), sparse.to(device="cpu")):
        assert torch.equal(solve_power_flow(copy, p, q).v_pu, expected)


def test_switches_and_floating_buses_become_differences(build_toy):
    feeder = make_radial(build_toy, 30, seed=1)
    bus = np.unique(np.array(feeder.node_bus), return_inverse=True)[1]
    basis, differences = difference_basis(feeder, bus)
    np.testing.assert_array_equal((basis @ differences).toarray(), np.eye(feeder.num_nodes))
    y = np.abs(feeder.y_siemens.toarray())
    np.fill_diagonal(y, 0.0)
    is_switched = (y > 0.9 * SWITCH_SIEMENS).any(1)
    is_switched[-3:] = True
    assert is_switched.sum() > 3
    assert (np.asarray(basis.sum(1)).ravel()[~is_switched] == 1).all()
    assert basis[-1].nnz == basis[-2].nnz == 2
    changed = np.abs((basis.T @ feeder.y_siemens @ basis).toarray())
    off = changed - np.diag(np.diag(changed))
    assert off.max() < 1e-3 * SWITCH_SIEMENS

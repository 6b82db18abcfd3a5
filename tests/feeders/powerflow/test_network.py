"""Networks: layout, dtypes, what is refused."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from gradmap.feeders.errors import GradmapError
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.pool import Pool
from gradmap.feeders.powerflow.slots import SlotPower, by_terminal
from gradmap.feeders.powerflow.solve import solve_power_flow


def test_sizes(network, ieee123):
    assert network.num_terminals == 2 * len(ieee123.terminals)
    assert network.num_load_terminals == 95
    assert network.num_nodes == 278
    assert network.num_ports == 95
    assert network.num_padded_ports == 96
    assert network.is_regular
    loads = Network.from_feeder(ieee123)
    assert loads.num_terminals == 95
    np.testing.assert_array_equal(loads.p_nominal_kw, ieee123.terminals.p_kw)
    assert (network.p_nominal_kw[95:] == 0).all()


def test_device_beside_a_load_is_a_load(ieee123, network, draw):
    """A device terminal at rest changes nothing, and constant power adds up."""
    loads = Network.from_feeder(ieee123)
    p, q = draw(loads, 3)
    idle = torch.cat([p, torch.zeros_like(p)], -1), torch.cat([q, torch.zeros_like(q)], -1)
    expected = solve_power_flow(loads, p, q, tolerance_pu=1e-12)
    found = solve_power_flow(network, *idle, tolerance_pu=1e-12)
    torch.testing.assert_close(found.v_pu, expected.v_pu, rtol=0, atol=1e-10)


def test_terminals_that_share_ports_in_any_order(toy):
    assert not toy.is_regular
    assert toy.num_terminals == 14
    assert toy.num_ports == 5
    assert toy.slot_terminal.shape[0] == 4
    slots = SlotPower(toy, batch=3)
    p = torch.arange(42, dtype=torch.float64).reshape(3, 14)
    slots.load(p, 2 * p)
    torch.testing.assert_close(by_terminal(toy, slots.power[:, :, 0]), p)
    torch.testing.assert_close(by_terminal(toy, slots.power[:, :, 1]), -2 * p)
    assert float(slots.power[:, :, 0].sum()) == float(p.sum())


def test_regular_layout_is_the_general_one(network, draw):
    p, q = draw(network, 3)
    general = dataclasses.replace(network, is_regular=False)
    expected = solve_power_flow(network, p.requires_grad_(), q)
    found = solve_power_flow(general, p, q)
    assert torch.equal(found.v_pu, expected.v_pu)
    grads = [torch.autograd.grad(flow.losses_kw.sum(), p)[0] for flow in (expected, found)]
    assert torch.equal(*grads)


def test_dtype_and_device_move_together(network):
    moved = network.to(dtype=torch.complex64, device="cpu")
    assert moved.dtype == torch.complex64
    assert moved.real_dtype == torch.float32
    assert moved.law.c0.dtype == torch.float32
    assert moved.slot_terminal.dtype == torch.int64
    assert moved.pool is not network.pool
    direct = Network.from_feeder(network.feeder, devices=True, dtype=torch.complex64)
    assert torch.equal(direct.dense.step, moved.dense.step)
    with pytest.raises(GradmapError, match=r"found dtype torch\.float64"):
        network.to(dtype=torch.float64)
    with pytest.raises(GradmapError, match="build it again"):
        moved.to(dtype=torch.complex128)


def test_cvr_moves_with_the_network(toy):
    moved = toy.to(dtype=torch.complex64)
    assert moved.law.cvr is not None
    assert moved.law.cvr.power_p.dtype == torch.float32
    flow = solve_power_flow(moved, moved.p_nominal_kw, moved.q_nominal_kvar)
    exact = solve_power_flow(toy, toy.p_nominal_kw, toy.q_nominal_kvar)
    torch.testing.assert_close(flow.v_pu.to(torch.complex128), exact.v_pu, rtol=0, atol=1e-6)


def test_isolated_bus_is_refused(toy_feeder):
    y = toy_feeder.y_siemens.tolil()
    y[5, :] = 0
    y[:, 5] = 0
    broken = dataclasses.replace(toy_feeder, y_siemens=sp.csc_matrix(y))
    with pytest.raises(GradmapError, match="toy has a singular admittance"):
        Network.from_feeder(broken)


def test_feeder_that_fails_at_nominal_load_still_builds(build_toy):
    """The start is then the open feeder."""
    feeder = build_toy(p_kw=np.full(7, 1e9))
    network = Network.from_feeder(feeder)
    light = torch.full((7,), 10.0, dtype=torch.float64)
    assert network.start.isfinite().all()
    assert not bool(solve_power_flow(network, network.p_nominal_kw, light).v_pu.isinf().any())


def test_pool_lends_each_workspace_once():
    pool = Pool()
    with pool.borrow("a", list) as first, pool.borrow("a", list) as second:
        assert first is not second
    with pool.borrow("a", list) as third:
        assert third is first or third is second


def test_threads_may_share_a_network(network, draw):
    p, q = draw(network, 8)
    expected = solve_power_flow(network, p, q).v_pu
    results = []

    def work():
        for _ in range(10):
            results.append(torch.equal(solve_power_flow(network, p, q).v_pu, expected))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 30

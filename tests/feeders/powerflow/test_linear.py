"""The linear power flow: exact where it is taken, second order away from it."""

from __future__ import annotations

import pytest
import torch

from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.powerflow.linear import LinearPowerFlow
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import solve_power_flow


@pytest.fixture(scope="module")
def network():
    return Network.from_feeder(load_feeder("ieee123"), devices=True)


def rated(network):
    """Half the rated load, and no device."""
    terminals = network.feeder.terminals
    idle = torch.zeros(network.num_load_terminals, dtype=torch.float64)
    return tuple(
        torch.cat((0.5 * torch.tensor(power), idle)) for power in (terminals.p_kw, terminals.q_kvar)
    )


def devices(network):
    return torch.arange(network.num_load_terminals, network.num_terminals)


def moved(network, size):
    """Voltages after a random change of the devices' powers: to first order and solved."""
    p_kw, q_kvar = rated(network)
    linear = LinearPowerFlow.around(network, p_kw, q_kvar, devices(network))
    start = solve_power_flow(network, p_kw[None], q_kvar[None])
    generator = torch.Generator().manual_seed(0)
    change = size * torch.randn(2, 1, network.num_load_terminals, generator=generator).double()
    after = linear.move(start, *change)
    zeros = torch.zeros(2, 1, network.num_load_terminals, dtype=torch.float64)
    shift = torch.cat((zeros, change), dim=-1)
    return start, after, solve_power_flow(network, p_kw + shift[0], q_kvar + shift[1])


def test_no_change_is_the_solution_itself(network):
    start, after, _ = moved(network, 0.0)
    assert torch.equal(after.v_magnitude_pu, start.v_magnitude_pu)
    assert torch.equal(after.branch_loading, start.branch_loading)


def test_the_error_is_of_second_order(network):
    """A tenth of the change leaves a hundredth of the error."""

    def error(size):
        start, after, solved = moved(network, size)
        change = (solved.v_magnitude_pu - start.v_magnitude_pu).abs().max()
        wrong = (after.v_magnitude_pu - solved.v_magnitude_pu).abs().max()
        assert (after.v_terminal_magnitude_pu - solved.v_terminal_magnitude_pu).abs().max() < (
            2.0 * wrong + 1e-9
        )
        return wrong.item(), change.item()

    (large, change), (small, _) = error(5.0), error(0.5)
    assert large < 0.03 * change
    assert small == pytest.approx(large / 100.0, rel=0.3)


def test_gradients_are_those_of_the_solution(network):
    """At the operating point, of voltages and of branch loading."""
    p_kw, q_kvar = rated(network)
    linear = LinearPowerFlow.around(network, p_kw, q_kvar, devices(network))
    change = torch.zeros(2, 1, network.num_load_terminals, dtype=torch.float64)
    change.requires_grad_(True)
    zeros = torch.zeros_like(change)
    shift = torch.cat((zeros, change), dim=-1)
    solved = solve_power_flow(network, p_kw + shift[0], q_kvar + shift[1])
    model = linear.move(solved, *change)
    weight = torch.linspace(-1.0, 1.0, network.num_nodes, dtype=torch.float64)

    def slope(flow):
        value = (flow.v_magnitude_pu * weight).sum() + flow.branch_loading.square().sum()
        return torch.autograd.grad(value, change, retain_graph=True)[0]

    expected = slope(solved)
    torch.testing.assert_close(slope(model), expected, rtol=1e-5, atol=1e-8)


def test_single_precision_takes_its_slopes_in_double(network):
    p_kw, q_kvar = rated(network)
    single = network.to(dtype=torch.complex64)
    coarse = LinearPowerFlow.around(single, p_kw, q_kvar, devices(network))
    fine = LinearPowerFlow.around(network, p_kw, q_kvar, devices(network))
    assert coarse.current.dtype == torch.float32
    torch.testing.assert_close(coarse.current.double(), fine.current, rtol=1e-4, atol=1e-9)


def test_a_failed_flow_gives_no_gradient_that_is_not_a_number(network):
    p_kw, q_kvar = rated(network)
    linear = LinearPowerFlow.around(network, p_kw, q_kvar, devices(network))
    failed = solve_power_flow(network, 1e4 * p_kw[None], 1e4 * q_kvar[None])
    assert not failed.converged.any()
    change = torch.zeros(2, 1, network.num_load_terminals, dtype=torch.float64, requires_grad=True)
    linear.move(failed, *change).v_magnitude_pu.sum().backward()
    assert change.grad.isfinite().all()


def test_an_operating_point_without_a_solution_is_refused(network):
    p_kw, q_kvar = rated(network)
    with pytest.raises(GradmapError, match="no solution"):
        LinearPowerFlow.around(network, 1e4 * p_kw, 1e4 * q_kvar, devices(network))

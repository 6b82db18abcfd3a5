"""The derivative of all port currents against differences of the power flow."""

from __future__ import annotations

import pytest
import torch

from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.response import current_response
from gradmap.feeders.powerflow.solve import solve_power_flow

TIGHT = 1e-12


@pytest.fixture(scope="module")
def network(task_feeder):
    return Network.from_feeder(task_feeder, devices=True)


def powers(network, scale):
    generator = torch.Generator().manual_seed(1)
    shape = (2, 3, network.num_terminals)
    p = network.p_nominal_kw + scale * torch.randn(shape, generator=generator).double()
    q = network.q_nominal_kvar + 0.3 * scale * torch.randn(shape, generator=generator).double()
    return p, q


@pytest.mark.parametrize("column", [0, 40, 94])
def test_it_is_what_a_nudge_does(network, column):
    p, q = powers(network, 5.0)
    terminal = network.num_load_terminals + torch.arange(network.num_load_terminals)
    ratio = torch.linspace(0.0, 0.6, len(terminal)).double()
    flow = solve_power_flow(network, p, q, tolerance_pu=TIGHT)
    found = current_response(flow, p, q, terminal, ratio)
    assert found.shape == (2, 3, len(terminal), 2 * network.num_padded_ports)
    nudge = torch.zeros_like(p)
    nudge[..., terminal[column]] = 1e-2
    ends = [
        solve_power_flow(
            network, p + k * nudge, q + k * nudge * ratio[column], tolerance_pu=TIGHT
        ).j
        for k in (1, -1)
    ]
    expected = ((ends[0] - ends[1]) / 2e-2).reshape(2, 3, -1)
    torch.testing.assert_close(found[:, :, column], expected, rtol=1e-5, atol=1e-6)


def test_a_scenario_without_a_solution_has_none(network):
    p, q = powers(network, 5.0)
    p[1, 2] *= 1e3
    flow = solve_power_flow(network, p, q)
    assert not flow.converged[1, 2]
    found = current_response(flow, p, q, torch.tensor([100]), torch.zeros(1))
    assert found[1, 2].isnan().all()
    assert found[0].isfinite().all()

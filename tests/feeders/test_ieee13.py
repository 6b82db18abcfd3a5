"""IEEE 13 against the voltages that IEEE publishes, which know nothing of OpenDSS."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import solve_power_flow


@pytest.fixture(scope="module")
def published(read_voltages, golden_folder):
    return read_voltages(golden_folder / "ieee13" / "published.csv")


@pytest.fixture(scope="module")
def v_pu():
    feeder = load_feeder("ieee13", taps={"reg1": 10, "reg2": 8, "reg3": 11})
    t = feeder.terminals
    flow = solve_power_flow(
        Network.from_feeder(feeder, devices=False),
        torch.tensor(t.p_kw)[None],
        torch.tensor(t.q_kvar)[None],
        tolerance_pu=1e-10,
    )
    assert bool(flow.converged.all())
    return dict(zip(feeder.node_names, flow.v_pu[0].numpy(), strict=True))


def test_magnitudes_are_the_published_ones(published, v_pu):
    # 0.0013 of it are cable 606, whose impedances OpenDSS has corrected.
    assert len(published) == 35
    for node, v in published.items():
        assert abs(v_pu[node]) == pytest.approx(abs(v), abs=0.0015), node


def test_angles_are_the_published_ones(published, v_pu):
    for node, v in published.items():
        turned = np.rad2deg(np.angle(v_pu[node] / v))
        assert abs(turned) < 0.1, (node, turned)


def test_nodes_that_are_not_published(published, v_pu):
    # The source, and the bus that stands for the load spread over line 632-671.
    assert {node.partition(".")[0] for node in v_pu.keys() - published.keys()} == {
        *("sourcebus", "670"),
    }


def test_ratings():
    branches = load_feeder("ieee13").branches
    rating = dict(zip(branches.name, branches.rating_a, strict=True))
    assert rating["line.650632"] == 730.0  # 556,500 26/7 ACSR
    assert rating["line.632633"] == 340.0  # 4/0 ACSR
    assert rating["line.692675"] == 260.0  # 250,000 AA cable
    assert rating["line.684652"] == 165.0  # 1/0 AA cable
    assert rating["line.671692"] == 600.0
    assert rating["transformer.reg1"] == pytest.approx(1666 / 2.4)
    assert rating["transformer.xfm1"] == pytest.approx(500 / (3**0.5 * 4.16))

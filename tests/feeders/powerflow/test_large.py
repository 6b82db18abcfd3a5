"""A feeder of 10,000 buses: loads in a minute, solves, and is OpenDSS's."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import solve_power_flow
from gradmap.feeders.synthetic_feeder import synthetic

pytestmark = pytest.mark.slow


def test_ten_thousand_buses(draw):
    begin = time.perf_counter()
    feeder = synthetic(10_000, seed=0)
    assert time.perf_counter() - begin < 60.0
    network = Network.from_feeder(feeder)
    assert network.method == "sparse"
    p, q = draw(network, 64)
    flow = solve_power_flow(network, p.requires_grad_(), q)
    assert flow.converged.all()
    (grad,) = torch.autograd.grad(flow.v_magnitude_pu.sum() + flow.losses_kw.sum(), p)
    assert grad.isfinite().all()
    with OpenDSSReplay(feeder, devices=False, tolerance_pu=1e-10) as replay:
        expected = replay.solve(p[0].detach().numpy(), q[0].numpy()).v_pu
    assert np.abs(flow.v_pu[0].detach().numpy() - expected).max() < 1e-6
    # The same change of powers, forward and back.
    direction = torch.randn(p.shape[1], generator=torch.Generator().manual_seed(1)).double()
    ends = []
    for h in (1e-2, -1e-2):
        near = solve_power_flow(network, p[0].detach() + h * direction, q[0], tolerance_pu=1e-12)
        ends.append(float(near.v_magnitude_pu.sum() + near.losses_kw))
    assert float(grad[0] @ direction) == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=1e-5)

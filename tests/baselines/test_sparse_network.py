"""Learning and dispatch on a sparse network: what they do on the same feeder's dense one."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from gradmap.algorithms.config import LearnerConfig
from gradmap.algorithms.gradmap import GradMAP
from gradmap.algorithms.rollout import rollout
from gradmap.baselines.foresight import PerfectForesight
from gradmap.baselines.foresight_config import ForesightConfig
from gradmap.baselines.receding import RecedingHorizon
from gradmap.baselines.receding_config import RecedingConfig
from gradmap.feeders.powerflow import assembly


@pytest.fixture(scope="module")
def cores(make_core):
    """Fifty agents on days of six steps, dense and sparse."""
    found = [make_core(50, steps=6)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "DENSE_PORTS", 0)
        found.append(make_core(50, steps=6))
    assert [core.network.method for core in found] == ["dense", "sparse"]
    return found


@pytest.mark.parametrize("surrogate", ["model", "gradient"])
def test_gradmap_learns_the_same(cores, surrogate):
    config = dataclasses.replace(LearnerConfig(), hidden=(8,), days_per_batch=2)
    config = dataclasses.replace(config, surrogate=surrogate, reuse_passes=2, minibatches=1)
    moved = []
    for core in cores:
        learner = GradMAP(core, config, 0)
        start = parameters_to_vector(learner.actors.parameters()).detach()
        # Plain descent: Adam divides rounding up to size.
        learner.optimiser = torch.optim.SGD(learner.actors.parameters(), lr=1e-4)
        learner.iterate(0.0)
        moved.append(parameters_to_vector(learner.actors.parameters()).detach() - start)
    # Of two power flows to 1e-8 p.u. and gradients in single precision.
    assert float((moved[1] - moved[0]).norm()) < 1e-3 * float(moved[0].norm())


def test_the_receding_horizon_plans_the_same(cores):
    costs = []
    for core in cores:
        with torch.no_grad():
            policy = RecedingHorizon(core, RecedingConfig())
            costs.append(rollout(core, policy, core.days("test")[:1]).outcome.cost_usd.sum())
    # Plans are solved to a tolerance of their own.
    torch.testing.assert_close(costs[1], costs[0], rtol=1e-3, atol=1e-2)


def test_perfect_foresight_reaches_the_same(cores):
    costs, bounds = [], []
    for core in cores:
        trainer = PerfectForesight(core, ForesightConfig(), days=core.days("test")[:1])
        for _ in range(4):
            metrics = trainer.iterate(0.0)
        assert metrics["infeasible_days"] == 0
        costs.append(metrics["cost_usd_per_day"])
        bounds.append(metrics["lower_bound_usd_per_day"])
    assert costs[1] == pytest.approx(costs[0], rel=1e-3)
    assert bounds[1] == pytest.approx(bounds[0], rel=1e-3)
    assert bounds[1] <= costs[1] + 1e-3

"""No control: nothing is drawn, nothing is fed in."""

from __future__ import annotations

import torch

from gradmap.algorithms.rollout import rollout
from gradmap.baselines.idle import IdlePolicy


def test_idle_devices_draw_and_feed_nothing(core):
    days = core.days("test")
    done = rollout(core, IdlePolicy(core), days)
    kinds = core.agent_kinds
    is_generator = torch.tensor([kind == "generator" for kind in kinds])
    power = done.outcome.p_kw
    assert (power[..., ~is_generator] == 0.0).all()
    assert (done.outcome.q_kvar == 0.0).all()
    # Generators run down from where midnight found them: half of rated power at
    # the most, two steps of the slowest ramp.
    assert (power[:, 2:, is_generator] == 0.0).all()
    assert (done.outcome.cost_usd[:, 2:, :, 1:3] == 0.0).all()


def test_the_action_is_that_of_every_batch(core):
    policy = IdlePolicy(core)
    policy.reset(core.days("test"))
    action = policy.act(torch.randn(7, core.num_agents, core.num_features))
    assert action.shape == (7, core.num_agents)
    assert action.dtype == torch.float32
    assert torch.equal(action, action[:1].expand(7, -1))


def test_idle_houses_get_cold(core):
    """The point of a reference: comfort is what doing nothing costs."""
    days = core.days("test")
    outcome = rollout(core, IdlePolicy(core), days).outcome
    assert outcome.discomfort_kh.sum() > 10.0

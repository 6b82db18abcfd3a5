"""Rewards for learning: costs, the network's price divided, and shaping."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("ray")

from gradmap.algorithms.config import PriceConfig
from gradmap.algorithms.rollout import rollout
from gradmap.baselines.price_shares import local_shares
from gradmap.baselines.rllib.config import Split
from gradmap.baselines.rllib.env import PricedJointEnv
from gradmap.envs.constraints import violations
from gradmap.envs.core import Core

PRICE = PriceConfig(margin_pu=0.03)
"""A band so narrow that there are violations to price."""


class Wave:
    """Actions that differ by agent and step, the same in every episode."""

    def __init__(self, core: Core) -> None:
        self._agents = torch.arange(core.num_agents)
        self._step = 0

    def reset(self, days: torch.Tensor) -> None:
        self._step = 0

    def act(self, observation: torch.Tensor) -> torch.Tensor:
        self._step += 1
        return torch.sin(self._agents + 0.7 * self._step).expand(observation.shape[:2])


def play(env: PricedJointEnv, policy: Wave) -> torch.Tensor:
    """Plays a batch of days; returns rewards. `[batch, time, agent]`"""
    env.reset(seed=0)
    policy.reset(torch.empty(0))
    rewards = []
    for _ in range(env.core.num_steps):
        action = policy.act(torch.empty(env.num_envs, env.core.num_agents))
        _, reward, _, _, _ = env.step(action.unsqueeze(-1).numpy())
        rewards.append(torch.as_tensor(reward))
    return torch.stack(rewards, dim=1)


@pytest.mark.parametrize("split", ["even", "local"])
def test_rewards_sum_to_cost_and_price(split: Split, short_core: Core) -> None:
    env = PricedJointEnv(short_core, 2, PRICE, split, weight=2.0)
    env.prices.over += 40.0
    env.prices.overload += 3.0
    policy = Wave(short_core)
    rewards = play(env, policy)
    assert env.state is not None
    done = rollout(short_core, policy, env.state.days)
    found = violations(done.outcome.flow, short_core.limits.tightened(PRICE.margin_pu))
    charged = env.prices.charge(found)
    assert float(charged.sum()) > 0.0
    expected = -done.outcome.cost_usd.sum((-2, -1)) - 2.0 * charged
    # float32 sums over the agents of numbers of either sign.
    torch.testing.assert_close(rewards.sum(-1).double(), expected.double(), rtol=1e-5, atol=1e-3)
    # One product for a step, one for all steps: the last digits may differ.
    torch.testing.assert_close(env.record().found.over_pu, found.over_pu, rtol=0, atol=1e-9)


def test_a_voltage_is_paid_for_at_its_bus(short_core: Core) -> None:
    shares = local_shares(short_core)
    feeder = short_core.feeder
    terminal = short_core.agent_terminal
    own = [feeder.node_bus[feeder.terminals.node_from[t]] for t in terminal.tolist()]
    for row, node in enumerate(short_core.limits.monitored.tolist()):
        there = (
            [bus == feeder.node_bus[node] for bus in own]
            if feeder.node_bus[node] in own
            else [True] * len(own)
        )
        expected = torch.tensor(there, dtype=shares.dtype) / sum(there)
        assert torch.equal(shares[row], expected)


def test_shaping_gives_back_what_it_pays(short_core: Core) -> None:
    """A day's rewards differ by what was stored at its start, whatever was done."""
    policy = Wave(short_core)
    plain = PricedJointEnv(short_core, 2, PRICE)
    shaped = PricedJointEnv(short_core, 2, PRICE, stored_usd_per_kwh=0.2)
    change = play(shaped, policy).sum(1) - play(plain, policy).sum(1)
    assert shaped.state is not None
    stored = short_core.stored_kwh(short_core.reset(shaped.state.days))
    assert float(stored.max()) > 0.0
    torch.testing.assert_close(change, -0.2 * stored, rtol=0, atol=1e-4)

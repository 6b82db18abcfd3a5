"""The stacked layout is IPPO: weight for weight what RLlib's own learner makes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytest.importorskip("ray")

import numpy as np
from gymnasium.spaces import Box
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from gradmap.baselines.rllib.agent_module import AgentPPOModule
from tests.baselines.rllib.learning import (
    NUM_FEATURES,
    columns,
    module_of,
    stacked_learner,
    update_stacked,
)

NUM_AGENTS, NUM_SAMPLES, NUM_UPDATES = 4, 64, 30
SETTINGS = {"kl_stop": None, "entropy_bonus": 0.01, "learning_rate": 3e-3, "grad_clip": 0.5}


def stock_learner(num_actions: int) -> Any:
    """RLlib's own learner, untouched, with a module for each agent."""
    model = {"hidden": [8, 8], "critic_hidden": [8, 8], "log_std_initial": -1.0}
    own = (
        Box(-np.inf, np.inf, (NUM_FEATURES,), np.float32),
        (Box(-1.0, 1.0, (num_actions,), np.float32)),
    )
    names = [f"agent_{i}" for i in range(NUM_AGENTS)]
    spec = MultiRLModuleSpec(
        rl_module_specs={
            name: RLModuleSpec(AgentPPOModule, own[0], own[1], model_config=dict(model))
            for name in names
        }
    )
    config = PPOConfig()
    config.training(
        lr=SETTINGS["learning_rate"],
        clip_param=0.2,
        vf_clip_param=float("inf"),
        vf_loss_coeff=0.5,
        entropy_coeff=SETTINGS["entropy_bonus"],
        use_kl_loss=False,
        grad_clip=SETTINGS["grad_clip"],
        grad_clip_by="global_norm",
    )
    config.multi_agent(policies=set(names), policy_mapping_fn=lambda agent, episode: agent)
    config.rl_module(rl_module_spec=spec)
    learner = config.build_learner(spaces=dict.fromkeys(names, own))
    learner.build()
    return learner


def one_of(stacked: dict[str, torch.Tensor], agent: int) -> dict[str, torch.Tensor]:
    """An agent's rows of the stacked weights, under the names of its own module."""
    rows = {k: v[agent : agent + 1] for k, v in stacked.items() if not k.startswith("value_scale")}
    renamed = {
        k.replace("actors.", "actor.").replace("critic.net.", "critic."): v for k, v in rows.items()
    }
    renamed["log_std"] = renamed["log_std"][0]
    return renamed


def stock_batch(batch: dict[str, Any]) -> MultiAgentBatch:
    """The same samples, split by agent."""
    own = {}
    for agent in range(NUM_AGENTS):
        rows = {k: v[:, agent] for k, v in batch.items() if k != Columns.OBS}
        rows[Columns.OBS] = batch[Columns.OBS]["agents"][:, agent]
        own[f"agent_{agent}"] = SampleBatch(rows)
    return MultiAgentBatch(own, NUM_SAMPLES)


@pytest.mark.parametrize("num_actions", [1, 2])
def test_thirty_updates_give_the_same_weights(num_actions: int) -> None:
    stacked = stacked_learner(NUM_AGENTS, num_actions, **SETTINGS)
    stock = stock_learner(num_actions)
    for agent in range(NUM_AGENTS):
        start = one_of(module_of(stacked).state_dict(), agent)
        stock.module[f"agent_{agent}"].unwrapped().load_state_dict(start)
    begin = {k: v.clone() for k, v in module_of(stacked).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    for _ in range(NUM_UPDATES):
        batch = columns(NUM_AGENTS, NUM_SAMPLES, generator, num_actions)
        update_stacked(stacked, batch)
        stock.update(batch=stock_batch(batch))
    after = module_of(stacked).state_dict()
    moved = max(float((after[k] - begin[k]).abs().max()) for k in after)
    assert moved > 0.05
    for agent in range(NUM_AGENTS):
        ours = one_of(after, agent)
        theirs = stock.module[f"agent_{agent}"].unwrapped().state_dict()
        assert ours.keys() == theirs.keys()
        for name, weight in theirs.items():
            # Sums of float32 in another order, through thirty steps of Adam.
            torch.testing.assert_close(ours[name], weight, rtol=0, atol=1e-6)

"""Learners outside an algorithm, and batches for them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Dict
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from gradmap.baselines.rllib.config import PPOSettings
from gradmap.baselines.rllib.ippo import stacked_config

NUM_FEATURES, NUM_STATE = 5, 7


def spaces(num_agents: int, num_actions: int = 1) -> tuple[Dict, Box]:
    agents = Box(-np.inf, np.inf, (num_agents, NUM_FEATURES), np.float32)
    state = Box(-np.inf, np.inf, (NUM_STATE,), np.float32)
    return Dict(agents=agents, state=state), Box(-1.0, 1.0, (num_agents, num_actions), np.float32)


def stacked_learner(num_agents: int, num_actions: int = 1, **settings: Any) -> Any:
    """A learner of all agents, built; one step of Adam for each call of `update`."""
    chosen = dataclasses.replace(PPOSettings(hidden=(8, 8), critic_hidden=(8, 8)), **settings)
    config = stacked_config(chosen, seed=3)
    learner = config.build_learner(spaces={DEFAULT_MODULE_ID: spaces(num_agents, num_actions)})
    learner.build()
    return learner


def module_of(learner: Any) -> Any:
    return learner.module[DEFAULT_MODULE_ID].unwrapped()


def columns(
    num_agents: int, num_samples: int, generator: torch.Generator, num_actions: int = 1
) -> dict[str, Any]:
    """A batch from a policy that is near the first one; rewards are anybody's guess."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    mean, log_std = 0.1 * normal(num_samples, num_agents, num_actions), torch.tensor([-0.7])
    action = mean + torch.exp(log_std) * normal(*mean.shape)
    inputs = torch.cat((mean, log_std.expand_as(mean)), dim=-1)
    log_p = torch.distributions.Normal(mean, log_std.exp()).log_prob(action).sum(-1)
    return {
        Columns.OBS: {
            "agents": normal(num_samples, num_agents, NUM_FEATURES),
            "state": normal(num_samples, NUM_STATE),
        },
        Columns.ACTIONS: action,
        Columns.ACTION_LOGP: log_p,
        Columns.ACTION_DIST_INPUTS: inputs,
        Postprocessing.ADVANTAGES: normal(num_samples, num_agents),
        Postprocessing.VALUE_TARGETS: 3.0 * normal(num_samples, num_agents),
    }


def update_stacked(learner: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """One step of Adam on a batch; returns RLlib's metrics of the module."""
    rows = len(batch[Columns.ACTIONS])
    found = learner.update(batch=MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(batch)}, rows))
    metrics: dict[str, Any] = found[DEFAULT_MODULE_ID]
    return metrics


def weights(learner: Any) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in module_of(learner).state_dict().items()}

"""Advantages of actions, from rewards and values."""

from __future__ import annotations

import torch
from torch import Tensor


def generalised_advantages(
    rewards: Tensor, values: Tensor, discount: float, gae_lambda: float
) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016), along the first axis.

    Args:
        rewards: Rewards of an episode's steps. `[time, ...]`
        values: Values before each step and after the last, where it is 0 if
            the episode has ended. `[time + 1, ...]`
        discount: Discount of a step.
        gae_lambda: Decay of the estimators' weights.

    Returns:
        Advantages. `[time, ...]`
    """
    errors = rewards + discount * values[1:] - values[:-1]
    running = torch.zeros_like(errors[0])
    advantages = torch.empty_like(errors)
    for step in range(len(errors) - 1, -1, -1):
        running = errors[step] + discount * gae_lambda * running
        advantages[step] = running
    return advantages

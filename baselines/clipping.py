"""Clips gradients of stacked networks, each agent's by its own norm."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def clip_agents(
    own: Sequence[nn.Parameter], limit: float | None, shared: Sequence[nn.Parameter] = ()
) -> None:
    """Scales gradients in place, so that no agent's norm exceeds the limit.

    A common norm would couple the agents. What they share sums the gradients
    of all, so its norm may be larger by the square root of their number, as
    that of a sum of independent ones.

    Args:
        own: Parameters with gradients, the first axis the agent.
        limit: Largest norm; None leaves all as they are.
        shared: Parameters that belong to no single agent.
    """
    if limit is None:
        return
    gradients = [_gradient(parameter) for parameter in own]
    num = len(gradients[0])
    norm = torch.stack([g.reshape(num, -1).square().sum(1) for g in gradients]).sum(0).sqrt()
    scale = (limit / (norm + 1e-6)).clamp_max(1.0)
    for gradient in gradients:
        gradient *= scale.view(-1, *[1] * (gradient.dim() - 1))
    if shared:
        common = [_gradient(parameter) for parameter in shared]
        size = torch.stack([g.square().sum() for g in common]).sum().sqrt()
        for gradient in common:
            gradient *= (limit * math.sqrt(num) / (size + 1e-6)).clamp_max(1.0)


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None, "clip after the backward pass"
    return parameter.grad

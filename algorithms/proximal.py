"""Surrogates that reuse an environment gradient within a trust region of actions."""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_surrogate(gradient: Tensor, change: Tensor, trust_region: float) -> Tensor:
    """Linear gain that ends at the trust region's edge.

    `max(G d, G clip(d, -eps, eps))`: the pessimistic one of the linear model
    and its clipped form. Its gradient is `G` at `d = 0` and wherever an action
    has moved the wrong way, and 0 once an action has gained all it may.

    Args:
        gradient: Environment gradient `G`. Any shape
        change: Change of the action since the rollout, `d`. Same shape
        trust_region: Half width `eps` of the trust region, in action units.

    Returns:
        The surrogate of every sample. Same shape
    """
    held = change.clamp(-trust_region, trust_region)
    return torch.maximum(gradient * change, gradient * held)


def quadratic_surrogate(gradient: Tensor, change: Tensor, trust_region: float) -> Tensor:
    """Linear gain with a quadratic charge on the change of the action.

    `G d + |G| d^2 / (2 eps)`: each sample's minimum lies at `-eps sign(G)`, so
    the trust region means the same as in the clipped form.

    Args:
        gradient: Environment gradient `G`. Any shape
        change: Change of the action since the rollout, `d`. Same shape
        trust_region: Where the minimum lies, in action units.

    Returns:
        The surrogate of every sample. Same shape
    """
    return gradient * change + gradient.abs() * change.square() / (2.0 * trust_region)


SURROGATES = {"clip": clipped_surrogate, "quadratic": quadratic_surrogate}
"""Surrogates by the name that configurations use."""

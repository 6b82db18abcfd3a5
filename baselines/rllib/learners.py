"""What several learners on a Ray cluster have to agree on."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_over_learners(value: Tensor) -> Tensor:
    """Mean of a tensor over all learners; the tensor itself if there is one.

    Args:
        value: This learner's; the others have one of the same shape.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    total = value.clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()

"""State of an Adam optimiser as plain tensors, for checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor


def adam_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Moments and step counts by `PARAMETER.NAME`, not copied.

    Args:
        optimiser: The optimiser; before its first step there are none.
    """
    state = optimiser.state_dict()["state"]
    return {f"{index}.{k}": v for index, entry in state.items() for k, v in entry.items()}


def load_adam_tensors(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Takes over what `adam_tensors` returned.

    Args:
        optimiser: An optimiser of parameters of the same shapes.
        tensors: Its state.
    """
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        # Adam would take the tensor itself over, and change the caller's.
        moments.setdefault(int(index), {})[name] = value.clone()
    optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})

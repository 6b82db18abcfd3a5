"""All that evaluation knows of a method."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Policy(Protocol):
    """Maps what the agents see to what they do."""

    def reset(self, days: Tensor) -> None:
        """Begins a batch of days.

        Args:
            days: Index of each scenario's day. `[batch]`, int64. Only a
                reference with foresight has a use for it.
        """
        ...

    def act(self, observation: Tensor) -> Tensor:
        """Chooses the actions of one step.

        Args:
            observation: What the agents see. `[batch, agent, feature]`, float32

        Returns:
            Actions in [-1, 1]. `[batch, *Core.action_shape]`, float32
        """
        ...

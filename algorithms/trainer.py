"""What the harness knows of a method in training."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from torch import Tensor

from gradmap.envs.policy import Policy


@dataclasses.dataclass
class Counters:
    """How much a method has used.

    Attributes:
        iterations: Outer iterations.
        env_gradients: Environment gradients, each over one batch of days.
        env_steps: Steps of single scenarios, all agents together.
        power_flow_solves: Power-flow solutions of single scenarios; the
            adjoint solve of a backward pass counts as one more.
    """

    iterations: int = 0
    env_gradients: int = 0
    env_steps: int = 0
    power_flow_solves: int = 0


class Trainer(Protocol):
    """A method in training."""

    counters: Counters
    """What has been used so far."""

    multipliers: dict[str, Tensor] | None
    """Prices by name, `[time, ...]`, for methods that have them."""

    def iterate(self, progress: float) -> dict[str, float]:
        """Makes one outer iteration.

        Args:
            progress: Share of the budget used, 0 to 1, for schedules.

        Returns:
            The iteration's metrics.
        """
        ...

    def policy(self) -> Policy:
        """Returns the policy as it stands."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that a resumed run needs, random state included."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` returned."""
        ...

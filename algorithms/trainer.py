"""What the harness knows of a method in training."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from gradmap.envs.counters import Counters
from gradmap.envs.policy import Policy


class Trainer(Protocol):
    """A method in training."""

    counters: Counters
    """What has been used so far."""

    @property
    def multipliers(self) -> dict[str, Tensor] | None:
        """Prices by name, `[time, ...]`, for methods that have them."""
        ...

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

    def close(self) -> None:
        """Gives back what it holds beside memory, such as processes; its last call."""
        ...

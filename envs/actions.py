"""How actions are laid out: one number an agent, or two where reactive power is free."""

from __future__ import annotations

import torch
from torch import Tensor

from gradmap.envs.devices.inverter import Inverters
from gradmap.feeders.errors import GradmapError


class Actions:
    """What the core says of actions, so that nobody has to guess.

    Attributes:
        inverters: What makes reactive power of the second number of actions;
            None where actions are one number and it follows by rule.
    """

    inverters: Inverters | None

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        raise NotImplementedError

    @property
    def num_actions(self) -> int:
        """Numbers that an agent chooses: 1, or 2 where reactive power is a free choice."""
        return 1 if self.inverters is None else 2

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Shape of all agents' actions: `(agent,)`, or `(agent, 2)`; see `num_actions`."""
        return (self.num_agents,) if self.inverters is None else (self.num_agents, 2)

    def whole_action(self, active: Tensor, reactive: Tensor | None = None) -> Tensor:
        """Puts actions together from their parts, for methods that know only one of them.

        Args:
            active: First numbers. `[..., agent]`
            reactive: Second numbers; None for no reactive power. Left aside
                where actions are one number. `[..., agent]`

        Returns:
            Actions, `[..., *action_shape]`.
        """
        if self.inverters is None:
            return active
        other = torch.zeros_like(active) if reactive is None else reactive
        return torch.stack((active, other), dim=-1)

    def _check_shape(self, action: Tensor, axes: str, *leading: int) -> None:
        """Refuses actions of another shape; `axes` names the leading ones."""
        expected = (*leading, *self.action_shape)
        if tuple(action.shape) != expected:
            own = "agent" if self.inverters is None else "agent, number"
            raise GradmapError(
                f"action has shape {tuple(action.shape)}, expected [{axes}, {own}] = {expected}"
            )

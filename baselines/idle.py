"""No control: batteries rest, everything else is off."""

from __future__ import annotations

import torch
from torch import Tensor

from gradmap.envs.core import Core

IDLE_ACTION = {
    "battery": 0.0,
    "heat_pump": -1.0,
    "generator": -1.0,
    "ev_charger": -1.0,
    "pv_inverter": -1.0,
}
"""The action at which a device draws and feeds nothing; a second number is 0 then."""


class IdlePolicy:
    """Every device stays at zero power.

    Args:
        core: The environment.
    """

    def __init__(self, core: Core) -> None:
        idle = torch.tensor([IDLE_ACTION[k] for k in core.agent_kinds], device=core.device)
        self._action = core.whole_action(idle)

    def reset(self, days: Tensor) -> None:
        """Begins a batch of days; see `Policy.reset`."""

    def act(self, observation: Tensor) -> Tensor:
        """Returns the idle action for every agent; see `Policy.act`."""
        return self._action.expand(len(observation), *self._action.shape)

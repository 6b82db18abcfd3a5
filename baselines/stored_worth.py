"""What the energy that devices hold is worth, read from what they see."""

from __future__ import annotations

import torch
from torch import Tensor

from gradmap.envs.core import Core
from gradmap.envs.devices.battery import BatteryFleet
from gradmap.envs.observations import FEATURES


class StoredWorth:
    """Worth of the energy that every agent could still feed in.

    It is `Core.stored_kwh` times a price, from observations in the place of
    states, so that a whole batch of days is one product.

    Args:
        core: The environment.
        usd_per_kwh: Price of energy, $/kWh.
    """

    def __init__(self, core: Core, usd_per_kwh: float) -> None:
        parts = [
            (fleet.energy_max_kwh * fleet.efficiency).expand(fleet.num_devices)
            if isinstance(fleet, BatteryFleet)
            else torch.zeros(fleet.num_devices, device=core.device)
            for fleet in core.fleets
        ]
        self._full_usd = usd_per_kwh * torch.cat(parts)

    def __call__(self, observation: Tensor) -> Tensor:
        """Worth of what is stored, $, differentiable. `[..., agent]`

        Args:
            observation: What the agents see. `[..., agent, feature]`
        """
        # Batteries show their state of charge, -1 empty to 1 full.
        own = observation[..., FEATURES.index("own_state")]
        return 0.5 * (own + 1.0) * self._full_usd

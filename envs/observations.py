"""What an agent sees: clock and calendar, the public price, its own device, site and voltage."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FEATURES = (
    "sin_day",
    "cos_day",
    "sin_half_day",
    "cos_half_day",
    "sin_third_day",
    "cos_third_day",
    "sin_quarter_day",
    "cos_quarter_day",
    "working_day",
    "tariff",
    "temp_outdoor",
    "own_state",
    "own_base_load",
    "own_pv",
    "own_voltage",
)
"""Names of the features, in order; the same for every device type."""

MORE_FEATURES = ("own_available", "own_deadline")
"""Features behind them, in tasks alone with device types that need them: the share of its
rated power that the device can use now (whether the car is at home, the sun), and the hours
to departure, 24 of them -1 to 1; 0 for all other types."""

NUM_PUBLIC = FEATURES.index("own_state")
"""How many features, the first, are the same for all agents."""

TARIFF_MIDDLE, TARIFF_SCALE = 0.22, 0.12
TEMP_MIDDLE, TEMP_SCALE = 10.0, 10.0
VOLTAGE_SCALE = 0.05


def clock_features(num_steps: int) -> Tensor:
    """Time of day as four harmonics: enough to tell one hour from the next.

    Args:
        num_steps: Steps a day.

    Returns:
        The first eight features of every step, float32. `[time, 8]`
    """
    angle = 2.0 * math.pi * torch.arange(num_steps) / num_steps
    waves = [wave(k * angle) for k in (1, 2, 3, 4) for wave in (torch.sin, torch.cos)]
    return torch.stack(waves, dim=-1)


def public_features(
    clock: Tensor, working_day: Tensor, tariff_usd_per_kwh: Tensor, temp_outdoor_degc: Tensor
) -> Tensor:
    """Puts together what everyone sees, each feature scaled to about -1 to 1.

    Args:
        clock: The clock's features. `[8]`
        working_day: 1 from Monday to Friday, else -1. `[batch]`
        tariff_usd_per_kwh: Price now. `[batch]`
        temp_outdoor_degc: Outdoor temperature now. `[batch]`

    Returns:
        The first `NUM_PUBLIC` features, float32. `[batch, 11]`
    """
    return torch.cat(
        (
            clock.expand(len(working_day), -1),
            working_day.unsqueeze(-1),
            ((tariff_usd_per_kwh - TARIFF_MIDDLE) / TARIFF_SCALE).unsqueeze(-1),
            ((temp_outdoor_degc - TEMP_MIDDLE) / TEMP_SCALE).unsqueeze(-1),
        ),
        dim=-1,
    )


def stack_features(
    public: Tensor, own_state: Tensor, own_site: Tensor, own_voltage_pu: Tensor
) -> Tensor:
    """Puts the observation together, each feature scaled to about -1 to 1.

    Args:
        public: What everyone sees. `[batch, 11]`
        own_state: Device state as the fleets give it. `[batch, agent]`
        own_site: Base load and photovoltaic power at the own terminal, each
            over the terminal's rating. `[batch, agent, 2]`
        own_voltage_pu: Own terminal's voltage at the step before, over its
            rated voltage. `[batch, agent]`

    Returns:
        The observation, float32. `[batch, agent, feature]`
    """
    return torch.cat(
        (
            public.unsqueeze(1).expand(-1, own_state.shape[1], -1),
            own_state.unsqueeze(-1),
            own_site,
            ((own_voltage_pu - 1.0) / VOLTAGE_SCALE).unsqueeze(-1),
        ),
        dim=-1,
    )


def stack_global(public: Tensor, voltage_pu: Tensor, site: Tensor, fleet_state: Tensor) -> Tensor:
    """Puts together what a central critic may see in training, and no agent ever does.

    Args:
        public: What everyone sees. `[batch, 11]`
        voltage_pu: Voltage of every load terminal at the step before, over
            its rated voltage. `[batch, terminal]`
        site: Base load and photovoltaic power of every load terminal, each
            over the terminal's rating. `[batch, terminal, 2]`
        fleet_state: Mean over each fleet of its devices' states, as the fleets
            give them. `[batch, fleet]`

    Returns:
        In this order, float32: public, voltages (scaled as in the
        observation), base loads, photovoltaic powers, fleets.
        `[batch, 11 + 3 terminals + fleets]`
    """
    voltage = (voltage_pu - 1.0) / VOLTAGE_SCALE
    return torch.cat((public, voltage, site.transpose(-1, -2).flatten(1), fleet_state), dim=-1)

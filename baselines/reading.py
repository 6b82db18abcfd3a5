"""What can be read off all agents' observations together: device states, sites, voltages.

Every feature is an affine function of one quantity, so that the reading is
exact up to float32: the state of charge times the capacity is the energy, the
place in the comfort band the indoor temperature, the share of rated power the
output. What a device began the day with, it showed at midnight.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from gradmap.envs.core import Core
from gradmap.envs.devices.base import Fleet
from gradmap.envs.devices.battery import BatteryFleet
from gradmap.envs.devices.ev_charger import EVChargerFleet
from gradmap.envs.devices.generator import GeneratorFleet
from gradmap.envs.devices.heat_pump import HeatPumpFleet
from gradmap.envs.devices.pv_inverter import PVInverterFleet
from gradmap.envs.observations import FEATURES, TEMP_MIDDLE, TEMP_SCALE, VOLTAGE_SCALE
from gradmap.envs.sites import site_rating_kw
from gradmap.feeders.errors import GradmapError


@dataclasses.dataclass(frozen=True)
class Reading:
    """What is known of a batch of days at one step.

    Attributes:
        quantity: The first entry of every device's state: energy, indoor
            temperature, output. `[batch, device]` for each fleet
        base_p_kw: Base load now; NaN at terminals without agents.
            `[batch, terminal]`
        pv_kw: Photovoltaic generation now, likewise. `[batch, terminal]`
        v_pu: Voltage at the step before over the rated voltage, likewise.
            `[batch, terminal]`
        temp_outdoor_degc: Outdoor temperature now. `[batch]`
    """

    quantity: tuple[Tensor, ...]
    base_p_kw: Tensor
    pv_kw: Tensor
    v_pu: Tensor
    temp_outdoor_degc: Tensor


class Reader:
    """Reads observations of a task.

    Args:
        core: The environment; its fleets, sites and ratings are known to
            whoever operates the feeder.
    """

    def __init__(self, core: Core) -> None:
        self._fleets = core.fleets
        self._sizes = [fleet.num_devices for fleet in core.fleets]
        # As the core scales the sites' features.
        rated_kw = torch.tensor(site_rating_kw(core.feeder), dtype=torch.float32)
        self._rated_kw = rated_kw.to(core.device)
        # Any agent of a terminal will do: all see the same site.
        self.terminals, place = torch.unique(core.agent_terminal, return_inverse=True)
        agents = torch.arange(core.num_agents, device=core.device)
        self._agent = torch.zeros_like(self.terminals).scatter(0, place, agents)

    def read(self, observation: Tensor) -> Reading:
        """Reads one step.

        Args:
            observation: What the agents see. `[batch, agent, feature]`

        Returns:
            What it says.
        """
        own = observation[..., FEATURES.index("own_state")].split(self._sizes, dim=-1)
        temp = observation[:, 0, FEATURES.index("temp_outdoor")]
        voltage = 1.0 + VOLTAGE_SCALE * self._at_terminals(observation, "own_voltage")
        return Reading(
            tuple(quantity(f, x) for f, x in zip(self._fleets, own, strict=True)),
            self._rated_kw * self._at_terminals(observation, "own_base_load"),
            self._rated_kw * self._at_terminals(observation, "own_pv"),
            voltage,
            temp * TEMP_SCALE + TEMP_MIDDLE,
        )

    def _at_terminals(self, observation: Tensor, name: str) -> Tensor:
        """A feature of the sites, NaN where there is no agent. `[batch, terminal]`"""
        seen = observation[:, self._agent, FEATURES.index(name)]
        values = seen.new_full((len(observation), len(self._rated_kw)), torch.nan)
        values[:, self.terminals] = seen
        return values


def quantity(fleet: Fleet, own_state: Tensor) -> Tensor:
    """Inverts `Fleet.observe`.

    Args:
        fleet: The fleet.
        own_state: What its devices show. `[batch, device]`

    Returns:
        Stored energy in kWh, indoor temperature in degC, or output in kW.
        `[batch, device]`

    Raises:
        GradmapError: If the device type is none of these.
    """
    if isinstance(fleet, BatteryFleet):
        return 0.5 * (own_state + 1.0) * fleet.energy_max_kwh
    if isinstance(fleet, EVChargerFleet):
        return 0.5 * (own_state + 1.0) * fleet.need_kwh
    if isinstance(fleet, (GeneratorFleet, PVInverterFleet)):
        return 0.5 * (own_state + 1.0) * fleet.p_max_kw
    if isinstance(fleet, HeatPumpFleet):
        middle = 0.5 * (fleet.comfort_high_degc + fleet.comfort_low_degc)
        half = 0.5 * (fleet.comfort_high_degc - fleet.comfort_low_degc)
        return middle + half * own_state
    raise GradmapError(f"cannot read the state of a {fleet.kind}; there is no rule for it")


def device_states(
    fleets: tuple[Fleet, ...], now: tuple[Tensor, ...], midnight: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Puts together the states that the fleets carry.

    Args:
        fleets: The fleets.
        now: `Reading.quantity` now.
        midnight: `Reading.quantity` at the day's first step.

    Returns:
        State of each fleet. `[batch, device, entry]`
    """
    return tuple(
        own.unsqueeze(-1)
        if fleet.kind in ("generator", "pv_inverter")
        else torch.stack((own, start), dim=-1)
        for fleet, own, start in zip(fleets, now, midnight, strict=True)
    )

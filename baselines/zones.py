"""Devices gathered by zone: a smaller problem for the same feeder.

Terminals whose power moves the voltages alike form a zone. All devices of one
type in a zone are planned as one unit with their summed power, energy and
heat capacity, and what a unit is to do is shared out at the common level that
gives its sum: the same state of charge, the same place in the comfort band,
the same marginal cost of fuel. Units are what the solver sees; states, costs
and voltages remain those of every device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.cluster.hierarchy
import torch
from torch import Tensor

from gradmap.baselines.dispatch import Groups
from gradmap.baselines.dispatch.devices import kvar_per_kw
from gradmap.baselines.dispatch.sensitivity import reactive_kinds
from gradmap.baselines.sharing import share_out
from gradmap.envs.core import Core
from gradmap.envs.devices.base import Fleet
from gradmap.envs.devices.battery import BatteryFleet
from gradmap.envs.devices.ev_charger import EVChargerFleet
from gradmap.envs.devices.generator import GeneratorFleet
from gradmap.envs.devices.heat_pump import HeatPumpFleet
from gradmap.envs.devices.pv_inverter import PVInverterFleet
from gradmap.feeders.errors import GradmapError


class Zones:
    """The units of a task.

    Args:
        core: The environment.
        slopes: How much groups of devices move the voltages. `[node, group]`
        num_zones: Zones at most; 0 makes every terminal its own.

    Attributes:
        fleets: The units, one fleet for each of the core's.
        group: Group of each unit: its zone, and whether it draws reactive
            power. `[unit]`
        share: Share of the power of such a group that each group of devices
            has, by rated power. `[group, zone group]`, float64
    """

    def __init__(self, core: Core, slopes: Tensor, num_zones: int) -> None:
        self._core = core
        groups = Groups.of(core)
        zone = _zone_of_terminal(groups, slopes, num_zones)
        sizes = [fleet.num_devices for fleet in core.fleets]
        own = zone[core.agent_terminal.cpu()].split(sizes)
        self._unit = []
        self.fleets: tuple[Fleet, ...] = ()
        zone_of_unit = []
        ratios, _ = reactive_kinds(core.fleets)
        for fleet, zones in zip(core.fleets, own, strict=True):
            if isinstance(fleet, EVChargerFleet):  # cars that leave at other times do not add up
                present, unit = zones, torch.arange(len(zones))
            else:
                present, unit = torch.unique(zones, return_inverse=True)
            self._unit.append(unit.to(core.device))
            zone_of_unit.append(len(ratios) * present + ratios.index(kvar_per_kw(fleet)))
            self.fleets += (_gather_fleet(fleet, self._unit[-1], len(present)),)
        # Of the units, as `Groups` has it of the agents.
        keys, self.group = torch.unique(torch.cat(zone_of_unit), return_inverse=True)
        self.share = self._shares(groups, keys, zone, ratios)

    def _shares(self, groups: Groups, keys: Tensor, zone: Tensor, ratios: list[float]) -> Tensor:
        """Share of each zone's power that a group has, by rated power. `[group, zone group]`"""
        fleets: tuple[Any, ...] = self._core.fleets
        rated_kw = groups.total(torch.cat([fleet.p_max_kw for fleet in fleets]))
        kind = torch.tensor([ratios.index(ratio) for ratio in groups.kvar_per_kw.tolist()])
        own = len(ratios) * zone[groups.terminal] + kind
        share = rated_kw.unsqueeze(-1) * (own.unsqueeze(-1) == keys)
        return share / share.sum(0)

    @property
    def num_units(self) -> int:
        """Number of units."""
        return len(self.group)

    def states(self, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Gathers device states.

        Args:
            states: State of each fleet. `[batch, device, entry]`

        Returns:
            State of each fleet of units: energies and outputs summed, indoor
            temperatures averaged by heat loss. `[batch, unit, entry]`
        """
        gathered = []
        parts = zip(self._core.fleets, self.fleets, self._unit, states, strict=True)
        for fleet, units, unit, state in parts:
            weight = _loss_share(fleet, unit)[:, None] if isinstance(fleet, HeatPumpFleet) else 1.0
            zeros = state.new_zeros(len(state), units.num_devices, state.shape[-1])
            gathered.append(zeros.index_add(1, unit, weight * state))
        return tuple(gathered)

    def agent_kw(self, unit_kw: Tensor) -> Tensor:
        """Power of the agents when units draw so much, shared by rated power. `[..., agent]`

        Args:
            unit_kw: Power of the units. `[..., unit]`
        """
        fleets: tuple[Any, ...] = self._core.fleets
        gathered: tuple[Any, ...] = self.fleets
        wanted = unit_kw.split([units.num_devices for units in gathered], dim=-1)
        parts = zip(fleets, gathered, self._unit, wanted, strict=True)
        shared = [
            kw[..., unit.cpu()] * (fleet.p_max_kw / units.p_max_kw[unit]).cpu()
            for fleet, units, unit, kw in parts
        ]
        return torch.cat(shared, -1)

    def unit_kw(self, agent_kw: Tensor) -> Tensor:
        """Power of the units when agents draw so much, float64, on the CPU. `[..., unit]`

        Args:
            agent_kw: Power of the agents. `[..., agent]`
        """
        parts = agent_kw.cpu().double().split([len(unit) for unit in self._unit], dim=-1)
        summed = [
            own.new_zeros(*own.shape[:-1], units.num_devices).index_add(-1, unit.cpu(), own)
            for units, unit, own in zip(self.fleets, self._unit, parts, strict=True)
        ]
        return torch.cat(summed, -1)

    def by_zone(self, unit_kw: Tensor) -> Tensor:
        """Sums the units' power by group of units, float64. `[..., zone group]`

        Args:
            unit_kw: Power of the units. `[..., unit]`
        """
        zeros = torch.zeros(*unit_kw.shape[:-1], self.share.shape[1], dtype=torch.float64)
        return zeros.index_add(-1, self.group, unit_kw.cpu().double())

    def actions(
        self,
        unit_kw: Tensor,
        states: tuple[Tensor, ...],
        temp_outdoor_degc: Tensor,
        sun_pu: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Shares the units' power out among their devices.

        Args:
            unit_kw: Power of the units in this step. `[batch, unit]`
            states: State of each fleet of devices. `[batch, device, entry]`
            temp_outdoor_degc: Outdoor temperature. `[batch]`
            sun_pu: Sun, see `Surroundings`; None where no fleet needs it. `[batch]`

        Returns:
            Actions, and the power that they ask for. `[batch, agent]` each, float32
        """
        wanted = unit_kw.float().split([fleet.num_devices for fleet in self.fleets], dim=-1)
        parts = zip(self._core.fleets, self._unit, wanted, states, strict=True)
        sun = 1.0 if sun_pu is None else sun_pu.unsqueeze(-1)
        around = (temp_outdoor_degc.unsqueeze(-1), self._core.dt_hours, sun)
        found = [share_out(fleet, unit, kw, own, *around) for fleet, unit, kw, own in parts]
        return torch.cat([a for a, _ in found], -1), torch.cat([p for _, p in found], -1)


def _zone_of_terminal(groups: Groups, slopes: Tensor, num_zones: int) -> Tensor:
    """Clusters terminals by how they move the voltages, Ward's way. `[terminal]`"""
    present, column = np.unique(groups.terminal.numpy(), return_index=True)
    zone = torch.zeros(int(groups.terminal.max()) + 1, dtype=torch.int64)
    if 0 < num_zones < len(present):
        tree = scipy.cluster.hierarchy.ward(slopes[:, column].T.numpy())
        label = scipy.cluster.hierarchy.fcluster(tree, num_zones, "maxclust").astype(np.int64)
    else:
        label = np.arange(len(present), dtype=np.int64)
    zone[torch.from_numpy(present)] = torch.from_numpy(label)
    return zone


def _loss_share(fleet: HeatPumpFleet, unit: Tensor) -> Tensor:
    """Heat loss of a building over that of its unit. `[device]`"""
    loss = fleet.loss_kw_per_k
    total = loss.new_zeros(int(unit.max()) + 1).index_add(0, unit, loss)
    return loss / total[unit]


def _gather_fleet(fleet: Fleet, unit: Tensor, num: int) -> Fleet:
    """One device for all of a unit."""

    def total(values: Tensor) -> Tensor:
        return values.new_zeros(num).index_add(0, unit, values)

    def mean(values: Tensor, weight: Tensor) -> Tensor:
        return total(values * weight) / total(weight)

    if isinstance(fleet, BatteryFleet):
        return BatteryFleet(
            p_max_kw=total(fleet.p_max_kw),
            energy_max_kwh=total(fleet.energy_max_kwh),
            efficiency=mean(fleet.efficiency, fleet.energy_max_kwh),
            wear_usd_per_kwh=mean(fleet.wear_usd_per_kwh, fleet.p_max_kw),
            kvar_per_kw=fleet.kvar_per_kw,
        )
    if isinstance(fleet, EVChargerFleet):
        return fleet
    if isinstance(fleet, PVInverterFleet):
        return PVInverterFleet(total(fleet.p_max_kw), fleet.kvar_per_kw)
    if isinstance(fleet, GeneratorFleet):
        # In parallel at one marginal cost: what 1 $/kWh more makes them run more adds up.
        response = 1.0 / fleet.fuel_usd_per_kw2h
        return GeneratorFleet(
            p_max_kw=total(fleet.p_max_kw),
            ramp_kw=total(fleet.ramp_kw),
            fuel_usd_per_kwh=mean(fleet.fuel_usd_per_kwh, response),
            fuel_usd_per_kw2h=1.0 / total(response),
        )
    if isinstance(fleet, HeatPumpFleet):
        loss = fleet.loss_kw_per_k
        return HeatPumpFleet(
            p_max_kw=total(fleet.p_max_kw),
            loss_kw_per_k=total(loss),
            time_constant_hours=mean(fleet.time_constant_hours, loss),
            gain_k=mean(fleet.gain_k, loss),
            comfort_low_degc=mean(fleet.comfort_low_degc, loss),
            comfort_high_degc=mean(fleet.comfort_high_degc, loss),
            discomfort_usd_per_kh=total(fleet.discomfort_usd_per_kh),
        )
    raise GradmapError(f"cannot gather devices of type {fleet.kind}; there is no rule for it")

"""Sharing out what a unit is to draw among the devices that it stands for.

Devices of a unit are led to a common *level*: state of charge, place in the
comfort band, or marginal cost of fuel. A device's power is monotone in the
level, so that the level which gives the unit's power is found by bisection.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gradmap.envs.devices.base import Fleet
from gradmap.envs.devices.battery import BatteryFleet
from gradmap.envs.devices.ev_charger import EVChargerFleet
from gradmap.envs.devices.generator import GeneratorFleet
from gradmap.envs.devices.heat_pump import HeatPumpFleet, cop
from gradmap.envs.devices.pv_inverter import PVInverterFleet
from gradmap.feeders.errors import GradmapError

_HALVINGS = 40  # of a range of a few units: to float32's rounding
_BAND_LEVELS = (0.0, 21.0)
"""Places in the comfort band, 1 its upper edge. No house is led below its lower
edge for the sake of its unit, whose mean may still be above: heat in one house
does not help the next, and a kelvin hour costs far more than the electricity."""


def share_out(
    fleet: Fleet,
    unit: Tensor,
    unit_kw: Tensor,
    state: Tensor,
    temp_outdoor_degc: Tensor,
    dt_hours: float,
    sun_pu: Tensor | float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Finds the devices' actions.

    Args:
        fleet: The devices.
        unit: Unit of each. `[device]`
        unit_kw: Power that units are to draw. `[batch, unit]`
        state: State of the devices. `[batch, device, entry]`
        temp_outdoor_degc: Outdoor temperature. `[batch, 1]`
        dt_hours: Length of the step.
        sun_pu: Sun, see `Surroundings`. `[batch, 1]`

    Returns:
        Actions in [-1, 1], and the power they ask for, kW. `[batch, device]`
        each. The powers add up to the unit's, or to the nearest that its
        devices can do without leaving their comfort band.

    Raises:
        GradmapError: If the device type is unknown.
    """
    if isinstance(fleet, BatteryFleet):
        power = _battery(fleet, state[..., 0], unit_kw[:, unit] >= 0, dt_hours)
        kw = _at_common_level(power, unit, unit_kw, (0.0, 1.0))
        return kw / fleet.p_max_kw, kw
    if isinstance(fleet, HeatPumpFleet):
        power = _heat_pump(fleet, state[..., 0], temp_outdoor_degc, dt_hours)
        kw = _at_common_level(power, unit, unit_kw, _BAND_LEVELS)
        return 2.0 * kw / fleet.p_max_kw - 1.0, kw
    if isinstance(fleet, GeneratorFleet):
        top = fleet.fuel_usd_per_kwh + 2.0 * fleet.fuel_usd_per_kw2h * fleet.p_max_kw
        power = _generator(fleet, state[..., 0])
        # Power falls as cost rises: the level is minus the marginal cost.
        kw = _at_common_level(power, unit, unit_kw, (-float(top.max()), 0.0))
        return -2.0 * kw / fleet.p_max_kw - 1.0, kw
    if isinstance(fleet, EVChargerFleet):  # every car is a unit of its own: see `Zones`
        kw = unit_kw[:, unit]
        return 2.0 * kw / fleet.p_max_kw - 1.0, kw
    if isinstance(fleet, PVInverterFleet):
        # All have the same sun: the same share of it from each.
        rated_kw = torch.zeros_like(unit_kw[0]).index_add(0, unit, fleet.p_max_kw)
        kw = unit_kw[:, unit] * fleet.p_max_kw / rated_kw[unit]
        available = torch.maximum(sun_pu * fleet.p_max_kw, 1e-4 * fleet.p_max_kw)
        return -2.0 * kw / available - 1.0, kw
    raise GradmapError(f"cannot share out among devices of type {fleet.kind}")


def _battery(
    fleet: BatteryFleet, energy: Tensor, is_charging: Tensor, dt_hours: float
) -> Callable[[Tensor], Tensor]:
    """Power towards a state of charge; none moves against its unit."""
    eta, zero = fleet.efficiency, torch.zeros_like(energy)
    most = torch.where(is_charging, fleet.p_max_kw, zero)
    least = torch.where(is_charging, zero, -fleet.p_max_kw)

    def power(level: Tensor) -> Tensor:
        change = (level * fleet.energy_max_kwh - energy) / dt_hours
        p_kw = torch.where(change > 0, change / eta, change * eta)
        return torch.minimum(torch.maximum(p_kw, least), most)

    return power


def _heat_pump(
    fleet: HeatPumpFleet, indoor: Tensor, temp_outdoor_degc: Tensor, dt_hours: float
) -> Callable[[Tensor], Tensor]:
    """Power towards a place in the comfort band."""
    low, high = fleet.comfort_low_degc, fleet.comfort_high_degc
    kept = torch.exp(-dt_hours / fleet.time_constant_hours)

    def power(level: Tensor) -> Tensor:
        wanted = low + level * (high - low)
        target = (wanted - kept * indoor) / (1.0 - kept)
        heat_kw = (target - temp_outdoor_degc - fleet.gain_k) * fleet.loss_kw_per_k
        p_kw: Tensor = heat_kw / cop(temp_outdoor_degc)
        return torch.minimum(p_kw.clamp_min(0.0), fleet.p_max_kw)

    return power


def _generator(fleet: GeneratorFleet, before: Tensor) -> Callable[[Tensor], Tensor]:
    """Power drawn, so below 0, at minus a marginal cost."""
    least = (before - fleet.ramp_kw).clamp_min(0.0)
    most = torch.minimum(before + fleet.ramp_kw, fleet.p_max_kw)

    def power(level: Tensor) -> Tensor:
        output = (-level - fleet.fuel_usd_per_kwh) / (2.0 * fleet.fuel_usd_per_kw2h)
        return -torch.minimum(torch.maximum(output, least), most)

    return power


def _at_common_level(
    power: Callable[[Tensor], Tensor], unit: Tensor, unit_kw: Tensor, levels: tuple[float, float]
) -> Tensor:
    """Power of the devices at the level at which each unit's is as wanted. `[batch, device]`"""
    low = torch.full_like(unit_kw, levels[0])
    high = torch.full_like(unit_kw, levels[1])
    zeros = torch.zeros_like(unit_kw)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        is_below = zeros.index_add(1, unit, power(middle[:, unit])) < unit_kw
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    return power(0.5 * (low + high)[:, unit])

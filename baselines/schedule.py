"""The schedule that an installer would program, for droop laws to curtail.

Batteries charge while energy is cheap and discharge while it is dear, heat
pumps follow a thermostat, generators run up to where fuel meets the price.
Nothing here looks at the voltage: what a rising or falling voltage leaves of
the schedule is the droop law of `RulesPolicy` or `DroopPolicy`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from gradmap.envs.core import Core
from gradmap.envs.devices.ev_charger import EVChargerFleet
from gradmap.envs.devices.generator import GeneratorFleet
from gradmap.envs.devices.pv_inverter import PVInverterFleet
from gradmap.envs.observations import (
    FEATURES,
    MORE_FEATURES,
    TARIFF_MIDDLE,
    TARIFF_SCALE,
    VOLTAGE_SCALE,
)


class ScheduleSettings(Protocol):
    """The settings of a schedule; `RulesConfig` says what each is."""

    @property
    def charge_below_usd(self) -> float:
        """See `RulesConfig`."""
        ...

    @property
    def discharge_above_usd(self) -> float:
        """See `RulesConfig`."""
        ...

    @property
    def charge_rate(self) -> float:
        """See `RulesConfig`."""
        ...

    @property
    def discharge_rate(self) -> float:
        """See `RulesConfig`."""
        ...

    @property
    def thermostat_target(self) -> float:
        """See `RulesConfig`."""
        ...

    @property
    def thermostat_gain(self) -> float:
        """See `RulesConfig`."""
        ...


class ScheduledPolicy:
    """Follows the schedule, as far as the droop law of a subclass leaves it.

    Args:
        core: The environment.
        schedule: Settings of the schedule.
    """

    def __init__(self, core: Core, schedule: ScheduleSettings) -> None:
        self._core = core
        self._schedule = schedule
        self._sizes = [fleet.num_devices for fleet in core.fleets]
        self._fleets = core.fleets
        self._dt_hours = core.dt_hours

    def reset(self, days: Tensor) -> None:
        """Begins a batch of days; see `Policy.reset`."""

    def act(self, observation: Tensor) -> Tensor:
        """Applies the schedule to what each agent sees; see `Policy.act`."""
        parts = observation.split(self._sizes, dim=1)
        actions = []
        for fleet, seen in zip(self._fleets, parts, strict=True):
            tariff = seen[..., FEATURES.index("tariff")] * TARIFF_SCALE + TARIFF_MIDDLE
            own = seen[..., FEATURES.index("own_state")]
            rise = seen[..., FEATURES.index("own_voltage")] * VOLTAGE_SCALE
            if fleet.kind == "battery":
                actions.append(self._battery(tariff, rise))
            elif fleet.kind == "heat_pump":
                actions.append(self._heat_pump(own, rise))
            elif isinstance(fleet, EVChargerFleet):
                deadline = seen[..., len(FEATURES) + MORE_FEATURES.index("own_deadline")]
                actions.append(self._ev_charger(fleet, tariff, own, deadline, rise))
            elif isinstance(fleet, PVInverterFleet):
                actions.append(2.0 * self.curtail(torch.ones_like(rise), rise) - 1.0)
            else:
                assert isinstance(fleet, GeneratorFleet)
                actions.append(self._generator(fleet, tariff, rise))
        active = torch.cat(actions, dim=1)
        return self._core.whole_action(active, self.reactive(observation, active))

    def reactive(self, observation: Tensor, active: Tensor) -> Tensor | None:
        """Chooses the reactive power, where that is free; the installer's schedule has none.

        Args:
            observation: What each agent sees. `[batch, agent, feature]`
            active: First numbers of the actions. `[batch, agent]`

        Returns:
            Second numbers, or None for no reactive power. `[batch, agent]`
        """

    def curtail(self, share: Tensor, deviation_pu: Tensor) -> Tensor:
        """Applies the droop law.

        Args:
            share: Power that the schedule asks for, over rated power, 0 to 1.
                `[batch, device]`
            deviation_pu: How far the own voltage is from 1 p.u. on the side to
                which this power drives it; negative on the other side.
                `[batch, device]`

        Returns:
            What is left of the share. `[batch, device]`
        """
        raise NotImplementedError

    def _battery(self, tariff: Tensor, rise: Tensor) -> Tensor:
        schedule = self._schedule
        charge = (tariff < schedule.charge_below_usd) * schedule.charge_rate
        sell = (tariff > schedule.discharge_above_usd) * schedule.discharge_rate
        return self.curtail(charge, -rise) - self.curtail(sell, rise)

    def _heat_pump(self, own: Tensor, rise: Tensor) -> Tensor:
        wanted = self._schedule.thermostat_gain * (self._schedule.thermostat_target - own)
        share = 0.5 * (wanted.clamp(-1.0, 1.0) + 1.0)
        return 2.0 * self.curtail(share, -rise) - 1.0

    def _ev_charger(
        self, fleet: EVChargerFleet, tariff: Tensor, own: Tensor, deadline: Tensor, rise: Tensor
    ) -> Tensor:
        # Full power while energy is cheap; at any price what is needed to be full in time.
        short_kwh = 0.5 * (1.0 - own) * fleet.need_kwh
        hours = (12.0 * (deadline + 1.0)).clamp_min(self._dt_hours)
        needed = (short_kwh / (fleet.efficiency * hours * fleet.p_max_kw)).clamp_max(1.0)
        is_cheap = (tariff < self._schedule.charge_below_usd).to(needed.dtype)
        share = torch.maximum(needed, is_cheap)
        return 2.0 * self.curtail(share, -rise) - 1.0

    def _generator(self, fleet: GeneratorFleet, tariff: Tensor, rise: Tensor) -> Tensor:
        # Run up to where the marginal fuel cost meets the price.
        output = (tariff - fleet.fuel_usd_per_kwh) / (2.0 * fleet.fuel_usd_per_kw2h)
        share = (output / fleet.p_max_kw).clamp(0.0, 1.0)
        return 2.0 * self.curtail(share, rise) - 1.0

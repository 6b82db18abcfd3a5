"""Rules that an installer would program: price, comfort and droop by voltage."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from gradmap.envs.core import Core
from gradmap.envs.devices.generator import GeneratorFleet
from gradmap.envs.observations import (
    FEATURES,
    TARIFF_MIDDLE,
    TARIFF_SCALE,
    VOLTAGE_SCALE,
)
from gradmap.feeders.errors import raise_faults


@dataclasses.dataclass(frozen=True)
class RulesConfig:
    """Settings of the rules, tuned on the validation days; see `docs/tuning.md`.

    Attributes:
        charge_below_usd: Batteries charge while energy costs less, $/kWh.
        discharge_above_usd: Batteries discharge while it costs more, $/kWh.
        charge_rate: Share of rated power that a battery charges with.
        discharge_rate: Share of rated power that it discharges with.
        thermostat_target: Indoor temperature that heat pumps hold, -1 at the
            comfort band's lower edge, 1 at its upper.
        thermostat_gain: Change of the action for a deviation of half a band.
        droop_start_pu: Deviation of the own voltage from 1 p.u. at which
            power that adds to it begins to be curtailed.
        droop_end_pu: Deviation at which none of it is left.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    charge_below_usd: float = 0.13
    discharge_above_usd: float = 0.28
    charge_rate: float = 0.3
    discharge_rate: float = 0.3
    thermostat_target: float = -0.8
    thermostat_gain: float = 4.0
    droop_start_pu: float = 0.02
    droop_end_pu: float = 0.045

    def __post_init__(self) -> None:
        faults = []
        for name in ("charge_rate", "discharge_rate"):
            if not 0 <= getattr(self, name) <= 1:
                faults.append(f"{name} is {getattr(self, name)}, expected 0 to 1")
        if not 0 <= self.droop_start_pu < self.droop_end_pu:
            faults.append(
                f"droop is from {self.droop_start_pu} to {self.droop_end_pu}, "
                "expected 0 <= start < end"
            )
        raise_faults("rules", faults)


class RulesPolicy:
    """Time-of-use batteries, thermostats, price-following generators, all with droop.

    Args:
        core: The environment.
        config: Settings.
    """

    def __init__(self, core: Core, config: RulesConfig | None = None) -> None:
        self.config = config or RulesConfig()
        self._sizes = [fleet.num_devices for fleet in core.fleets]
        self._fleets = core.fleets

    def reset(self, days: Tensor) -> None:
        """Begins a batch of days; see `Policy.reset`."""

    def act(self, observation: Tensor) -> Tensor:
        """Applies the rules to what each agent sees; see `Policy.act`."""
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
            else:
                assert isinstance(fleet, GeneratorFleet)
                actions.append(self._generator(fleet, tariff, rise))
        return torch.cat(actions, dim=1)

    def _room(self, deviation_pu: Tensor) -> Tensor:
        """Share of power that droop leaves: 1 up to its start, 0 from its end."""
        start, end = self.config.droop_start_pu, self.config.droop_end_pu
        return ((end - deviation_pu) / (end - start)).clamp(0.0, 1.0)

    def _battery(self, tariff: Tensor, rise: Tensor) -> Tensor:
        config = self.config
        charge = (tariff < config.charge_below_usd) * config.charge_rate * self._room(-rise)
        sell = (tariff > config.discharge_above_usd) * config.discharge_rate * self._room(rise)
        return charge - sell

    def _heat_pump(self, own: Tensor, rise: Tensor) -> Tensor:
        wanted = self.config.thermostat_gain * (self.config.thermostat_target - own)
        share = 0.5 * (wanted.clamp(-1.0, 1.0) + 1.0) * self._room(-rise)
        return 2.0 * share - 1.0

    def _generator(self, fleet: GeneratorFleet, tariff: Tensor, rise: Tensor) -> Tensor:
        # Run up to where the marginal fuel cost meets the price.
        output = (tariff - fleet.fuel_usd_per_kwh) / (2.0 * fleet.fuel_usd_per_kw2h)
        share = (output / fleet.p_max_kw).clamp(0.0, 1.0) * self._room(rise)
        return 2.0 * share - 1.0

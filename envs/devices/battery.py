"""Home batteries: power and energy limits, losses both ways, wear by throughput."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from gradmap.envs.devices.base import DeviceStep, Surroundings, step_fleet, uniform
from gradmap.envs.devices.recursion import Recursion
from gradmap.envs.devices.settlement import Settlement


@dataclasses.dataclass(frozen=True)
class BatteryFleet:
    """A fleet of batteries. Parameters `[device]`, float32.

    The state is `[energy stored, energy at the day's start]` in kWh; an action
    of 1 charges at rated power, -1 discharges.

    Attributes:
        p_max_kw: Rated power of charging and discharging.
        energy_max_kwh: Usable capacity.
        efficiency: Of charging, and again of discharging (each the square
            root of the round trip's).
        wear_usd_per_kwh: Wear for each kWh through the terminals.
        kvar_per_kw: Reactive power drawn with each kW drawn, and fed with each
            fed: what it does to the voltage is then the stronger.
        start_share: Share of the capacity that is stored at midnight; NaN
            where every day draws its own, None where all do.
        kva: Apparent power of the inverter where reactive power is a free
            choice, see `gradmap.envs.devices.inverter`; None where it is not.
    """

    p_max_kw: Tensor
    energy_max_kwh: Tensor
    efficiency: Tensor
    wear_usd_per_kwh: Tensor
    kvar_per_kw: float = 0.0
    kind: str = "battery"
    start_share: Tensor | None = None
    kva: Tensor | None = None

    @property
    def num_devices(self) -> int:
        """Number of batteries."""
        return self.p_max_kw.numel()

    def initial_state(self, draws: Tensor, temp_mean_degc: Tensor) -> Tensor:
        """Starts between 30 and 70 % full, or at `start_share`; see `Fleet.initial_state`."""
        energy = self.energy_max_kwh * (0.3 + 0.4 * draws)
        if self.start_share is not None:
            known = self.energy_max_kwh * self.start_share
            energy = torch.where(known.isnan(), energy, known)
        return torch.stack((energy, energy), dim=-1)

    def step(
        self, state: Tensor, action: Tensor, surroundings: Surroundings
    ) -> tuple[Tensor, DeviceStep]:
        """Moves and settles; see `Fleet.step`."""
        return step_fleet(self, state, action, surroundings)

    def follow(
        self, state: Tensor, action: Tensor, surroundings: Surroundings
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Charges or discharges as far as the stored energy allows; see `Fleet.follow`."""
        dt, eta = surroundings.dt_hours, self.efficiency
        energy, start = state.unbind(-1)
        setpoint = action * self.p_max_kw
        p_kw = torch.maximum(setpoint, -energy * eta / dt)
        p_kw = torch.minimum(p_kw, (self.energy_max_kwh - energy) / (eta * dt))
        charge = p_kw.clamp_min(0.0)
        energy = energy + dt * (eta * charge + (p_kw - charge) / eta)
        return torch.stack((energy, start), dim=-1), setpoint, p_kw

    def settle(
        self, after: Tensor, setpoint_kw: Tensor, p_kw: Tensor, surroundings: Surroundings
    ) -> DeviceStep:
        """Energy and wear; see `Fleet.settle`."""
        dt = surroundings.dt_hours
        bill = surroundings.tariff_usd_per_kwh * p_kw * dt
        wear = self.wear_usd_per_kwh * dt * p_kw.abs()
        zero = torch.zeros_like(p_kw)
        q_kvar = self.kvar_per_kw * p_kw if self.kvar_per_kw else zero
        return DeviceStep(setpoint_kw, p_kw, q_kvar, bill, zero, wear, zero, zero)

    def recursion(self, surroundings: Surroundings) -> Recursion:
        """Energy between empty and full; see `Fleet.recursion`."""
        zero, one = torch.zeros_like(self.p_max_kw), torch.ones_like(self.p_max_kw)
        whole = torch.zeros_like(surroundings.tariff_usd_per_kwh) + zero
        rated = self.p_max_kw * surroundings.dt_hours
        return Recursion(
            keep=one,
            offset=whole,
            gain_up=whole + rated * self.efficiency,
            gain_down=whole + rated / self.efficiency,
            low=zero,
            high=self.energy_max_kwh,
            follow=zero,
            seen_scale=2.0 / self.energy_max_kwh,
            seen_offset=-one,
        )

    def settlement(self, surroundings: Surroundings) -> Settlement:
        """What energy that moves takes and gives, and wear; see `Fleet.settlement`."""
        dt = surroundings.dt_hours
        return Settlement.of(
            self.p_max_kw,
            surroundings.num_steps,
            up=1.0 / (self.efficiency * dt),
            down=self.efficiency / dt,
            asked=self.p_max_kw,
            kvar_per_kw=self.kvar_per_kw,
            wear=self.wear_usd_per_kwh * dt,
        )

    def leftover_usd(self, state: Tensor, surroundings: Surroundings) -> Tensor:
        """What is left would be sold another day, through the discharger."""
        energy, start = state.unbind(-1)
        return surroundings.refill_usd_per_kwh * self.efficiency * (energy - start)

    def stored_kwh(self, state: Tensor) -> Tensor:
        """Energy stored, less what discharging loses; see `Fleet.stored_kwh`."""
        return state[..., 0] * self.efficiency

    def observe(self, state: Tensor) -> Tensor:
        """State of charge, -1 empty to 1 full; see `Fleet.observe`."""
        return 2.0 * state[..., 0] / self.energy_max_kwh - 1.0


def make_batteries(
    num: int,
    mean_kw: float | Tensor,
    generator: torch.Generator,
    spread: float = 0.2,
    kvar_per_kw: float = 0.0,
) -> BatteryFleet:
    """Draws a fleet of batteries.

    Args:
        num: Number of batteries.
        mean_kw: Mean rated power, kW; one for all, or `[device]`.
        generator: Source of the draws, on the CPU.
        spread: How far rated powers lie from the mean at most, as a share.
        kvar_per_kw: Reactive power with each kW.

    Returns:
        The fleet, on the CPU: power within 20 % of the mean, 2.5 to 3 hours
        of storage, 88 to 94 % round trip, 3 to 4 cents wear a kWh.
    """
    p_max = mean_kw * uniform(1.0 - spread, 1.0 + spread, num, generator)
    return BatteryFleet(
        p_max_kw=p_max,
        energy_max_kwh=p_max * uniform(2.5, 3.0, num, generator),
        efficiency=uniform(0.88, 0.94, num, generator).sqrt(),
        wear_usd_per_kwh=uniform(0.03, 0.04, num, generator),
        kvar_per_kw=kvar_per_kw,
    )

"""Heat pumps: a building of first-order thermal mass, a COP that falls with the cold."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from gradmap.envs.devices.base import DeviceStep, Surroundings, step_fleet, uniform
from gradmap.envs.devices.recursion import Recursion
from gradmap.envs.devices.settlement import Settlement

DISCOMFORT_USD_PER_KH = 0.5
"""Price of one kelvin hour outside the comfort band for one real house."""

POWER_FACTOR = 0.97
"""Of the compressor's motor drive, lagging."""

KVAR_PER_KW = math.sqrt(POWER_FACTOR**-2 - 1.0)
"""Reactive power drawn with each kW, kvar."""


def cop(temp_outdoor_degc: Tensor) -> Tensor:
    """Coefficient of performance of an air-source heat pump.

    A line through 2.8 at 0 degC and 4.0 at 15 degC, between 1.8 and 5.0:
    round figures of our own, after no particular unit.

    Args:
        temp_outdoor_degc: Outdoor temperature, any shape.

    Returns:
        Heat delivered per electric energy, same shape.
    """
    return (2.8 + 0.08 * temp_outdoor_degc).clamp(1.8, 5.0)


@dataclasses.dataclass(frozen=True)
class HeatPumpFleet:
    """A fleet of heat pumps with their buildings. Parameters `[device]`, float32.

    The state is `[indoor temperature, that at the day's start]` in degC; an
    action of -1 is off, 1 rated electric power.

    Attributes:
        p_max_kw: Rated electric power.
        loss_kw_per_k: Heat loss of the building for each kelvin.
        time_constant_hours: Thermal time constant of the building.
        gain_k: Temperature rise by people, sun and appliances.
        comfort_low_degc: Lower edge of the comfort band.
        comfort_high_degc: Upper edge.
        discomfort_usd_per_kh: Price of a kelvin hour outside the band; an
            agent that stands for several houses pays for all of them.
    """

    p_max_kw: Tensor
    loss_kw_per_k: Tensor
    time_constant_hours: Tensor
    gain_k: Tensor
    comfort_low_degc: Tensor
    comfort_high_degc: Tensor
    discomfort_usd_per_kh: Tensor
    kind: str = "heat_pump"

    @property
    def num_devices(self) -> int:
        """Number of heat pumps."""
        return self.p_max_kw.numel()

    def initial_state(self, draws: Tensor, temp_mean_degc: Tensor) -> Tensor:
        """Starts inside the band, warmer on warm days; see `Fleet.initial_state`."""
        width = self.comfort_high_degc - self.comfort_low_degc
        heated = self.comfort_low_degc + (0.2 + 0.5 * draws) * width
        unheated = temp_mean_degc + self.gain_k
        indoor = torch.minimum(torch.maximum(heated, unheated), self.comfort_high_degc)
        return torch.stack((indoor, indoor), dim=-1)

    def step(
        self, state: Tensor, action: Tensor, surroundings: Surroundings
    ) -> tuple[Tensor, DeviceStep]:
        """Moves and settles; see `Fleet.step`."""
        return step_fleet(self, state, action, surroundings)

    def follow(
        self, state: Tensor, action: Tensor, surroundings: Surroundings
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Heats the building by one step, exactly for constant input; see `Fleet.follow`."""
        indoor, start = state.unbind(-1)
        p_kw = 0.5 * (action + 1.0) * self.p_max_kw
        outdoor = surroundings.temp_outdoor_degc
        target = outdoor + self.gain_k + cop(outdoor) * p_kw / self.loss_kw_per_k
        decay = torch.exp(-surroundings.dt_hours / self.time_constant_hours)
        indoor = target + decay * (indoor - target)
        return torch.stack((indoor, start), dim=-1), p_kw, p_kw

    def settle(
        self, after: Tensor, setpoint_kw: Tensor, p_kw: Tensor, surroundings: Surroundings
    ) -> DeviceStep:
        """Energy and discomfort; see `Fleet.settle`."""
        dt = surroundings.dt_hours
        indoor = after[..., 0]
        cold = (self.comfort_low_degc - indoor).clamp_min(0.0)
        discomfort_kh = dt * (cold + (indoor - self.comfort_high_degc).clamp_min(0.0))
        zero = torch.zeros_like(p_kw)
        return DeviceStep(
            setpoint_kw=setpoint_kw,
            p_kw=p_kw,
            q_kvar=KVAR_PER_KW * p_kw,
            energy_usd=surroundings.tariff_usd_per_kwh * p_kw * dt,
            fuel_usd=zero,
            wear_usd=zero,
            discomfort_usd=self.discomfort_usd_per_kh * discomfort_kh,
            discomfort_kh=discomfort_kh,
        )

    def recursion(self, surroundings: Surroundings) -> Recursion:
        """Indoor temperature, without bounds; see `Fleet.recursion`."""
        outdoor = surroundings.temp_outdoor_degc
        decay = torch.exp(-surroundings.dt_hours / self.time_constant_hours)
        lift = (1.0 - decay) * cop(outdoor) * (0.5 * self.p_max_kw / self.loss_kw_per_k)
        endless = torch.full_like(decay, torch.inf)
        half = 0.5 * (self.comfort_high_degc - self.comfort_low_degc)
        return Recursion(
            keep=decay,
            offset=(1.0 - decay) * (outdoor + self.gain_k) + lift,
            gain_up=lift,
            gain_down=lift,
            low=-endless,
            high=endless,
            follow=torch.zeros_like(decay),
            seen_scale=1.0 / half,
            seen_offset=-0.5 * (self.comfort_high_degc + self.comfort_low_degc) / half,
        )

    def settlement(self, surroundings: Surroundings) -> Settlement:
        """Power as asked for, and discomfort; see `Fleet.settlement`."""
        half = 0.5 * self.p_max_kw
        return Settlement.of(
            self.p_max_kw,
            surroundings.num_steps,
            obeys=1.0,
            asked=half,
            idle=half,
            kvar_per_kw=KVAR_PER_KW,
            strain=self.discomfort_usd_per_kh * surroundings.dt_hours,
            cold=self.comfort_low_degc,
            hot=self.comfort_high_degc,
        )

    def leftover_usd(self, state: Tensor, surroundings: Surroundings) -> Tensor:
        """Heat left above the band's lower edge spares electricity later."""
        indoor, start = state.unbind(-1)
        heat_kwh = self.loss_kw_per_k * self.time_constant_hours * (indoor - start)
        return surroundings.refill_usd_per_kwh * heat_kwh / cop(surroundings.temp_outdoor_degc)

    def stored_kwh(self, state: Tensor) -> Tensor:
        """Nothing: heat does not come back as power; see `Fleet.stored_kwh`."""
        return torch.zeros_like(state[..., 0])

    def observe(self, state: Tensor) -> Tensor:
        """Indoor temperature, -1 and 1 at the band's edges; see `Fleet.observe`."""
        middle = 0.5 * (self.comfort_high_degc + self.comfort_low_degc)
        half = 0.5 * (self.comfort_high_degc - self.comfort_low_degc)
        return (state[..., 0] - middle) / half


def make_heat_pumps(
    num: int,
    mean_kw: float | Tensor,
    houses: float | Tensor,
    generator: torch.Generator,
    spread: float = 0.2,
) -> HeatPumpFleet:
    """Draws a fleet of heat pumps.

    Args:
        num: Number of heat pumps.
        mean_kw: Mean rated electric power, kW; one for all, or `[device]`.
        houses: How many real houses one heat pump stands for, likewise.
        generator: Source of the draws, on the CPU.
        spread: How far rated powers lie from the mean at most, as a share.

    Returns:
        The fleet, on the CPU. Each unit is sized to hold its lower band edge
        at -14 degC with a tenth to spare; time constants of 30 to 60 hours
        (light to heavy houses); bands of 3 K above 19 to 20.5 degC.
    """
    p_max = mean_kw * uniform(1.0 - spread, 1.0 + spread, num, generator)
    low = uniform(19.0, 20.5, num, generator)
    gain = uniform(1.5, 3.0, num, generator)
    design = torch.tensor(-14.0)
    loss = p_max * cop(design) / (1.1 * (low - gain - design))
    return HeatPumpFleet(
        p_max_kw=p_max,
        loss_kw_per_k=loss,
        time_constant_hours=uniform(30.0, 60.0, num, generator),
        gain_k=gain,
        comfort_low_degc=low,
        comfort_high_degc=low + 3.0,
        discomfort_usd_per_kh=torch.zeros(num) + DISCOMFORT_USD_PER_KH * houses,
    )

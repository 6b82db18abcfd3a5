"""Chargers of electric cars: at home overnight, away by day, a need to be met by departure."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from gradmap.envs.devices.base import DeviceStep, Surroundings, step_fleet, uniform
from gradmap.envs.devices.recursion import Recursion
from gradmap.envs.devices.settlement import Settlement

UNMET_USD_PER_KWH = 1.0
"""Price of energy that is missing at departure: some three times the dearest tariff,
about what the nearest fast charger and the way to it cost."""

DEFICIT = 3.0
"""Needs by which the energy can be short at most, a day's trips of an empty car included."""


@dataclasses.dataclass(frozen=True)
class EVChargerFleet:
    """A fleet of home chargers, a car each. Parameters `[device]`, float32.

    The state is `[energy in the car, that at the day's start]` in kWh, of which
    `need_kwh` is a full day's: a car leaves at `depart_hour`, comes back at
    `arrive_hour` and has then used `need_kwh`. What is missing at departure is
    charged on the spot, and the car comes back with less than nothing of it:
    with its reserve touched. An action of -1 is off, 1 rated power; away from
    home nothing is drawn. It is full at `need_kwh`, and feeds nothing back.

    Attributes:
        p_max_kw: Rated power.
        need_kwh: Energy that a day's trips take.
        efficiency: Of charging.
        depart_hour: Hour at which the car leaves.
        arrive_hour: Hour at which it comes back, after that.
        unmet_usd_per_kwh: Price of energy missing at departure.
    """

    p_max_kw: Tensor
    need_kwh: Tensor
    efficiency: Tensor
    depart_hour: Tensor
    arrive_hour: Tensor
    unmet_usd_per_kwh: Tensor
    kind: str = "ev_charger"

    @property
    def num_devices(self) -> int:
        """Number of chargers."""
        return self.p_max_kw.numel()

    def initial_state(self, draws: Tensor, temp_mean_degc: Tensor) -> Tensor:
        """Came home in the evening, and is up to half charged; see `Fleet.initial_state`."""
        energy = 0.5 * draws * self.need_kwh
        return torch.stack((energy, energy), dim=-1)

    def is_home(self, surroundings: Surroundings) -> Tensor:
        """1 in the steps in which the car can charge, else 0. `[..., device]`

        Args:
            surroundings: Clock of the steps.
        """
        hour = surroundings.clock
        return ((hour < self.depart_hour) | (hour >= self.arrive_hour)).to(self.p_max_kw.dtype)

    def is_leaving(self, surroundings: Surroundings) -> Tensor:
        """1 in the last step before departure, else 0. `[..., device]`

        Args:
            surroundings: Clock of the steps.
        """
        hour = surroundings.clock
        is_last = (hour < self.depart_hour) & (hour + surroundings.dt_hours >= self.depart_hour)
        return is_last.to(self.p_max_kw.dtype)

    def trips_kwh(self, surroundings: Surroundings) -> Tensor:
        """Energy that the day's trips take, all in the first step away. `[..., device]`

        Args:
            surroundings: Clock of the steps.
        """
        hour = surroundings.clock
        is_first = (hour >= self.depart_hour) & (hour - surroundings.dt_hours < self.depart_hour)
        return is_first.to(self.p_max_kw.dtype) * self.need_kwh

    def step(
        self, state: Tensor, action: Tensor, surroundings: Surroundings
    ) -> tuple[Tensor, DeviceStep]:
        """Moves and settles; see `Fleet.step`."""
        return step_fleet(self, state, action, surroundings)

    def follow(
        self, state: Tensor, action: Tensor, surroundings: Surroundings
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Charges as far as there is room, and drives; see `Fleet.follow`."""
        energy, start = state.unbind(-1)
        setpoint = self.setpoints(action) * self.is_home(surroundings)
        room = (self.need_kwh - energy).clamp_min(0.0) / (self.efficiency * surroundings.dt_hours)
        p_kw = torch.minimum(setpoint, room)
        energy = energy + surroundings.dt_hours * self.efficiency * p_kw
        energy = energy - self.trips_kwh(surroundings)
        return torch.stack((energy, start), dim=-1), setpoint, p_kw

    def settle(
        self, after: Tensor, setpoint_kw: Tensor, p_kw: Tensor, surroundings: Surroundings
    ) -> DeviceStep:
        """Energy, and what is missing at departure; see `Fleet.settle`."""
        missing_kwh = (self.need_kwh - after[..., 0]).clamp_min(0.0)
        missing_kwh = missing_kwh * self.is_leaving(surroundings)
        zero = torch.zeros_like(p_kw)
        return DeviceStep(
            setpoint_kw=setpoint_kw * self.is_home(surroundings),
            p_kw=p_kw,
            q_kvar=zero,
            energy_usd=surroundings.tariff_usd_per_kwh * p_kw * surroundings.dt_hours,
            fuel_usd=zero,
            wear_usd=zero,
            discomfort_usd=self.unmet_usd_per_kwh * missing_kwh,
            discomfort_kh=zero,
        )

    def recursion(self, surroundings: Surroundings) -> Recursion:
        """Energy up to full, less the trips; see `Fleet.recursion`."""
        half = 0.5 * self.p_max_kw * self.efficiency * surroundings.dt_hours
        gain = half * self.is_home(surroundings)
        gain = gain + torch.zeros_like(surroundings.tariff_usd_per_kwh)
        one, zero = torch.ones_like(self.p_max_kw), torch.zeros_like(self.p_max_kw)
        return Recursion(
            keep=one,
            offset=gain - self.trips_kwh(surroundings),
            gain_up=gain,
            gain_down=gain,
            low=torch.full_like(one, -torch.inf),
            high=self.need_kwh,
            follow=zero,
            seen_scale=2.0 / self.need_kwh,
            seen_offset=-one,
        )

    def settlement(self, surroundings: Surroundings) -> Settlement:
        """What charging takes, and what is missing at departure; see `Fleet.settlement`."""
        half, one_day = 0.5 * self.p_max_kw, surroundings[0]
        return Settlement.of(
            self.p_max_kw,
            surroundings.num_steps,
            up=1.0 / (self.efficiency * surroundings.dt_hours),
            asked=half,
            idle=half,
            watched=self.is_home(one_day),
            strain=self.unmet_usd_per_kwh * self.is_leaving(one_day),
            cold=self.need_kwh,
        )

    def setpoints(self, action: Tensor) -> Tensor:
        """Power asked for of a car at home, kW. `[..., device]`

        Args:
            action: Action in [-1, 1]. `[..., device]`
        """
        return 0.5 * (action + 1.0) * self.p_max_kw

    def leftover_usd(self, state: Tensor, surroundings: Surroundings) -> Tensor:
        """What is charged before midnight need not be bought after it."""
        energy, start = state.unbind(-1)
        return surroundings.refill_usd_per_kwh * (energy - start) / self.efficiency

    def stored_kwh(self, state: Tensor) -> Tensor:
        """Nothing: it feeds nothing back; see `Fleet.stored_kwh`."""
        return torch.zeros_like(state[..., 0])

    def observe(self, state: Tensor) -> Tensor:
        """Energy in the car, 1 full to -1 a day's need short; see `Fleet.observe`."""
        return 2.0 * state[..., 0] / self.need_kwh - 1.0

    def outlook(self, surroundings: Surroundings) -> Tensor:
        """Whether the car is at home, and the hours to departure; see `Foresighted`."""
        is_home = self.is_home(surroundings)
        hours = torch.remainder(self.depart_hour - surroundings.clock, 24.0)
        return torch.stack((is_home, hours / 12.0 - 1.0), dim=-1)


def make_ev_chargers(
    num: int,
    mean_kw: float | Tensor,
    cars: float | Tensor,
    generator: torch.Generator,
    spread: float = 0.2,
) -> EVChargerFleet:
    """Draws a fleet of home chargers.

    Args:
        num: Number of chargers.
        mean_kw: Mean rated power, kW; one for all, or `[device]`.
        cars: How many real cars one charger stands for, likewise.
        generator: Source of the draws, on the CPU.
        spread: How far rated powers lie from the mean at most, as a share.

    Returns:
        The fleet, on the CPU: power within 20 % of the mean, a need of 6 to
        12 kWh a car (30 to 60 km), 90 % charging efficiency, departure from 6
        to 9 h and return from 16 to 20 h, by half hours.
    """
    p_max = mean_kw * uniform(1.0 - spread, 1.0 + spread, num, generator)
    need = cars * uniform(6.0, 12.0, num, generator)
    depart = 0.5 * torch.randint(12, 19, (num,), generator=generator)
    arrive = 0.5 * torch.randint(32, 41, (num,), generator=generator)
    return EVChargerFleet(
        p_max_kw=p_max,
        need_kwh=need,
        efficiency=torch.full((num,), 0.9),
        depart_hour=depart,
        arrive_hour=arrive,
        unmet_usd_per_kwh=torch.full((num,), UNMET_USD_PER_KWH),
    )

"""What a fleet of devices is to the environment.

A *fleet* is all devices of one type, stacked: parameters `[device]`, states
`[batch, device]`. Everything is float32 on the core's device and
differentiable in the state and the action. Power is positive when drawn from
the network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from gradmap.envs.devices.recursion import Recursion
from gradmap.envs.devices.settlement import Settlement


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What a step brings to every device, known before it acts.

    Attributes:
        tariff_usd_per_kwh: Price of energy, drawn or fed in. `[..., 1]`
        temp_outdoor_degc: Outdoor temperature. `[..., 1]`
        refill_usd_per_kwh: Value of the energy that a device holds at the end
            of the day.
        dt_hours: Length of the step, hours.
        is_last: Whether the step is the last of the day.
        hour: Hour of the day at which the step begins; None where no fleet
            asks for it. `[..., 1]`
        sun_pu: Sun over the highest of the training days, 0 to 1, likewise.
    """

    tariff_usd_per_kwh: Tensor
    temp_outdoor_degc: Tensor
    refill_usd_per_kwh: float
    dt_hours: float
    is_last: bool
    hour: Tensor | None = None
    sun_pu: Tensor | None = None

    @property
    def clock(self) -> Tensor:
        """`hour`, where it is known. `[..., 1]`"""
        assert self.hour is not None, "surroundings without a clock"
        return self.hour

    @property
    def sun(self) -> Tensor:
        """`sun_pu`, where it is known. `[..., 1]`"""
        assert self.sun_pu is not None, "surroundings without a sun"
        return self.sun_pu

    @property
    def num_steps(self) -> int:
        """Steps of whole days, of which these are the surroundings."""
        return self.tariff_usd_per_kwh.shape[-2]

    def __getitem__(self, index: Any) -> Surroundings:
        """The same for some of the days or steps.

        Args:
            index: What picks them from the leading axes.
        """
        return self._each(lambda x: x[index])

    def to(self, device: torch.device) -> Surroundings:
        """The same on another torch device.

        Args:
            device: The device.
        """
        return self._each(lambda x: x.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Surroundings:
        return dataclasses.replace(
            self,
            tariff_usd_per_kwh=change(self.tariff_usd_per_kwh),
            temp_outdoor_degc=change(self.temp_outdoor_degc),
            hour=None if self.hour is None else change(self.hour),
            sun_pu=None if self.sun_pu is None else change(self.sun_pu),
        )


@dataclasses.dataclass(frozen=True)
class DeviceStep:
    """What a fleet did in one step, or in many. All `[..., device]`, float32.

    Attributes:
        setpoint_kw: Power that the action asked for.
        p_kw: Power that the device could follow, after projection.
        q_kvar: Reactive power that comes with it.
        energy_usd: Energy at the tariff; on the last step less the value of
            what is stored beyond the day's start.
        fuel_usd: Fuel.
        wear_usd: Wear.
        discomfort_usd: Discomfort, priced.
        discomfort_kh: Discomfort, kelvin hours outside the comfort band.
    """

    setpoint_kw: Tensor
    p_kw: Tensor
    q_kvar: Tensor
    energy_usd: Tensor
    fuel_usd: Tensor
    wear_usd: Tensor
    discomfort_usd: Tensor
    discomfort_kh: Tensor


class Fleet(Protocol):
    """All devices of one type."""

    @property
    def kind(self) -> str:
        """Name of the device type, `battery` or the like."""
        ...

    @property
    def num_devices(self) -> int:
        """Number of devices."""
        ...

    def initial_state(self, draws: Tensor, temp_mean_degc: Tensor) -> Tensor:
        """State at midnight.

        Args:
            draws: Uniform numbers in [0, 1), one for each device and day.
                `[batch, device]`
            temp_mean_degc: The day's mean outdoor temperature. `[batch, 1]`

        Returns:
            State. `[batch, device, entry]`
        """
        ...

    def step(
        self, state: Tensor, action: Tensor, surroundings: Surroundings
    ) -> tuple[Tensor, DeviceStep]:
        """Moves every device by one step and settles it; see `step_fleet`."""
        ...

    def follow(
        self, state: Tensor, action: Tensor, surroundings: Surroundings
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Moves every device by one step: the part of a step that waits for the one before.

        Args:
            state: State. `[batch, device, entry]`
            action: Action in [-1, 1]. `[batch, device]`
            surroundings: Price and weather of the step.

        Returns:
            The next state, the power asked for and the power drawn, kW.
        """
        ...

    def settle(
        self, after: Tensor, setpoint_kw: Tensor, p_kw: Tensor, surroundings: Surroundings
    ) -> DeviceStep:
        """What a step costs and draws; see `leftover_usd`.

        Args:
            after: State after the step. `[batch, device, entry]`
            setpoint_kw: Power asked for. `[batch, device]`
            p_kw: Power drawn. `[batch, device]`
            surroundings: Price and weather of the step.
        """
        ...

    def recursion(self, surroundings: Surroundings) -> Recursion:
        """The same movement as one recursion; see `Recursion`.

        Args:
            surroundings: Price and weather of whole days. `[batch, time, 1]`
        """
        ...

    def settlement(self, surroundings: Surroundings) -> Settlement:
        """The same bills in the form of all fleets; see `Settlement`.

        Args:
            surroundings: Price and weather of whole days. `[batch, time, 1]`
        """
        ...

    def leftover_usd(self, state: Tensor, surroundings: Surroundings) -> Tensor:
        """Worth of what a device holds at the day's end beyond its start, $. `[batch, device]`

        Args:
            state: State after the last step. `[batch, device, entry]`
            surroundings: Price and weather of the last step.
        """
        ...

    def stored_kwh(self, state: Tensor) -> Tensor:
        """Energy that the device could still feed in. `[batch, device]`

        Args:
            state: State. `[batch, device, entry]`
        """
        ...

    def observe(self, state: Tensor) -> Tensor:
        """The device's own state as its policy sees it, about -1 to 1. `[batch, device]`"""
        ...


@runtime_checkable
class Foresighted(Protocol):
    """A fleet whose agents see more than their state, site and voltage."""

    def outlook(self, surroundings: Surroundings) -> Tensor:
        """What the device can do now and how long it has: see `MORE_FEATURES`.

        Args:
            surroundings: Clock and sun of the step.

        Returns:
            Share of the rated power that it can use, and the hours to its
            deadline over 12, less 1. `[batch, device, 2]`
        """
        ...


@runtime_checkable
class Reactive(Protocol):
    """A fleet whose reactive power follows the action, not the power alone."""

    @property
    def kvar_per_kw(self) -> float:
        """Reactive power at most per kW of the device; 0 for none."""
        ...

    def reactive_kvar(self, action: Tensor, surroundings: Surroundings) -> Tensor:
        """Reactive power drawn. `[..., device]`

        Args:
            action: Action in [-1, 1]. `[..., device]`
            surroundings: Clock and sun, leading axes the same.
        """
        ...


def react(fleet: Fleet, done: DeviceStep, action: Tensor, surroundings: Surroundings) -> DeviceStep:
    """Adds the reactive power of a `Reactive` fleet; others stay as they are.

    Args:
        fleet: The fleet.
        done: What it did.
        action: Its actions. `[..., device]`
        surroundings: Clock and sun, leading axes the same.
    """
    if not (isinstance(fleet, Reactive) and fleet.kvar_per_kw):
        return done
    return dataclasses.replace(done, q_kvar=fleet.reactive_kvar(action, surroundings))


def step_fleet(
    fleet: Fleet, state: Tensor, action: Tensor, surroundings: Surroundings
) -> tuple[Tensor, DeviceStep]:
    """Moves a fleet by one step and settles it.

    Args:
        fleet: The fleet.
        state: State. `[batch, device, entry]`
        action: Action in [-1, 1]. `[batch, device]`
        surroundings: Price and weather of the step.

    Returns:
        The next state, and what happened.
    """
    after, setpoint, p_kw = fleet.follow(state, action, surroundings)
    done = react(fleet, fleet.settle(after, setpoint, p_kw, surroundings), action, surroundings)
    if surroundings.is_last:
        bill = done.energy_usd - fleet.leftover_usd(after, surroundings)
        done = dataclasses.replace(done, energy_usd=bill)
    return after, done


def uniform(low: float, high: float, num: int, generator: torch.Generator) -> Tensor:
    """Draws `num` numbers between `low` and `high`, float32, on the CPU."""
    return low + (high - low) * torch.rand(num, generator=generator)

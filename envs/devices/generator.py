"""Small controllable generators: power limits, ramp, quadratic fuel cost."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from gradmap.envs.devices.base import DeviceStep, Surroundings, step_fleet, uniform
from gradmap.envs.devices.recursion import Recursion
from gradmap.envs.devices.settlement import Settlement


@dataclasses.dataclass(frozen=True)
class GeneratorFleet:
    """A fleet of generators. Parameters `[device]`, float32.

    The state is `[output of the step before]` in kW; an action of -1 is off,
    1 rated power. Output shows as negative `p_kw`.

    Attributes:
        p_max_kw: Rated power.
        ramp_kw: Largest change of output from one step to the next.
        fuel_usd_per_kwh: Linear part of the fuel cost.
        fuel_usd_per_kw2h: Quadratic part.
    """

    p_max_kw: Tensor
    ramp_kw: Tensor
    fuel_usd_per_kwh: Tensor
    fuel_usd_per_kw2h: Tensor
    kind: str = "generator"

    @property
    def num_devices(self) -> int:
        """Number of generators."""
        return self.p_max_kw.numel()

    def initial_state(self, draws: Tensor, temp_mean_degc: Tensor) -> Tensor:
        """Starts the day below half of rated power; see `Fleet.initial_state`."""
        return (0.5 * draws * self.p_max_kw).unsqueeze(-1)

    def step(
        self, state: Tensor, action: Tensor, surroundings: Surroundings
    ) -> tuple[Tensor, DeviceStep]:
        """Moves and settles; see `Fleet.step`."""
        return step_fleet(self, state, action, surroundings)

    def follow(
        self, state: Tensor, action: Tensor, surroundings: Surroundings
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Moves the output within the ramp; see `Fleet.follow`."""
        before = state[..., 0]
        wanted = 0.5 * (action + 1.0) * self.p_max_kw
        output = torch.minimum(torch.maximum(wanted, before - self.ramp_kw), before + self.ramp_kw)
        return output.unsqueeze(-1), -wanted, -output

    def settle(
        self, after: Tensor, setpoint_kw: Tensor, p_kw: Tensor, surroundings: Surroundings
    ) -> DeviceStep:
        """Energy and fuel; see `Fleet.settle`."""
        dt, output = surroundings.dt_hours, after[..., 0]
        zero = torch.zeros_like(output)
        return DeviceStep(
            setpoint_kw=setpoint_kw,
            p_kw=p_kw,
            q_kvar=zero,
            energy_usd=-surroundings.tariff_usd_per_kwh * output * dt,
            fuel_usd=dt * output * (self.fuel_usd_per_kwh + self.fuel_usd_per_kw2h * output),
            wear_usd=zero,
            discomfort_usd=zero,
            discomfort_kh=zero,
        )

    def recursion(self, surroundings: Surroundings) -> Recursion:
        """Output within the ramp of the one before; see `Fleet.recursion`."""
        zero, one = torch.zeros_like(self.p_max_kw), torch.ones_like(self.p_max_kw)
        half = torch.zeros_like(surroundings.tariff_usd_per_kwh) + 0.5 * self.p_max_kw
        return Recursion(
            keep=zero,
            offset=half,
            gain_up=half,
            gain_down=half,
            low=-self.ramp_kw,
            high=self.ramp_kw,
            follow=one,
            seen_scale=2.0 / self.p_max_kw,
            seen_offset=-one,
        )

    def settlement(self, surroundings: Surroundings) -> Settlement:
        """Its output, fed in, and fuel; see `Fleet.settlement`."""
        half, dt = 0.5 * self.p_max_kw, surroundings.dt_hours
        return Settlement.of(
            self.p_max_kw,
            surroundings.num_steps,
            level=-1.0,
            asked=-half,
            idle=-half,
            charge=-dt * self.fuel_usd_per_kwh,
            fuel=dt * self.fuel_usd_per_kw2h,
        )

    def leftover_usd(self, state: Tensor, surroundings: Surroundings) -> Tensor:
        """Nothing: it holds none; see `Fleet.leftover_usd`."""
        return torch.zeros_like(state[..., 0])

    def stored_kwh(self, state: Tensor) -> Tensor:
        """Nothing: it holds none; see `Fleet.stored_kwh`."""
        return torch.zeros_like(state[..., 0])

    def observe(self, state: Tensor) -> Tensor:
        """Output of the step before, -1 off to 1 rated; see `Fleet.observe`."""
        return 2.0 * state[..., 0] / self.p_max_kw - 1.0


def make_generators(
    num: int, mean_kw: float | Tensor, generator: torch.Generator, spread: float = 0.2
) -> GeneratorFleet:
    """Draws a fleet of generators.

    Args:
        num: Number of generators.
        mean_kw: Mean rated power, kW; one for all, or `[device]`.
        generator: Source of the draws, on the CPU.
        spread: How far rated powers lie from the mean at most, as a share.

    Returns:
        The fleet, on the CPU: power within 20 % of the mean, 40 to 60 % of it
        a step in ramp, fuel at 13 to 17 cents a kWh rising by 4 to 8 cents
        of marginal cost up to rated power.
    """
    p_max = mean_kw * uniform(1.0 - spread, 1.0 + spread, num, generator)
    return GeneratorFleet(
        p_max_kw=p_max,
        ramp_kw=p_max * uniform(0.4, 0.6, num, generator),
        fuel_usd_per_kwh=uniform(0.13, 0.17, num, generator),
        fuel_usd_per_kw2h=0.5 * uniform(0.04, 0.08, num, generator) / p_max,
    )

"""Photovoltaic inverters: what the sun gives, curtailed at will, with reactive power if allowed.

An agent has one number to choose for the active power. Without reactive power,
and where that is a number of its own (`gradmap.envs.devices.inverter`), it is
the share of the sun that is fed in. With reactive power by rule the number runs
along the order in which an installer would use the two: from 1 down to 0 the
inverter feeds all it has and absorbs more and more reactive power, which costs
nothing; from 0 down to -1 it absorbs all it may and curtails, which costs the
feed-in. Points with less of both are left out: no one would choose them against
a high voltage, and against a low one the sun itself is of more help.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from gradmap.envs.devices.base import DeviceStep, Surroundings, step_fleet, uniform
from gradmap.envs.devices.recursion import Recursion
from gradmap.envs.devices.settlement import Settlement


@dataclasses.dataclass(frozen=True)
class PVInverterFleet:
    """A fleet of photovoltaic inverters. Parameters `[device]`, float32.

    The state is `[output of the step before]` in kW; an action of 1 feeds all
    that the sun gives, -1 nothing. Output shows as negative `p_kw`.

    Attributes:
        p_max_kw: Output under the highest sun of the year.
        kvar_per_kw: Reactive power that may be absorbed, per kW that the sun
            gives, at most `gradmap.envs.kinds.MAX_KVAR_PER_KW`; 0 for none. See the module.
        kva: Apparent power of the inverter where reactive power is a free
            choice, see `gradmap.envs.devices.inverter`; None where it is not.
    """

    p_max_kw: Tensor
    kvar_per_kw: float = 0.0
    kind: str = "pv_inverter"
    kva: Tensor | None = None

    @property
    def num_devices(self) -> int:
        """Number of inverters."""
        return self.p_max_kw.numel()

    def available_kw(self, surroundings: Surroundings) -> Tensor:
        """What the sun gives. `[..., device]`

        Args:
            surroundings: Sun of the steps.
        """
        return surroundings.sun * self.p_max_kw

    def fed_share(self, action: Tensor) -> Tensor:
        """Share of the sun that an action feeds in, 0 to 1. `[..., device]`

        Args:
            action: Action in [-1, 1]. `[..., device]`
        """
        return 1.0 + action.clamp_max(0.0) if self.kvar_per_kw else 0.5 * (action + 1.0)

    def initial_state(self, draws: Tensor, temp_mean_degc: Tensor) -> Tensor:
        """Starts the day in the dark; see `Fleet.initial_state`."""
        return torch.zeros_like(draws * self.p_max_kw).unsqueeze(-1)

    def step(
        self, state: Tensor, action: Tensor, surroundings: Surroundings
    ) -> tuple[Tensor, DeviceStep]:
        """Moves and settles; see `Fleet.step`."""
        return step_fleet(self, state, action, surroundings)

    def follow(
        self, state: Tensor, action: Tensor, surroundings: Surroundings
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Feeds a share of the sun; see `Fleet.follow`."""
        output = self.fed_share(action) * self.available_kw(surroundings)
        return output.unsqueeze(-1), -output, -output

    def settle(
        self, after: Tensor, setpoint_kw: Tensor, p_kw: Tensor, surroundings: Surroundings
    ) -> DeviceStep:
        """Energy; any action can be followed. See `Fleet.settle` and `reactive_kvar`."""
        zero = torch.zeros_like(p_kw)
        bill = surroundings.tariff_usd_per_kwh * p_kw * surroundings.dt_hours
        return DeviceStep(p_kw, p_kw, zero, bill, zero, zero, zero, zero)

    def reactive_kvar(self, action: Tensor, surroundings: Surroundings) -> Tensor:
        """Reactive power absorbed; see `Reactive`."""
        used = (1.0 - action).clamp_max(1.0)
        return self.kvar_per_kw * used * self.available_kw(surroundings)

    def recursion(self, surroundings: Surroundings) -> Recursion:
        """Output, of which nothing is kept; see `Fleet.recursion`."""
        available = self.available_kw(surroundings)
        zero = torch.zeros_like(self.p_max_kw)
        endless = torch.full_like(zero, torch.inf)
        half = 0.5 * available
        return Recursion(
            keep=zero,
            offset=available if self.kvar_per_kw else half,
            gain_up=0.0 * available if self.kvar_per_kw else half,
            gain_down=available if self.kvar_per_kw else half,
            low=-endless,
            high=endless,
            follow=zero,
            seen_scale=2.0 / self.p_max_kw,
            seen_offset=-torch.ones_like(zero),
        )

    def settlement(self, surroundings: Surroundings) -> Settlement:
        """Its output, fed in, and reactive power by the rule; see `Fleet.settlement`."""
        return Settlement.of(
            self.p_max_kw,
            surroundings.num_steps,
            level=-1.0,
            watched=0.0,
            absorbed=self.kvar_per_kw * self.p_max_kw,
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

    def outlook(self, surroundings: Surroundings) -> Tensor:
        """The sun now, and no deadline; see `Foresighted`."""
        share = surroundings.sun.expand(*surroundings.sun.shape[:-1], self.num_devices)
        return torch.stack((share, torch.zeros_like(share)), dim=-1)


def make_pv_inverters(
    num: int,
    mean_kw: float | Tensor,
    generator: torch.Generator,
    spread: float = 0.2,
    kvar_per_kw: float = 0.0,
) -> PVInverterFleet:
    """Draws a fleet of photovoltaic inverters.

    Args:
        num: Number of inverters.
        mean_kw: Mean output under the highest sun, kW; one for all, or `[device]`.
        generator: Source of the draws, on the CPU.
        spread: How far they lie from the mean at most, as a share.
        kvar_per_kw: Reactive power that may be absorbed per kW.
    """
    p_max = mean_kw * uniform(1.0 - spread, 1.0 + spread, num, generator)
    return PVInverterFleet(p_max_kw=p_max, kvar_per_kw=kvar_per_kw)

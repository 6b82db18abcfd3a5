"""What a device's day draws and costs, in one form for all fleets.

Beside how its one number `x` moves (`gradmap.envs.devices.recursion`), a device is settled by it
and by the action `a` alone. With the change `c = x' - x` of a step and the setpoint
`s = asked a + idle`,

    p = up max(c, 0) + down min(c, 0) + level x' + obeys s
    q = kvar_per_kw p + absorbed sun min(1 - a, 1)
    clipped = watched |s - p|
    cost = (tariff dt + charge) p + wear |p| + fuel p^2
         + strain (max(cold - x', 0) + max(x' - hot, 0))

and a day's cost is the sum of its steps' less the worth of what is left at its end. The fleets'
own steps say the same in words of their own; this is for days that are played many times over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Settlement:
    """What some devices draw and cost; see the module.

    Attributes:
        up: Power drawn for each unit by which the number rises in a step. `[device]`, and so
            all that says nothing else
        down: And for each by which it falls, drawn if positive times a fall: fed.
        level: Power drawn for each unit of the number itself.
        obeys: Share of the setpoint that is drawn whatever the number does, 0 or 1.
        asked: Setpoint for each unit of the action, kW.
        idle: Setpoint of the action 0, kW.
        watched: Whether what the device does not follow counts, 0 or 1. `[time, device]`
        kvar_per_kw: Reactive power drawn with each kW.
        absorbed: Reactive power drawn by an action of 0 or less under the highest sun, kvar.
        charge: Cost of each kW drawn beside the tariff, $.
        wear: Cost of each kW drawn or fed, $.
        fuel: Cost of the square of the power, $/kW^2.
        strain: Cost of each unit outside `cold` and `hot`, $. `[time, device]`
        cold: Lower edge of what costs nothing.
        hot: Upper edge.
    """

    up: Tensor
    down: Tensor
    level: Tensor
    obeys: Tensor
    asked: Tensor
    idle: Tensor
    watched: Tensor
    kvar_per_kw: Tensor
    absorbed: Tensor
    charge: Tensor
    wear: Tensor
    fuel: Tensor
    strain: Tensor
    cold: Tensor
    hot: Tensor

    @classmethod
    def of(cls, devices: Tensor, num_steps: int, **terms: Tensor | float) -> Settlement:
        """Makes one of the terms that a fleet has; the others do nothing.

        Args:
            devices: Any parameter of the fleet, for its shape. `[device]`
            num_steps: Steps of a day.
            **terms: Attributes by name; what is one for all may be a number.
        """
        given = {"watched": 1.0, "cold": -torch.inf, "hot": torch.inf, **terms}
        alike = torch.zeros_like(devices)
        shapes = {"watched": (num_steps, len(devices)), "strain": (num_steps, len(devices))}
        return cls(
            **{
                field.name: (alike + given.get(field.name, 0.0)).expand(
                    shapes.get(field.name, devices.shape)
                )
                for field in dataclasses.fields(cls)
            }
        )

    @classmethod
    def join(cls, parts: Sequence[Settlement]) -> Settlement:
        """Joins fleets along the agent axis."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(torch.cat([getattr(p, n) for p in parts], dim=-1) for n in names))

"""Reactive power as a free choice: inside the circle of an inverter's apparent power.

Where a task lets agents choose it, an action is two numbers: the first moves
the device as ever, the second, `r` in [-1, 1], is the share of the reactive
power that the inverter has room for beside the active power that it carries,

    q = r q_available(p),        p^2 + q^2 <= S^2.

No device's state depends on `q`, so that it is settled after the devices have
moved, for all of them at once. A device that stands still (a PV inverter at
night) has its whole circle to give. It costs the owner nothing: losses of the
inverter itself are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from gradmap.envs.devices.base import DeviceStep, Fleet

RIM = 0.1
"""Share of the apparent power below which the room is measured by a straight line."""


def available_kvar(p_kw: Tensor, kva: Tensor) -> Tensor:
    """Reactive power that an inverter has room for, kvar, 0 or more.

    On the circle it is `sqrt(S^2 - p^2)`, whose slope has no end at `p = S`,
    where the circle is vertical: one sample there would make a gradient of
    infinity, and NaN of all that it is added to. Where less than `RIM S` is
    left the square is divided by `RIM S` in place of its own root. That is
    inside the circle, meets it at the rim's edge, is 0 at `p = S`, and has a
    slope of `2 / RIM` there. An inverter of 1.1 kVA for each kW never comes
    near the rim.

    Args:
        p_kw: Active power, drawn or fed. `[..., agent]`
        kva: Apparent power `S`; 0 for none. `[agent]`
    """
    square = (kva.square() - p_kw.square()).clamp_min(0.0)
    # The tiny number keeps 0 / 0 off where there is no inverter.
    floor = (RIM * kva).square() + 1e-12
    return square / torch.maximum(square, floor).sqrt()


@dataclasses.dataclass(frozen=True)
class Inverters:
    """The inverters of all agents whose reactive power is theirs to choose.

    Attributes:
        kva: Apparent power of each agent's inverter, 0 for agents whose device
            has none, which leave their second number aside. `[agent]`
    """

    kva: Tensor

    @classmethod
    def of(cls, fleets: Sequence[Fleet]) -> Inverters:
        """Reads them off the fleets.

        Args:
            fleets: The fleets, in the order of the agents. Their `kva` is None
                where they have no inverter.
        """
        parts = []
        for fleet in fleets:
            kva: Tensor | None = getattr(fleet, "kva", None)
            p_max: Tensor = fleet.p_max_kw  # type: ignore[attr-defined]
            parts.append(torch.zeros_like(p_max) if kva is None else kva)
        return cls(torch.cat(parts))

    def kvar(self, p_kw: Tensor, share: Tensor) -> Tensor:
        """Reactive power that agents choose, kvar.

        Args:
            p_kw: What their devices draw. `[..., agent]`
            share: Share of what there is room for, in [-1, 1]; above 0 it is
                drawn, below 0 fed. `[..., agent]`
        """
        return share * available_kvar(p_kw, self.kva)

    def add_to(self, done: DeviceStep, share: Tensor) -> DeviceStep:
        """Adds the reactive power that agents choose to what their devices draw.

        Args:
            done: What the devices did. `[..., agent]`
            share: As in `kvar`.
        """
        return dataclasses.replace(done, q_kvar=done.q_kvar + self.kvar(done.p_kw, share))

"""What the core carries from step to step."""

from __future__ import annotations

import dataclasses

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class State:
    """State of a batch of scenario-days, all at the same time of day.

    Attributes:
        step: Steps taken since midnight.
        days: Index of each scenario's day in the scenario set, int64. `[batch]`
        devices: State of each fleet. `[batch, device, entry]` each, float32
        v_measured_pu: Voltage magnitude at every load terminal, measured at
            the step before, per unit of its rated voltage, float32.
            `[batch, terminal]`
        is_failed: Whether a power flow of the day has failed to converge; the
            day's figures are then not to be used. `[batch]`, bool
        taps: Position of every regulator, int64, where they are alive; None
            where they are fixed. `[batch, regulator]`
        capacitors: What is on of the switched capacitors, bool, likewise.
            `[batch, capacitor]`
    """

    step: int
    days: Tensor
    devices: tuple[Tensor, ...]
    v_measured_pu: Tensor
    is_failed: Tensor
    taps: Tensor | None = None
    capacitors: Tensor | None = None

    def detach(self) -> State:
        """Returns the same state, cut from the gradient."""
        return dataclasses.replace(
            self,
            devices=tuple(device.detach() for device in self.devices),
            v_measured_pu=self.v_measured_pu.detach(),
        )

"""The steps that a dispatch problem looks at."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from gradmap.envs.devices.base import Surroundings
from gradmap.feeders.errors import raise_faults


@dataclasses.dataclass(frozen=True)
class Horizon:
    """Prices and weather of the steps to come.

    Attributes:
        tariff_usd_per_kwh: Price of energy. `[batch, time]`
        temp_outdoor_degc: Outdoor temperature. `[batch, time]`
        refill_usd_per_kwh: Value of what a device holds at the end.
        dt_hours: Length of a step.
        is_day_end: Whether the last step is the day's last. Heat that is left
            is worth what the last step's weather makes of it then, as in the
            environment; else what the mean weather of the horizon does.

    Raises:
        GradmapError: If the shapes differ or there is no step.
    """

    tariff_usd_per_kwh: Tensor
    temp_outdoor_degc: Tensor
    refill_usd_per_kwh: float
    dt_hours: float
    is_day_end: bool = True
    hour: Tensor | None = None
    sun_pu: Tensor | None = None

    def __post_init__(self) -> None:
        faults = []
        tariff, temp = tuple(self.tariff_usd_per_kwh.shape), tuple(self.temp_outdoor_degc.shape)
        if len(tariff) != 2 or 0 in tariff:
            faults.append(f"tariff has shape {tariff}, expected [batch, time], not empty")
        if temp != tariff:
            faults.append(f"temperature has shape {temp}, the tariff {tariff}; expected the same")
        if not self.dt_hours > 0:
            faults.append(f"dt_hours is {self.dt_hours}, expected more than 0")
        raise_faults("dispatch horizon", faults)

    def surroundings(self) -> Surroundings:
        """What its steps bring to the devices, float64, on the CPU. `[batch, time, 1]`"""

        def column(x: Tensor) -> Tensor:
            return x.detach().cpu().double().unsqueeze(-1)

        return Surroundings(
            column(self.tariff_usd_per_kwh),
            column(self.temp_outdoor_degc),
            self.refill_usd_per_kwh,
            self.dt_hours,
            False,
            None if self.hour is None else column(self.hour),
            None if self.sun_pu is None else column(self.sun_pu),
        )

    @property
    def num_steps(self) -> int:
        """Number of steps."""
        return self.tariff_usd_per_kwh.shape[1]

"""Forecasts of base load, sun and temperature from what is known at the time.

The climatology is that of the *training* days: a mean over those of the same
season, for load also of the same kind of day (working day or weekend). It is
corrected by what the sites measure now: today's deviation from the mean fades
with the lead time as it did, on average, on the training days. Nothing of the
day that is forecast is used but its date and the measurements given.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gradmap.envs.scenarios.model import ScenarioSet
from gradmap.envs.scenarios.splits import is_weekend
from gradmap.feeders.errors import GradmapError

SEASON_DAYS = 15.0
"""Standard deviation of the weight by distance in the calendar: about a month."""

YEAR_DAYS = 366.0

DAYLIGHT_SHARE = 0.1
"""Share of the day's highest mean sun from which a measurement tells how clear
it is; near dawn and dusk the ratio of two small numbers says nothing."""

CLEAREST = 3.0
"""Largest ratio of measured to mean sun that is believed."""


@dataclasses.dataclass(frozen=True)
class Forecast:
    """The next steps as they are expected, the first of them as measured.

    Attributes:
        base_p_kw: Active power of the base load. `[batch, time, terminal]`
        pv_kw: Photovoltaic generation. `[batch, time, terminal]`
        temp_outdoor_degc: Outdoor temperature. `[batch, time]`
    """

    base_p_kw: Tensor
    pv_kw: Tensor
    temp_outdoor_degc: Tensor


class Forecaster:
    """Forecasts for days of a scenario set.

    Args:
        scenarios: The set; of its values only those of the training days are
            looked at.
        device: Torch device of the forecasts.

    Raises:
        GradmapError: If the set has no training days.
    """

    def __init__(self, scenarios: ScenarioSet, device: torch.device) -> None:
        train = scenarios.days("train")
        if not len(train):
            raise GradmapError(
                "these scenarios have no training days to forecast from; give some, or build the "
                "controller on scenarios that have them"
            )
        self._train_dates = [scenarios.date[day] for day in train]
        self._dates = scenarios.date
        self._device = device

        def tensor(array: npt.NDArray[Any]) -> Tensor:
            return torch.tensor(array[train], dtype=torch.float32, device=device)

        self._load = tensor(scenarios.base_p_kw)
        self._pv = tensor(scenarios.pv_kw)
        self._temp = tensor(scenarios.temp_outdoor_degc)
        self._fit()

    def reset(self, days: Tensor) -> None:
        """Begins a batch of days: takes the mean of their season.

        Args:
            days: Index of each day; only its date is used. `[batch]`
        """
        self._mean = self._climatology([self._dates[day] for day in days.tolist()])

    def predict(
        self, step: int, num_steps: int, base_p_kw: Tensor, pv_kw: Tensor, temp_outdoor_degc: Tensor
    ) -> Forecast:
        """Forecasts the steps from now on, the first as measured.

        Args:
            step: The step now.
            num_steps: How many steps, this one included; not beyond the day.
            base_p_kw: Base load now, NaN where nobody measures. `[batch, terminal]`
            pv_kw: Photovoltaic generation now, likewise. `[batch, terminal]`
            temp_outdoor_degc: Outdoor temperature now. `[batch]`

        Returns:
            The forecast, float32.
        """
        ahead = slice(step, step + num_steps)
        mean = Forecast(*(value[:, ahead] for value in vars(self._mean).values()))
        load_gain, temp_gain, pv_gain = (gain[:num_steps] for gain in self._gains)
        # Where nobody measures, load is off by as much as it is on the whole.
        load_now = mean.base_p_kw[:, 0]
        load_now = torch.where(base_p_kw.isnan(), load_now * _ratio(base_p_kw, load_now), base_p_kw)
        load = mean.base_p_kw + load_gain[:, None] * (load_now - mean.base_p_kw[:, 0]).unsqueeze(1)
        temp = mean.temp_outdoor_degc + temp_gain * (
            temp_outdoor_degc - mean.temp_outdoor_degc[:, 0]
        ).unsqueeze(1)
        clear = self._clearness(step, pv_kw).unsqueeze(1)
        sun = mean.pv_kw * (1.0 + pv_gain[:, None] * (clear - 1.0)).clamp_min(0.0)
        sun[:, 0] = torch.where(pv_kw.isnan(), mean.pv_kw[:, 0] * clear[:, 0], pv_kw)
        return Forecast(load, sun, temp)

    def _clearness(self, step: int, pv_kw: Tensor) -> Tensor:
        """Measured over mean sun of the whole feeder; 1 in the dark. `[batch, 1]`"""
        mean = self._mean.pv_kw
        is_day = mean[:, step].sum(-1) > DAYLIGHT_SHARE * mean.sum(-1).amax(-1)
        ratio = _ratio(pv_kw, mean[:, step]).clamp_max(CLEAREST)
        return torch.where(is_day.unsqueeze(-1), ratio, 1.0)

    def _climatology(self, dates: list[str]) -> Forecast:
        """Means over the training days, each day itself left out of its own mean."""
        train = self._train_dates
        number = _day_of_year(dates)[:, None] - _day_of_year(train)[None, :]
        gap = np.minimum(np.abs(number), YEAR_DAYS - np.abs(number))
        season = np.exp(-0.5 * (gap / SEASON_DAYS) ** 2)
        season *= np.array([[a != b for b in train] for a in dates])
        alike = np.array([[is_weekend(a) == is_weekend(b) for b in train] for a in dates])

        def weights(values: npt.NDArray[Any]) -> Tensor:
            total = np.maximum(values.sum(1, keepdims=True), 1e-30)
            return torch.tensor(values / total, dtype=torch.float32, device=self._device)

        # The little that unlike days weigh decides only where there are no others.
        by_load, by_sun = weights(season * (alike + 1e-6)), weights(season)
        return Forecast(
            torch.einsum("bd,dts->bts", by_load, self._load),
            torch.einsum("bd,dts->bts", by_sun, self._pv),
            by_sun @ self._temp,
        )

    def _fit(self) -> None:
        """Fits by least squares what is left of a deviation after each lead time."""
        self._mean = self._climatology(self._train_dates)
        load = self._load - self._mean.base_p_kw
        temp = self._temp - self._mean.temp_outdoor_degc
        pv = (self._pv - self._mean.pv_kw).sum(-1)
        mean = self._mean.pv_kw.sum(-1)
        steps = range(temp.shape[1])
        clear = torch.cat([self._clearness(step, self._pv[:, step]) for step in steps], dim=1) - 1.0

        def gains(now: list[Tensor], then: list[Tensor]) -> Tensor:
            pairs = zip(now, then, strict=True)
            parts = [(x * y).sum() / (x * x).sum().clamp_min(1e-12) for x, y in pairs]
            return torch.stack(parts).clamp(0.0, 1.0)

        last = temp.shape[1]
        self._gains = (
            gains([load[:, : last - k] for k in steps], [load[:, k:] for k in steps]),
            gains([temp[:, : last - k] for k in steps], [temp[:, k:] for k in steps]),
            gains([clear[:, : last - k] * mean[:, k:] for k in steps], [pv[:, k:] for k in steps]),
        )


def _ratio(measured: Tensor, mean: Tensor) -> Tensor:
    """Sum of what is measured over the sum of the means there; 1 without any. `[batch, 1]`"""
    known = torch.where(measured.isnan(), 0.0, mean).sum(-1, keepdim=True)
    return torch.where(known > 0, measured.nansum(-1, keepdim=True) / known, 1.0)


def _day_of_year(dates: list[str]) -> npt.NDArray[Any]:
    days = [datetime.date.fromisoformat(date).timetuple().tm_yday for date in dates]
    return np.array(days, dtype=np.float64)

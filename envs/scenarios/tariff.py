"""A time-of-use retail tariff that moves with the wholesale market.

Levels in $/kWh, by the local clock. The shape is that of tariffs now offered
where there is much sun: a cheap night, a dear evening on working days, and a
cheap noon in the sunny half of the year. The levels are round figures of our
own, about those of North American time-of-use plans, not any one supplier's.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np

from gradmap.envs.scenarios.noise import (
    FloatArray,
    autoregressive,
    calendar_days,
    smooth,
)

NIGHT = 0.15  # 22 to 6 h
NOON = 0.14  # 11 to 15 h, April to September
DAY = 0.22  # all other hours; the evening of Saturday and Sunday too
EVENING = 0.30  # 17 to 21 h, Monday to Friday

# Within a level the price still follows the market: it dips in the middle of
# the night and at a sunny noon, and peaks in the middle of the evening.
# (hour, width in hours, share of the price)
NIGHT_DIP = (3.0, 1.5, -0.15)
NOON_DIP = (13.0, 1.2, -0.15)
EVENING_PEAK = (19.0, 1.2, 0.10)

# A factor on the whole day, log-normal, so that the price stays positive.
WHOLESALE_STD = 0.10
WHOLESALE_PERSISTENCE = 0.8
RIPPLE_STD = 0.02


def model_tariff(days: Sequence[datetime.date], rng: np.random.Generator) -> FloatArray:
    """Draws the price of energy, $/kWh, always positive. `[day, 96]`

    Args:
        days: The days, in order. `[day]`
        rng: Source of the wholesale factor and of the ripple.
    """
    time = calendar_days(days)
    last = int(time.max())
    wholesale = autoregressive(rng, last + 1, WHOLESALE_STD, WHOLESALE_PERSISTENCE)
    ripple = smooth(rng, time, RIPPLE_STD, every_hours=3.0)
    factor: FloatArray = np.exp(wholesale[time.astype(int)] + ripple)
    return levels(days) * factor


def levels(days: Sequence[datetime.date]) -> FloatArray:
    """Returns the tariff before any noise, $/kWh. `[day, 96]`

    Public holidays count as the weekday that they fall on.

    Args:
        days: The days. `[day]`
    """
    clock = np.arange(96) / 4.0 + 0.125
    hour = np.arange(96) // 4
    sunny = np.array([4 <= day.month <= 9 for day in days])[:, None]
    working = np.array([day.weekday() < 5 for day in days])[:, None]
    price = np.full((len(days), 96), DAY)
    price[:, (hour < 6) | (hour >= 22)] = NIGHT
    price = np.where(sunny & (hour >= 11) & (hour < 15), NOON, price)
    price = np.where(working & (hour >= 17) & (hour < 21), EVENING, price)
    swing = _bump(clock, NIGHT_DIP) + _bump(clock, EVENING_PEAK)
    factor: FloatArray = 1.0 + swing + np.where(sunny, _bump(clock, NOON_DIP), 0.0)
    return price * factor


def _bump(clock: FloatArray, shape: tuple[float, float, float]) -> FloatArray:
    hour, width, height = shape
    return height * np.exp(-(((clock - hour) / width) ** 2))

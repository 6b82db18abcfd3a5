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

NIGHT = 0.12  # 22 to 6 h
NOON = 0.10  # 11 to 15 h, April to September
DAY = 0.22  # all other hours; the evening of Saturday and Sunday too
EVENING = 0.38  # 17 to 21 h, Monday to Friday

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
    hour = np.arange(96) // 4
    sunny = np.array([4 <= day.month <= 9 for day in days])[:, None]
    working = np.array([day.weekday() < 5 for day in days])[:, None]
    price = np.full((len(days), 96), DAY)
    price[:, (hour < 6) | (hour >= 22)] = NIGHT
    price = np.where(sunny & (hour >= 11) & (hour < 15), NOON, price)
    return np.where(working & (hour >= 17) & (hour < 21), EVENING, price)

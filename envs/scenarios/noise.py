"""Seeded noise on a calendar, for the weather and the tariff."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gradmap.envs.scenarios.config import QUARTERS

FloatArray = npt.NDArray[np.float64]


def calendar_days(days: Sequence[datetime.date]) -> FloatArray:
    """Returns the middle of every quarter hour, in days since New Year. `[day, 96]`

    Counted from midnight before 1 January of the first day's year, so that
    days that were left out leave a gap and not a jump.

    Args:
        days: The days. `[day]`
    """
    origin = datetime.date(min(days).year, 1, 1)
    number = np.array([(day - origin).days for day in days], dtype=np.float64)
    return number[:, None] + (np.arange(QUARTERS) + 0.5) / QUARTERS


def autoregressive(
    rng: np.random.Generator, count: int, std: float, persistence: float
) -> FloatArray:
    """Draws a stationary first-order autoregressive series. `[count]`

    Args:
        rng: Source of the draw.
        count: Number of values.
        std: Standard deviation of every value.
        persistence: Correlation of a value with the next.
    """
    series = std * rng.standard_normal(count)
    innovation = math.sqrt(1.0 - persistence**2)
    for i in range(1, count):
        series[i] = persistence * series[i - 1] + innovation * series[i]
    return series


def smooth(
    rng: np.random.Generator, time: FloatArray, std: float, every_hours: float
) -> FloatArray:
    """Draws independent knots and joins them by straight lines.

    Args:
        rng: Source of the draw.
        time: Where to read the lines, in days from 0. Any shape.
        std: Standard deviation of a knot.
        every_hours: Distance of the knots, hours.

    Returns:
        The values, in the shape of `time`.
    """
    knots = np.arange(0.0, math.ceil(time.max()) + 1.0, every_hours / 24.0)
    return np.interp(time, knots, std * rng.standard_normal(len(knots)))

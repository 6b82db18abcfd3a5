"""Outdoor temperature of a Central European year, modelled and seeded.

The measured profiles are German but come without weather. This model is
consistent with their calendar: a yearly and a daily wave, spells of warm and
cold days, and a wider daily swing on the days on which the measured
photovoltaics say that the sun shone. It makes no claim to be the true 2016.
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

# German area means of 1991-2020 (Deutscher Wetterdienst): 9.3 degC over the
# year, about 1 degC in January and 18 degC in July.
MEAN_DEGC = 9.3
YEARLY_WAVE_DEGC = 8.7
COLDEST_DAY = 19.0  # days since New Year: about 20 January

# Half of the daily swing, winter and summer, on a day of average sunshine.
DAILY_WAVE_DEGC = (2.0, 5.0)
WARMEST_HOUR = 15.0

# Weather systems take some days to pass: a correlation of 0.75 from one day
# to the next halves a spell in two and a half days.
SPELL_STD_DEGC = 4.0
SPELL_PERSISTENCE = 0.75
HOURLY_STD_DEGC = 0.4


def model_temperature(
    days: Sequence[datetime.date], solar: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Draws the outdoor temperature, degC. `[day, 96]`

    Args:
        days: The days, in order. `[day]`
        solar: Generation on each day in any unit, to tell sun from cloud. `[day]`
        rng: Source of the spells and of the small noise.
    """
    time = calendar_days(days)
    season = -np.cos(2 * np.pi * (time - COLDEST_DAY) / 366)  # -1 in winter, 1 in summer
    spells = autoregressive(rng, int(time.max()) + 1, SPELL_STD_DEGC, SPELL_PERSISTENCE)
    noon = np.arange(len(spells)) + 0.5
    # Read between the noons, so that no day starts with a jump at midnight.
    anomaly = np.interp(time, noon, spells)
    sunny = np.interp(time, time[:, 48], 0.5 + clearness(days, solar))
    low, high = DAILY_WAVE_DEGC
    swing = sunny * (low + high + (high - low) * season) / 2
    angle = 2 * np.pi * (24 * (time % 1) - WARMEST_HOUR) / 24
    # The second harmonic makes the afternoon peak sharper than the night.
    daily = (np.cos(angle) + 0.2 * np.cos(2 * angle)) / 1.2
    noise = smooth(rng, time, HOURLY_STD_DEGC, every_hours=1.0)
    return MEAN_DEGC + YEARLY_WAVE_DEGC * season + anomaly + swing * daily + noise


def clearness(days: Sequence[datetime.date], solar: FloatArray) -> FloatArray:
    """Returns each day's sun as a share of the best day of its month. `[day]`

    Args:
        days: The days. `[day]`
        solar: Generation on each day, in any unit. `[day]`
    """
    month = np.array([(day.year, day.month) for day in days])
    best = [solar[(month == own).all(axis=1)].max() for own in month]
    return solar / np.maximum(best, np.finfo(float).tiny)

from __future__ import annotations

import datetime

import numpy as np
import pytest

from gradmap.envs.scenarios.model import ScenarioSet
from gradmap.envs.scenarios.noise import autoregressive, calendar_days, smooth
from gradmap.envs.scenarios.profiles import load_year
from gradmap.envs.scenarios.tariff import levels, model_tariff
from gradmap.envs.scenarios.weather import clearness, model_temperature


def _month(scenarios: ScenarioSet) -> np.ndarray:
    return np.array([int(date[5:7]) for date in scenarios.date])


def test_temperature_is_central_european(scenarios: ScenarioSet) -> None:
    temp, month = scenarios.temp_outdoor_degc, _month(scenarios)
    winter, summer = temp[np.isin(month, (12, 1, 2))], temp[np.isin(month, (6, 7, 8))]
    assert -2 < winter.mean() < 5
    assert 15 < summer.mean() < 20
    assert -25 < temp.min() < -3
    assert 27 < temp.max() < 40
    assert np.ptp(summer, axis=1).mean() > 1.5 * np.ptp(winter, axis=1).mean()
    assert 26 <= summer.mean(axis=0).argmax() <= 34  # warmest about 15 h


def test_temperature_does_not_jump_at_midnight(scenarios: ScenarioSet) -> None:
    temp = scenarios.temp_outdoor_degc
    follows = np.diff([datetime.date.fromisoformat(d).toordinal() for d in scenarios.date]) == 1
    midnight = np.abs(temp[1:, 0] - temp[:-1, -1])[follows]
    assert midnight.max() < 2 * np.abs(np.diff(temp, axis=1)).max()
    assert midnight.mean() < 1.0


def test_sunny_days_swing_more() -> None:
    year = load_year()
    sun = year.solar.mean(axis=(1, 2), dtype=np.float64)
    share = clearness(year.day, sun)
    assert share.max() == 1.0
    assert share.min() >= 0.0
    temp = model_temperature(year.day, sun, np.random.default_rng(0))
    assert np.corrcoef(share, np.ptp(temp, axis=1))[0, 1] > 0.4
    dark = model_temperature(year.day, np.zeros(364), np.random.default_rng(0))
    assert np.isfinite(dark).all()


def test_spells_have_the_stated_spread_and_memory() -> None:
    series = autoregressive(np.random.default_rng(0), 20000, 4.0, 0.75)
    assert abs(series.std() - 4.0) < 0.2
    assert abs(np.corrcoef(series[1:], series[:-1])[0, 1] - 0.75) < 0.02


def test_smooth_noise_reaches_over_the_gap() -> None:
    days = (datetime.date(2016, 3, 26), datetime.date(2016, 3, 28))
    time = calendar_days(days)
    assert time[1, 0] - time[0, 0] == 2.0
    values = smooth(np.random.default_rng(0), time, 1.0, every_hours=6.0)
    assert values.shape == (2, 96)
    assert np.abs(np.diff(values, axis=1)).max() < 0.3


# Level in $/kWh at some hours, and what the dips and the peak make of it there,
# a Gaussian of the hour's first quarter: -15 % at 3 and 13 h, +10 % at 19 h.
WINTER = {
    0: 0.15,
    3: 0.15 * 0.851,
    5: 0.15,
    7: 0.22,
    13: 0.22,
    17: 0.30,
    19: 0.30 * 1.099,
    23: 0.15,
}
SUMMER = {9: 0.22, 11: 0.14, 13: 0.14 * 0.852, 15: 0.22, 17: 0.30, 19: 0.30 * 1.099}
SATURDAY = {13: 0.14 * 0.852, 17: 0.22, 19: 0.22 * 1.099}


def test_tariff_levels_follow_the_calendar() -> None:
    days = [datetime.date(2016, 1, 13), datetime.date(2016, 7, 13), datetime.date(2016, 7, 16)]
    for price, expected in zip(levels(days)[:, ::4], (WINTER, SUMMER, SATURDAY), strict=True):
        # Dip and peak reach an hour or two beyond their middle.
        assert price[list(expected)] == pytest.approx(list(expected.values()), rel=0.035)
        middles = [hour for hour in expected if hour in (3, 13, 19)]
        assert price[middles] == pytest.approx([expected[h] for h in middles], rel=2e-3)


def test_prices_dip_at_night_and_noon_and_peak_in_the_evening() -> None:
    summer = levels([datetime.date(2016, 7, 13)])[0]
    hours = np.arange(96) / 4.0
    for first, last, pick, middle in (
        (0, 6, np.argmin, 3),
        (11, 15, np.argmin, 13),
        (17, 21, np.argmax, 19),
    ):
        inside = np.flatnonzero((hours >= first) & (hours < last))
        assert abs(hours[inside[pick(summer[inside])]] - middle) <= 0.25
    night, noon, day, evening = (
        summer[(hours >= a) & (hours < b)] for a, b in ((0, 6), (11, 15), (6, 11), (17, 21))
    )
    assert max(night.max(), noon.max()) < day.min() <= day.max() < evening.min()


def test_tariff_moves_with_the_wholesale_market() -> None:
    days = load_year().day
    factor = model_tariff(days, np.random.default_rng(3)) / levels(days)
    assert factor.min() > 0.5
    daily = np.log(factor).mean(axis=1)
    assert 0.06 < daily.std() < 0.16
    assert np.corrcoef(daily[1:], daily[:-1])[0, 1] > 0.6
    assert 0.005 < np.log(factor).std(axis=1).mean() < 0.03


def test_tariff_stays_positive(scenarios: ScenarioSet) -> None:
    assert scenarios.tariff_usd_per_kwh.min() > 0.05
    assert scenarios.tariff_usd_per_kwh.max() < 0.7

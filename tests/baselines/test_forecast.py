"""Forecasts: the season's mean, corrected by what is measured now, and nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from gradmap.baselines.forecast import Forecaster
from gradmap.feeders.errors import GradmapError

CPU = torch.device("cpu")


def measured(scenarios, days, step):
    return tuple(
        torch.tensor(getattr(scenarios, name)[days, step])
        for name in ("base_p_kw", "pv_kw", "temp_outdoor_degc")
    )


@pytest.fixture(scope="module")
def days(few_days):
    return torch.tensor(few_days.days("test"))


@pytest.fixture
def forecaster(few_days, days):
    made = Forecaster(few_days, CPU)
    made.reset(days)
    return made


def test_the_step_now_is_as_measured(few_days, days, forecaster):
    load, sun, temp = measured(few_days, days, 24)
    found = forecaster.predict(24, 10, load, sun, temp)
    assert found.base_p_kw.shape == (2, 10, few_days.num_terminals)
    assert torch.allclose(found.base_p_kw[:, 0], load, atol=1e-4)
    assert torch.allclose(found.pv_kw[:, 0], sun, atol=1e-4)
    assert torch.allclose(found.temp_outdoor_degc[:, 0], temp, atol=1e-4)


def test_nothing_of_the_day_is_used_but_its_date(few_days, days, forecaster):
    """All days held out are replaced by noise; the forecasts stay, to the bit."""
    noise = np.random.default_rng(0)
    held_out = [i for i, split in enumerate(few_days.split) if split != "train"]
    changed = {}
    for name in ("base_p_kw", "pv_kw", "temp_outdoor_degc", "tariff_usd_per_kwh"):
        values = getattr(few_days, name).copy()
        values[held_out] = noise.uniform(0.0, 50.0, values[held_out].shape)
        changed[name] = values
    other = Forecaster(dataclasses.replace(few_days, **changed), CPU)
    other.reset(days)
    for step in (0, 20, 40):
        now = measured(few_days, days, step)
        pairs = zip(
            vars(forecaster.predict(step, 8, *now)).values(),
            vars(other.predict(step, 8, *now)).values(),
            strict=True,
        )
        assert all(torch.equal(a, b) for a, b in pairs)


def test_a_measurement_counts_less_the_longer_ago(few_days, days, forecaster):
    load, sun, temp = measured(few_days, days, 24)
    usual = forecaster.predict(24, 24, load, sun, temp)
    more = forecaster.predict(24, 24, load + 10.0, 2.0 * sun + 1.0, temp + 5.0)
    rise = (more.base_p_kw - usual.base_p_kw).mean((0, 2))
    assert rise[0].item() == pytest.approx(10.0, rel=1e-3)
    assert 0.0 <= rise[12] < rise[1] < 10.0
    warmer = (more.temp_outdoor_degc - usual.temp_outdoor_degc).mean(0)
    assert warmer[0].item() == pytest.approx(5.0, rel=1e-3)
    assert warmer.min() >= 0.0
    assert (more.pv_kw >= usual.pv_kw - 1e-4).all()


def test_midnight_says_nothing_of_the_sun(few_days, days, forecaster):
    load, sun, temp = measured(few_days, days, 0)
    dark = forecaster.predict(0, 48, load, sun, temp)
    lit = forecaster.predict(0, 48, load, sun + 7.0, temp)
    assert torch.equal(dark.pv_kw[:, 1:], lit.pv_kw[:, 1:])


def test_terminals_without_a_meter_follow_the_others(few_days, days, forecaster):
    load, sun, temp = measured(few_days, days, 24)
    seen = torch.arange(few_days.num_terminals) % 2 == 0
    part = torch.where(seen, load, torch.nan), torch.where(seen, sun, torch.nan)
    found = forecaster.predict(24, 6, *part, temp)
    assert all(value.isfinite().all() for value in vars(found).values())
    assert torch.allclose(found.base_p_kw[:, 0, seen], load[:, seen], atol=1e-4)
    twice = forecaster.predict(24, 6, 2.0 * part[0], part[1], temp)
    hidden = twice.base_p_kw[:, 0, ~seen] / found.base_p_kw[:, 0, ~seen]
    assert torch.allclose(hidden, torch.tensor(2.0), rtol=1e-3)


def test_nothing_is_measured_at_all(few_days, days, forecaster):
    nothing = torch.full((2, few_days.num_terminals), torch.nan)
    found = forecaster.predict(10, 6, nothing, nothing, torch.zeros(2))
    assert all(value.isfinite().all() for value in vars(found).values())


def test_seasons_differ(few_days):
    """The first training day is in January, the third in summer."""
    made = Forecaster(few_days, CPU)
    made.reset(torch.tensor(few_days.days("train")[[0, 2]]))
    zero = torch.zeros(2, few_days.num_terminals)
    winter, summer = made.predict(0, 48, zero, zero, torch.zeros(2)).pv_kw.sum((1, 2))
    assert summer > winter


def test_without_training_days_there_is_nothing_to_forecast_from(few_days):
    with pytest.raises(GradmapError, match="no training days"):
        Forecaster(few_days.subset(few_days.days("test")), CPU)

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable

import numpy as np
import pytest

from gradmap.envs.scenarios.base_load import draw_kinds, shifted_days
from gradmap.envs.scenarios.build import build_scenarios
from gradmap.envs.scenarios.model import PER_STEP, PER_TERMINAL, ScenarioConfig, ScenarioSet
from gradmap.envs.scenarios.profiles import load_year
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import Feeder


def _same(one: ScenarioSet, other: ScenarioSet) -> dict[str, bool]:
    names = PER_TERMINAL + PER_STEP
    return {name: np.array_equal(getattr(one, name), getattr(other, name)) for name in names}


def test_a_year_without_the_days_of_the_clock(scenarios: ScenarioSet, feeder: Feeder) -> None:
    assert scenarios.base_p_kw.shape == (364, 48, 20)
    assert scenarios.date[0] == "2016-01-01"
    assert scenarios.date[-1] == "2016-12-31"
    assert not {"2016-03-27", "2016-10-30"} & set(scenarios.date)
    assert scenarios.terminal_names == feeder.terminals.name
    assert scenarios.dt_hours == 0.5


def test_same_seed_same_set_and_streams_are_apart(scenarios: ScenarioSet, feeder: Feeder) -> None:
    assert all(_same(scenarios, build_scenarios(feeder, ScenarioConfig())).values())
    other = build_scenarios(feeder, ScenarioConfig(seed=1))
    assert not any(_same(scenarios, other).values())
    assert other.split == scenarios.split
    more_sun = _same(scenarios, build_scenarios(feeder, ScenarioConfig(pv_penetration=0.8)))
    assert [name for name, same in more_sun.items() if not same] == ["pv_kw"]
    farms = ScenarioConfig(household_share=0.0, agricultural_share=0.8)
    only_load = _same(scenarios, build_scenarios(feeder, farms))
    assert [name for name, same in only_load.items() if not same] == ["base_p_kw", "base_q_kvar"]


def test_peak_is_the_rating_in_the_highest_quarter_hour(feeder: Feeder) -> None:
    config = ScenarioConfig(steps_per_day=96, base_load_scale=0.7)
    fine = build_scenarios(feeder, config)
    peak = fine.base_p_kw.max(axis=(0, 1))
    np.testing.assert_allclose(peak, 0.7 * feeder.terminals.p_kw, rtol=1e-5)
    np.testing.assert_allclose(fine.base_q_kvar, 0.5 * fine.base_p_kw, rtol=1e-5, atol=1e-7)
    assert fine.base_p_kw.min() >= 0


def test_energy_does_not_depend_on_the_step(scenarios: ScenarioSet, feeder: Feeder) -> None:
    coarse = build_scenarios(feeder, ScenarioConfig(steps_per_day=24))
    for name in PER_TERMINAL + PER_STEP:
        halves = getattr(scenarios, name)
        pairs = halves.reshape(364, 24, 2, *halves.shape[2:]).mean(axis=2)
        np.testing.assert_allclose(getattr(coarse, name), pairs, rtol=1e-4, atol=1e-5)


def test_terminals_are_diverse_but_plausible(scenarios: ScenarioSet, feeder: Feeder) -> None:
    load = scenarios.base_p_kw.reshape(-1, 20)
    between = np.corrcoef(load.T)[np.triu_indices(20, 1)]
    assert between.max() < 0.98
    factor = load.mean(axis=0) / feeder.terminals.p_kw
    assert 0.1 < factor.min() < factor.max() < 0.6
    night, evening = scenarios.base_p_kw[:, 6:8].mean(), scenarios.base_p_kw[:, 36:40].mean()
    assert evening > 1.5 * night


def test_reactive_power_of_a_terminal_without_active(make_feeder: Callable[..., Feeder]) -> None:
    odd = build_scenarios(make_feeder([0.0, 30.0, -10.0], [5.0, 0.0, 2.0]))
    assert not odd.base_p_kw[..., 0].any()
    assert 4.0 < odd.base_q_kvar[..., 0].max() <= 5.0
    assert not odd.base_q_kvar[..., 1].any()
    assert odd.base_p_kw[..., 2].min() < -8.0
    assert not odd.pv_kw[..., [0, 2]].any()


def test_photovoltaics(scenarios: ScenarioSet, feeder: Feeder) -> None:
    peak = scenarios.pv_kw.max(axis=(0, 1))
    assert (peak > 0).sum() == 8  # 40 % of 20
    installed = 0.8 * feeder.terminals.p_kw
    assert ((peak / installed)[peak > 0] > 0.5).all()
    assert (peak <= 0.65 * installed).all()
    assert not scenarios.pv_kw[:, :6].any()
    assert not scenarios.pv_kw[:, 44:].any()
    # The same measured day for all: roofs are sunny together, if not at one site.
    daily = scenarios.pv_kw.sum(axis=1)[:, peak > 0]
    assert np.corrcoef(daily.T).min() > 0.6
    none = build_scenarios(feeder, ScenarioConfig(pv_penetration=0.0))
    assert not none.pv_kw.any()


def test_kinds_are_in_shares() -> None:
    kinds = draw_kinds(95, (0.7, 0.2, 0.1), np.random.default_rng(0))
    assert np.abs(np.bincount(kinds) - 95 * np.array([0.7, 0.2, 0.1])).max() <= 1
    only = draw_kinds(5, (0.0, 1.0, 0.0), np.random.default_rng(0))
    assert only.tolist() == [1] * 5


@pytest.mark.parametrize("weeks", [-2, -1, 1, 2])
def test_a_shift_keeps_the_weekday_and_uses_each_day_once(weeks: int) -> None:
    days = load_year().day
    source = shifted_days(days, weeks)
    assert sorted(source.tolist()) == list(range(364))
    ahead = {(days[i] - days[s]).days for i, s in enumerate(source)}
    assert all(days[i].weekday() == days[s].weekday() for i, s in enumerate(source))
    # A week further where a Sunday of the clock lies between; the rest goes round.
    assert {d for d in ahead if abs(d) < 100} <= {7 * weeks, 7 * (weeks + (1 if weeks > 0 else -1))}


def test_a_feeder_that_cannot_be_used(make_feeder: Callable[..., Feeder]) -> None:
    with pytest.raises(GradmapError, match="feeder tiny: no load terminals"):
        build_scenarios(make_feeder([], []))
    with pytest.raises(GradmapError, match="s1 has p_kw nan; terminal s0 has q_kvar inf"):
        build_scenarios(make_feeder([1.0, np.nan], [np.inf, 0.0]))


def test_95_terminals_are_quick(make_feeder: Callable[..., Feeder]) -> None:
    big = make_feeder(np.full(95, 36.0), np.full(95, 20.0))
    load_year()
    start = time.perf_counter()
    built = build_scenarios(big)
    assert time.perf_counter() - start < 1.5
    assert built.num_terminals == 95


def test_dates_are_real(scenarios: ScenarioSet) -> None:
    days = [datetime.date.fromisoformat(text) for text in scenarios.date]
    assert days == sorted(days)
    assert dataclasses.replace(scenarios).date == scenarios.date

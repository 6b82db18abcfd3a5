from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import numpy as np
import pytest
import torch

from gradmap.baselines.idle import IdlePolicy
from gradmap.envs.catalog import make
from gradmap.envs.config import TaskConfig
from gradmap.envs.core import Core, refill_price
from gradmap.envs.scenarios.model import PER_STEP, PER_TERMINAL, SPLITS, ScenarioSet
from gradmap.envs.scenarios.stress import (
    STRESSES,
    find_stress,
    offline_agents,
    stress_days,
    stressed,
)
from gradmap.feeders.errors import GradmapError

ARRAYS = PER_TERMINAL + PER_STEP
CHANGED = {
    "cold-snap": {"temp_outdoor_degc"},
    "hot-sunny": {"temp_outdoor_degc", "pv_kw"},
    "price-spike": {"tariff_usd_per_kwh"},
    "load-growth": {"base_p_kw", "base_q_kvar"},
    "offline": set(),
}


@pytest.fixture(scope="module")
def core() -> Core:
    return make(TaskConfig(num_agents=20))


def dates(scenarios: ScenarioSet, name: str) -> list[str]:
    return [scenarios.date[day] for day in stress_days(scenarios, name)]


@pytest.mark.parametrize("name", STRESSES)
def test_only_what_is_meant_changes_and_only_on_its_days(scenarios: ScenarioSet, name: str) -> None:
    found, days = stressed(scenarios, name), stress_days(scenarios, name)
    assert (found.date, found.split) == (scenarios.date, scenarios.split)
    assert {scenarios.split[day] for day in days} == {"test"}
    others = np.setdiff1d(np.arange(scenarios.num_days), days)
    for array in ARRAYS:
        before, after = getattr(scenarios, array), getattr(found, array)
        assert np.array_equal(before[others], after[others])
        assert np.array_equal(before[days], after[days]) == (array not in CHANGED[name])
    assert stress_days(found, name).tolist() == days.tolist()


def test_the_frozen_days(scenarios: ScenarioSet) -> None:
    cold, warm = dates(scenarios, "cold-snap"), dates(scenarios, "hot-sunny")
    assert len(cold) == len(warm) == 6
    assert {int(date[5:7]) for date in cold} <= {11, 12, 1, 2, 3}
    assert {int(date[5:7]) for date in warm} <= {5, 6, 7, 8}
    for name in ("price-spike", "load-growth", "offline"):
        assert stress_days(scenarios, name).tolist() == scenarios.days("test").tolist()


def test_a_snap_is_as_cold_as_it_says(scenarios: ScenarioSet) -> None:
    days = stress_days(scenarios, "cold-snap")
    temp = stressed(scenarios, "cold-snap").temp_outdoor_degc
    assert temp[days] == pytest.approx(scenarios.temp_outdoor_degc[days] - 8.0, abs=1e-5)
    assert temp.min() > -25.0
    assert stressed(scenarios, "hot-sunny").temp_outdoor_degc.max() < 42.0


def test_a_clear_sky_stays_within_what_the_roof_has_given(scenarios: ScenarioSet) -> None:
    days = stress_days(scenarios, "hot-sunny")
    pv = stressed(scenarios, "hot-sunny").pv_kw
    assert (pv[days] >= scenarios.pv_kw[days]).all()
    assert (pv[days] <= scenarios.pv_kw.max(axis=(0, 1))).all()  # below the rated power
    day = datetime.date.fromisoformat(scenarios.date[days[0]])
    near = [
        index
        for index, date in enumerate(scenarios.date)
        if abs((datetime.date.fromisoformat(date) - day).days) <= 15
    ]
    assert np.array_equal(pv[days[0]], scenarios.pv_kw[near].max(axis=0))


def test_a_spike_is_three_hours_long(scenarios: ScenarioSet) -> None:
    day = stress_days(scenarios, "price-spike")[3]
    ratio = stressed(scenarios, "price-spike").tariff_usd_per_kwh[day]
    ratio = ratio / scenarios.tariff_usd_per_kwh[day]
    assert np.flatnonzero(ratio > 1.5).tolist() == list(range(34, 40))
    assert ratio[34:40] == pytest.approx(np.full(6, 3.0))
    coarse = dataclasses.replace(
        scenarios,
        dt_hours=24.0 / 4,
        **{name: getattr(scenarios, name)[:, :4] for name in ARRAYS},
    )
    spiked = stressed(coarse, "price-spike").tariff_usd_per_kwh
    assert np.array_equal(spiked[:, :3], coarse.tariff_usd_per_kwh[:, :3])  # 0, 6 and 12 h


def test_load_grows_at_its_power_factor(scenarios: ScenarioSet) -> None:
    found, days = stressed(scenarios, "load-growth"), stress_days(scenarios, "load-growth")
    for name in ("base_p_kw", "base_q_kvar"):
        before, after = getattr(scenarios, name)[days], getattr(found, name)[days]
        assert after == pytest.approx(1.2 * before, rel=1e-5)


def test_who_is_offline_is_drawn_by_the_date() -> None:
    found = offline_agents("2016-01-29", 1000, 0.1)
    assert found.sum() == 100
    assert np.array_equal(found, offline_agents("2016-01-29", 1000, 0.1))
    assert not np.array_equal(found, offline_agents("2016-02-27", 1000, 0.1))
    # Frozen: a change here makes every published figure incomparable.
    assert np.flatnonzero(offline_agents("2016-01-29", 20, 0.1)).tolist() == [6, 7]
    assert not offline_agents("2016-01-29", 3, 0.1).any()


def test_an_unknown_stress_names_those_there_are(small: dict[str, Any]) -> None:
    with pytest.raises(GradmapError, match=r"unknown split 'storm'; expected one of train, .*"):
        find_stress("storm")
    for name in (*SPLITS, *STRESSES):
        with pytest.raises(GradmapError, match=name):
            find_stress("storm")
    none = ScenarioSet(**{**small, "split": ("train",) * 3})
    with pytest.raises(GradmapError, match="there are none; hold some out"):
        stress_days(none, "cold-snap")


@pytest.mark.parametrize("name", STRESSES)
def test_the_power_flow_converges_and_all_else_is_the_task_s(core: Core, name: str) -> None:
    from gradmap.algorithms.rollout import rollout

    other = make(TaskConfig(num_agents=20), stress=name)
    assert other.refill_usd_per_kwh == core.refill_usd_per_kwh == refill_price(core.scenarios)
    days = torch.tensor(stress_days(other.scenarios, name))
    with torch.no_grad():
        flow = rollout(other, IdlePolicy(other), days).outcome.flow
    assert bool(flow.converged.all())
    before, after = core.reset(days), other.reset(days)
    batteries = core.agent_kinds.index("battery")
    assert torch.equal(before.devices[batteries], after.devices[batteries])


def test_a_core_refuses_a_stress_that_is_not_there() -> None:
    with pytest.raises(GradmapError, match="unknown split 'storm'"):
        make(TaskConfig(num_agents=20), stress="storm")

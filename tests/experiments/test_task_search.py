"""What is said of a task that does not bind, or whose base load is outside the limits."""

from __future__ import annotations

import dataclasses

import pytest

from gradmap.experiments import task_search
from gradmap.experiments.task_check import CheckBudget, _easier, _harder, _selfish
from gradmap.experiments.task_search import (
    BaseLoad,
    Difficulty,
    base_loads,
    climb,
    own_difficulty,
    proposed_band,
)


@pytest.fixture(scope="module")
def selfish(core):
    return _selfish(core, CheckBudget(selfish_iterations=2), seed=0)


def test_the_difficulty_of_a_task_with_sizes(make_core):
    """Twenty agents have two fifths of the flexible power, which is not what difficulty says."""
    core = make_core()
    rated_kw = sum(float(fleet.p_max_kw.sum()) for fleet in core.fleets)
    own = own_difficulty(core)
    assert own == pytest.approx(rated_kw / (0.4 * 1.25 * 3490.0))
    again = make_core(difficulty=own)
    assert own_difficulty(again) == own
    assert sum(float(f.p_max_kw.sum()) for f in again.fleets) == pytest.approx(rated_kw, rel=0.03)


def test_it_climbs_until_the_task_binds(core, selfish, monkeypatch):
    days = core.days("test")[:1]
    monkeypatch.setattr(task_search, "DIFFICULTIES", (1.0, 3.0, 10.0, 11.0))
    tried = climb(core, selfish, days)
    assert [each.difficulty for each in tried] == [3.0, 10.0]
    assert tried[-1].node_step_violation_pct > tried[0].node_step_violation_pct
    assert tried[-1].node_step_violation_pct >= 5.0


def test_base_load_that_keeps_the_band_is_left_alone(core):
    (found,) = base_loads(core, core.days("test")[:1])
    assert found.keeps_band
    assert found.settings == {}
    assert proposed_band(found, core.config) == {}


def test_base_load_outside_the_band_is_changed_until_it_keeps_it(make_core):
    narrow = {"vmin_pu": 0.985, "vmax_pu": 1.03}
    core = make_core(**narrow)
    found = base_loads(core, core.days("test")[:1])
    assert not found[0].keeps_band
    assert found[1].settings == {"regulation": "quasi-static"}
    band = proposed_band(found[0], core.config)
    assert band
    wide = make_core(**{**narrow, **band})
    assert base_loads(wide, wide.days("test")[:1])[0].keeps_band


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (Difficulty(4.0, 7.25, 30.0, 0.0), "which binds: set task.difficulty 4"),
        (Difficulty(8.0, 3.0, 90.0, 2.0), "no difficulty binds: at 8 power flows fail"),
        (Difficulty(32.0, 3.0, 90.0, 0.0), "what binds here are ratings"),
    ],
)
def test_it_says_which_difficulty(last, says):
    (said,) = _harder([Difficulty(2.0, 1.0, 0.0, 0.0), last])
    assert says in said


def test_it_says_what_mends_the_base_load(core):
    found = {
        "idle": {"node_step_violation_pct": 3.0},
        "perfect-foresight": {"node_step_violation_pct": 2.0},
    }
    loads = [
        BaseLoad({}, 3.0, 0.9321, 1.04, 0.0),
        BaseLoad({"regulation": "quasi-static"}, 0.0, 0.96, 1.04, 0.0),
    ]
    now, alive, band = _easier(core.config, found, loads)
    assert "3.00 % of node-steps, between 0.932 and 1.040 p.u." in now
    assert alive.endswith("task.regulation quasi-static")
    assert band.endswith("task.vmin_pu 0.93")
    (other,) = _easier(core.config, found, [])
    assert "--rounds" in other


def test_settings_are_laid_over_a_task(core):
    given = {"regulation": "quasi-static", "scenarios.base_load_scale": 0.5}
    config = task_search._with(core.config, given)
    assert config.regulation == "quasi-static"
    assert config.scenarios.base_load_scale == 0.5
    scenarios = dataclasses.replace(config.scenarios, base_load_scale=1.25)
    assert dataclasses.replace(config, regulation="fixed", scenarios=scenarios) == core.config

"""Rows, profiles and order of a comparison that is made up."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

from gradmap.experiments.config import CompareConfig
from gradmap.experiments.judged import REFERENCE, by_day, seasons
from gradmap.experiments.metrics import QUANTITIES
from gradmap.experiments.results import Results, RunResult
from gradmap.experiments.seeds import PRICED
from gradmap.experiments.summary import (
    check_order,
    differences,
    improvement_matrix,
    profiles,
    summarise_results,
)
from gradmap.feeders.errors import GradmapError

DATES = [f"2016-{month:02}-{day:02}" for month in range(1, 13) for day in (5, 20)]
SEASON = np.array([300.0, -500.0, -900.0, -100.0])[seasons(DATES)]
TASK = "ieee123-mixed-v1"


def judgement(cost: Any, violation_pct: Any = 0.0, failures: Any = 0.0) -> dict[str, Any]:
    """A judgement whose days cost so much; a percent of node-steps is priced at 10 $."""
    zeros = np.zeros(len(DATES))
    days = {
        "cost_usd_per_day": zeros + cost,
        "violation_usd_per_day": 10.0 * (zeros + violation_pct),
        "node_step_violation_pct": zeros + violation_pct,
        "branch_step_overload_pct": zeros,
        "solver_failures": zeros + failures,
    }
    good = days["solver_failures"] == 0
    means = {name: float(own[good].mean()) for name, own in days.items()}
    metrics = {**dict.fromkeys(QUANTITIES, 0.0), **means}
    metrics |= {"days": float(good.sum()), "solver_failures": float((~good).sum())}
    metrics["violation_max_pu"] = float(np.max(violation_pct))
    own = {"metrics": metrics, "by_day": {name: each.tolist() for name, each in days.items()}}
    counters = ("train_seconds", "iterations", "env_gradients", "env_steps", "power_flow_solves")
    return {
        **dict.fromkeys(counters, 10.0),
        "iteration": 5,
        "session": {"peak_memory_mib": 100.0},
        "dates": DATES,
        "engines": {"torch": own},
    }


def run(method: str, seed: int, found: dict[str, Any] | None, status: str = "done") -> RunResult:
    folder = pathlib.Path("runs", TASK, method, f"seed-{seed}")
    return RunResult(TASK, method, seed, status, folder, {"test": found} if found else {}, [])


def make_results(*more: RunResult, bound: float | None = 8.0) -> Results:
    """GradMAP 20 to 60 $ above perfect foresight, selfish below it and in violation."""
    reference = judgement(SEASON)
    if bound is not None:
        reference["lower_bound_usd_per_day"] = (SEASON - bound).tolist()
    runs = [
        *(run("gradmap", seed, judgement(SEASON + 20.0 + 10 * seed)) for seed in range(5)),
        *(run("selfish", seed, judgement(SEASON - 50.0, 8.0 + seed)) for seed in range(5)),
        *more,
        run(REFERENCE, 0, reference),
    ]
    return Results(CompareConfig(seeds=tuple(range(5))), tuple(runs), {})


def test_a_row_a_method() -> None:
    gradmap, selfish, reference = summarise_results(make_results(), TASK)
    assert [gradmap["method"], selfish["method"], reference["method"]] == [
        "gradmap", "selfish", REFERENCE,
    ]  # fmt: skip
    mean = SEASON.mean()
    assert gradmap["cost_usd_per_day"] == pytest.approx(mean + 40.0)
    assert gradmap["cost_usd_per_day_low"] < mean + 40.0 < gradmap["cost_usd_per_day_high"]
    # Seasons are strata: alike within, so that only the seeds make a width.
    assert gradmap["cost_usd_per_day_high"] - gradmap["cost_usd_per_day_low"] < 45.0
    assert gradmap["resampled"] == "seeds and days"
    assert (gradmap["num_seeds"], gradmap["status"]) == (5, "done")
    assert gradmap["optimality_gap_pct"] == pytest.approx(100 * 40.0 / abs(mean))
    assert gradmap["optimality_gap_high_pct"] == pytest.approx(100 * 48.0 / abs(mean))
    assert selfish[PRICED] == pytest.approx(mean - 50.0 + 100.0)
    assert selfish["violation_max_pu"] == 12.0  # the largest of any seed
    assert selfish["node_step_violation_pct"] == pytest.approx(10.0)
    assert reference["resampled"] == "days"
    assert reference["optimality_gap_pct"] == pytest.approx(0.0)
    assert gradmap["train_seconds"] == 10.0
    assert gradmap["opendss_cost_usd_per_day"] is None


def test_a_method_that_failed_has_a_row_without_figures() -> None:
    lost = [run("ippo", seed, None, "failed: out of memory") for seed in (0, 1)]
    part = [run("mappo", 0, judgement(0.0)), run("mappo", 1, None, "waiting")]
    rows = {row["method"]: row for row in summarise_results(make_results(*lost, *part), TASK)}
    assert rows["ippo"]["status"] == "0 of 2 done; seed 0, 1 failed: out of memory"
    assert rows["ippo"]["num_seeds"] == 0
    assert rows["ippo"]["cost_usd_per_day"] is None
    assert rows["ippo"].keys() == rows["mappo"].keys() == rows["gradmap"].keys()
    assert rows["mappo"]["status"] == "1 of 2 done; seed 1 waiting"
    assert rows["mappo"]["cost_usd_per_day"] == 0.0


def test_a_failed_day_is_left_out_on_both_sides() -> None:
    failures = np.zeros(len(DATES))
    failures[0] = 3.0
    found = judgement(np.where(failures > 0, 1e9, SEASON + 7.0), failures=failures)
    results = make_results(run("rules", 0, found))
    row = next(row for row in summarise_results(results, TASK) if row["method"] == "rules")
    assert row["optimality_gap_pct"] == pytest.approx(100 * 7.0 / abs(SEASON.mean()))
    assert np.isnan(by_day(results, TASK, "rules", "test", PRICED)).sum() == 1
    assert profiles(results, TASK)["rules"].share[-1] == pytest.approx(23 / 24)


def test_without_a_reference_there_is_no_gap() -> None:
    whole = make_results()
    results = Results(whole.config, whole.runs[:-1], {})
    rows = summarise_results(results, TASK)
    assert {row["optimality_gap_pct"] for row in rows} == {None}
    assert {row["optimality_gap_high_pct"] for row in rows} == {None}
    assert check_order(results, TASK) == []
    # Costs are then counted from the best of the day.
    assert profiles(results, TASK)["gradmap"].share[0] == pytest.approx(0.2)
    assert summarise_results(results, TASK, "cold-snap")[0]["num_seeds"] == 0
    bare = make_results(bound=None)
    assert summarise_results(bare, TASK)[0]["optimality_gap_high_pct"] is None


def test_profiles_leave_the_reference_out() -> None:
    found = profiles(make_results(), TASK, thresholds=np.array([0.0, 35.0, 1000.0]))
    assert list(found) == ["gradmap", "selfish"]
    assert found["gradmap"].share.tolist() == pytest.approx([0.0, 0.4, 1.0])
    assert found["selfish"].share.tolist() == pytest.approx([0.0, 0.2, 1.0])
    violation = profiles(make_results(), TASK, quantity="node_step_violation_pct")
    assert violation["gradmap"].share[0] == 1.0
    assert violation["selfish"].share[0] == 0.0


def test_improvement_is_complementary() -> None:
    found = improvement_matrix(make_results(), TASK)
    assert found.methods == ("gradmap", "selfish")
    assert found.probability + found.probability.T == pytest.approx(np.ones((2, 2)))
    # 20, 30, 40, 50, 60 against 30, 40, 50, 60, 70: 15 pairs below and 4 ties of 25.
    assert found.probability[0, 1] == pytest.approx(17 / 25)
    assert found.low[0, 1] < 17 / 25 < found.high[0, 1]
    assert found.low + found.high.T == pytest.approx(np.ones((2, 2)))


def test_a_tie_holds_zero() -> None:
    alike = [run("shac", seed, judgement(SEASON + 60.0 - 10 * seed)) for seed in range(5)]
    found = differences(make_results(*alike), TASK)
    assert found["shac"].low < 0.0 < found["shac"].high
    assert found["selfish"].value == pytest.approx(-90.0)
    assert found["selfish"].high < 0.0
    assert differences(make_results(), TASK, base="mappo") == {}


def test_costs_in_order() -> None:
    assert check_order(make_results(), TASK) == []  # selfish is cheaper, and in violation


def test_costs_out_of_order_are_named() -> None:
    cost = SEASON + 5.0
    cost[3] = SEASON[3] - 9.0
    results = make_results(run("rules", 0, judgement(cost)))
    assert check_order(results, TASK) == [
        f"{DATES[3]}: lower bound {SEASON[3] - 8:.3f} $ is above Rules, seed 0, {cost[3]:.3f} $",
        f"{DATES[3]}: perfect foresight {SEASON[3]:.3f} $ is above Rules, seed 0, {cost[3]:.3f} $",
    ]
    rounding = make_results(run("rules", 0, judgement(SEASON - 0.01)), bound=0.0)
    assert check_order(rounding, TASK) == []
    high = check_order(make_results(bound=-1.0), TASK)
    assert len(high) == len(DATES)
    assert high[0].startswith(f"{DATES[0]}: lower bound ")
    assert "above Perfect foresight, seed 0" in high[0]


def test_perfect_foresight_must_keep_the_limits() -> None:
    whole = make_results()
    broken = run(REFERENCE, 0, judgement(SEASON, violation_pct=0.1))
    results = Results(whole.config, (*whole.runs[:-1], broken), {})
    assert check_order(results, TASK)[0] == f"{DATES[0]}: perfect foresight leaves the limits"


def test_runs_on_other_days_are_refused() -> None:
    other = {**judgement(0.0), "dates": DATES[::-1]}
    with pytest.raises(GradmapError, match=r"rules/seed-0 was judged on 24 test days"):
        summarise_results(make_results(run("rules", 0, other)), TASK)


def test_few_days_of_a_season_make_one_stratum() -> None:
    assert sorted(set(seasons(DATES))) == [0, 1, 2, 3]
    assert seasons(["2016-01-01", "2016-12-31", "2016-07-01"]) == [0, 0, 0]
    assert seasons([]) == []

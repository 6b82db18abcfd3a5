"""Time to the target, seed by seed."""

from __future__ import annotations

from typing import Any

import pytest

from gradmap.experiments.compare_markdown import race_table, ratio_text
from gradmap.experiments.target import race, race_from_json, race_json


def row(iteration: int, cost: float | None, violation: float | None, scale: int = 1) -> Any:
    return {
        "iteration": iteration,
        "seconds": 2.0 * iteration,
        "env_gradients": scale * iteration,
        "power_flow_solves": 10 * iteration,
        "metrics": {"cost_usd_per_day": cost, "node_step_violation_pct": violation},
    }


ROWS = {
    "gradmap": {0: [row(0, 10.0, 40.0), row(10, 104.0, 0.4), row(20, 100.0, 0.1)]},
    "slow": {0: [row(0, 10.0, 40.0), row(20, 120.0, 0.2), row(40, 104.9, 0.5, 3)]},
    "never": {0: [row(0, 50.0, 40.0), row(10, 50.0, 2.0), row(20, None, None)]},
}


def to(iteration: int, is_reached: bool = True) -> list[Any]:
    """A run that comes to the target at an iteration, or has not by then."""
    return [row(0, 500.0, 40.0), row(iteration, 100.0, 0.1 if is_reached else 9.0)]


def test_the_first_judgement_inside_both_counts() -> None:
    found = race(ROWS, 0.5, 5.0)
    assert found.cost_usd_per_day == 105.0
    assert not found.reached("never")
    assert [used.iteration for used in found.reached("gradmap")] == [10]
    assert found.needed("slow", "seconds") == 80.0
    assert found.ratio("slow", "seconds").value == 4.0
    assert found.ratio("slow", "env_gradients").value == 12.0
    assert found.ratio("gradmap", "seconds").value == 1.0
    assert found.ratio("slow", "seconds").low is None  # one seed has no interval


def test_a_run_that_never_comes_gives_a_bound() -> None:
    found = race(ROWS, 0.5, 5.0)
    ratio = found.ratio("never", "seconds")
    assert (ratio.bound, ratio.value) == (">=", 2.0)
    assert ratio_text(ratio) == "≥ 2"
    assert found.needed("never", "seconds") is None
    other = race({**ROWS, "gradmap": {0: to(30, False)}}, 0.5, 5.0).ratio("slow", "seconds")
    assert (other.bound, other.value) == ("<=", pytest.approx(4 / 3))


def test_neither_came_to_it() -> None:
    rows = {"gradmap": {0: to(10), 1: to(30, False)}, "slow": {0: to(30), 1: to(60, False)}}
    ratio = race(rows, 0.5, 5.0).ratio("slow", "seconds")
    assert (ratio.value, ratio.bound, ratio.by_seed) == (3.0, "", {0: 3.0})


def test_bounds_to_both_sides_bound_nothing() -> None:
    rows = {"gradmap": {0: to(10), 1: to(30, False)}, "slow": {0: to(30, False), 1: to(60)}}
    ratio = race(rows, 0.5, 5.0).ratio("slow", "seconds")
    assert ratio.value is None
    assert ratio_text(ratio) == "–"


def test_seeds_are_paired() -> None:
    base, factors = (10, 20, 40, 50, 30), (3, 4, 5, 4, 3)
    rows = {
        "gradmap": {seed: to(n) for seed, n in enumerate(base)},
        "slow": {seed: to(n * f) for seed, (n, f) in enumerate(zip(base, factors, strict=True))},
    }
    found = race(rows, 0.5, 5.0)
    ratio = found.ratio("slow", "power_flow_solves")
    assert ratio.by_seed == dict(enumerate(map(float, factors)))
    assert ratio.value == pytest.approx(11 / 3)  # one falls away at each end
    assert ratio.low is not None
    assert ratio.high is not None
    assert 3.0 <= ratio.low < ratio.value < ratio.high <= 5.0
    line = race_table(found).splitlines()[-1]
    assert "| 5 of 5 |" in line
    assert "3.67 (3 to " in line
    assert race_from_json(race_json(found)) == found


def test_a_method_without_gradients_has_no_ratio_in_them() -> None:
    found = race({**ROWS, "ippo": {0: [row(30, 101.0, 0.2, scale=0)]}}, 0.5, 5.0)
    assert found.ratio("ippo", "env_gradients").value is None
    assert found.ratio("slow", "env_gradients", base="ippo").value is None
    assert found.ratio("ippo", "power_flow_solves").value == 3.0
    assert found.ratio("ippo", "seconds").value == 3.0


def test_a_tighter_margin_is_reached_later_or_not() -> None:
    found = race(ROWS, 0.5, 1.0)
    assert not found.reached("slow")
    assert [used.iteration for used in found.reached("gradmap")] == [20]


def test_a_negative_cost_has_its_margin_above_it() -> None:
    rows = {"gradmap": {0: [row(5, -95.0, 0.0), row(10, -100.0, 0.0)]}}
    found = race(rows, 0.5, 5.0)
    assert found.cost_usd_per_day == -95.0
    assert [used.iteration for used in found.reached("gradmap")] == [5]


def test_no_method_so_safe() -> None:
    found = race(ROWS, 0.01, 5.0)
    assert found.cost_usd_per_day is None
    assert not any(found.reached(method) for method in ROWS)
    assert race_table(found).startswith("No method came down to 0.01 %")

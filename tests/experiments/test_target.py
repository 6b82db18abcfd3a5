"""Time to the target."""

from __future__ import annotations

from typing import Any

from gradmap.experiments.target import race


def row(iteration: int, cost: float | None, violation: float | None, scale: int = 1) -> Any:
    return {
        "iteration": iteration,
        "seconds": 2.0 * iteration,
        "env_gradients": scale * iteration,
        "power_flow_solves": 10 * iteration,
        "metrics": {"cost_usd_per_day": cost, "node_step_violation_pct": violation},
    }


ROWS = {
    "gradmap": [row(0, 10.0, 40.0), row(10, 104.0, 0.4), row(20, 100.0, 0.1)],
    "slow": [row(0, 10.0, 40.0), row(20, 120.0, 0.2), row(40, 104.9, 0.5, 3)],
    "never": [row(0, 50.0, 40.0), row(10, 50.0, 2.0), row(20, None, None)],
}


def test_the_first_judgement_inside_both_counts() -> None:
    found = race(ROWS, 0.5, 5.0)
    assert found.cost_usd_per_day == 105.0
    assert found.reached["never"] is None
    first, slow = found.reached["gradmap"], found.reached["slow"]
    assert first is not None
    assert slow is not None
    assert (first.iteration, slow.iteration) == (10, 40)
    assert found.ratio("slow", "seconds") == 4.0
    assert found.ratio("slow", "env_gradients") == 12.0
    assert found.ratio("gradmap", "seconds") == 1.0
    assert found.ratio("never", "seconds") is None


def test_a_method_without_gradients_has_no_ratio_in_them() -> None:
    found = race({**ROWS, "ippo": [row(30, 101.0, 0.2, scale=0)]}, 0.5, 5.0)
    assert found.ratio("ippo", "env_gradients") is None
    assert found.ratio("slow", "env_gradients", base="ippo") is None
    assert found.ratio("ippo", "power_flow_solves") == found.ratio("ippo", "seconds") == 3.0


def test_a_tighter_margin_is_reached_later_or_not() -> None:
    found = race(ROWS, 0.5, 1.0)
    assert found.reached["slow"] is None
    assert found.reached["gradmap"] is not None
    assert found.reached["gradmap"].iteration == 20


def test_a_negative_cost_has_its_margin_above_it() -> None:
    rows = {"gradmap": [row(5, -95.0, 0.0), row(10, -100.0, 0.0)]}
    found = race(rows, 0.5, 5.0)
    assert found.cost_usd_per_day == -95.0
    assert found.reached["gradmap"] is not None
    assert found.reached["gradmap"].iteration == 5


def test_no_method_so_safe() -> None:
    found = race(ROWS, 0.01, 5.0)
    assert found.cost_usd_per_day is None
    assert set(found.reached.values()) == {None}

"""Which columns the main table has."""

from __future__ import annotations

from typing import Any

from gradmap.experiments.compare_markdown import SHOWN, main_table


def row(**more: Any) -> dict[str, Any]:
    figures = dict.fromkeys(SHOWN, 1.0) | {"optimality_gap_high_pct": 2.0, "title": "Idle"}
    for name in ("cost_usd_per_day", "node_step_violation_pct"):
        figures |= {f"{name}_low": None, f"{name}_high": None}
    return {**figures, "family": "control", "is_decentralised": True, **more}


def test_tap_moves_are_shown_where_taps_are_alive() -> None:
    fixed = main_table([row()])
    assert "tap moves" not in fixed
    alive = main_table([row(tap_operations_per_day=193.25), row(title="Other")])
    head, _, first, second = alive.splitlines()[:4]
    assert head.rstrip(" |").endswith("tap moves a day")
    assert first.rstrip(" |").endswith("193")
    assert second.rstrip(" |").endswith("–")


def test_columns_may_be_chosen() -> None:
    head = main_table([row(tap_operations_per_day=3.0)], ("title", "cost_usd_per_day"))
    assert head.splitlines()[0].replace(" ", "") == "|method|cost,$/day|"

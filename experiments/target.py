"""Time and environment gradients that a method needs to reach a level on validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]

COMPARED = ("seconds", "env_gradients", "power_flow_solves")
"""Quantities whose ratio to GradMAP's is of interest."""


@dataclasses.dataclass(frozen=True)
class Reached:
    """When a method first came to the target.

    Attributes:
        iteration: Outer iterations, counted at a judgement.
        seconds: Training seconds.
        env_gradients: Environment gradients.
        power_flow_solves: Power flows.
        cost_usd_per_day: Cost there.
        node_step_violation_pct: Violation there.
    """

    iteration: int
    seconds: float
    env_gradients: int
    power_flow_solves: int
    cost_usd_per_day: float
    node_step_violation_pct: float


@dataclasses.dataclass(frozen=True)
class Race:
    """Who reached a target when; see `gradmap.experiments.config.Target`.

    Attributes:
        violation_pct: Most node-steps in violation, percent.
        margin_pct: Margin over the least cost, percent.
        cost_usd_per_day: Most cost; None if no method had so few violations.
        reached: By method, None for one that did not come to it.
    """

    violation_pct: float
    margin_pct: float
    cost_usd_per_day: float | None
    reached: dict[str, Reached | None]

    def ratio(self, method: str, quantity: str, base: str = "gradmap") -> float | None:
        """How many times as much of a quantity a method needed as another.

        Args:
            method: The method.
            quantity: One of `COMPARED`.
            base: The other.

        Returns:
            The ratio; None if either did not come to the target or took none
            of it: a method without environment gradients has no ratio in them.
        """
        one, other = self.reached.get(method), self.reached.get(base)
        if one is None or other is None:
            return None
        ours, theirs = getattr(one, quantity), getattr(other, quantity)
        return float(ours / theirs) if ours and theirs else None


def race(rows: Mapping[str, Rows], violation_pct: float, margin_pct: float) -> Race:
    """Finds when each method came to the target.

    Args:
        rows: Validation rows by method.
        violation_pct: Most node-steps in violation, percent.
        margin_pct: Margin over the least cost of any method at so few
            violations, percent of its size.
    """
    costs = [
        row["metrics"]["cost_usd_per_day"]
        for own in rows.values()
        for row in own
        if _violation(row) <= violation_pct
    ]
    limit = min(costs) + margin_pct / 100.0 * abs(min(costs)) if costs else None
    reached = {method: _first(own, violation_pct, limit) for method, own in rows.items()}
    return Race(violation_pct, margin_pct, limit, reached)


def _violation(row: Mapping[str, Any]) -> float:
    value = row["metrics"]["node_step_violation_pct"]
    return float("inf") if value is None else float(value)


def _first(rows: Rows, violation_pct: float, limit: float | None) -> Reached | None:
    for row in rows:
        cost = row["metrics"]["cost_usd_per_day"]
        if limit is not None and _violation(row) <= violation_pct and cost <= limit:
            return Reached(
                row["iteration"],
                row["seconds"],
                row["env_gradients"],
                row["power_flow_solves"],
                cost,
                _violation(row),
            )
    return None

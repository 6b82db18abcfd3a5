"""What each run needs to reach a level on validation days, and how that compares.

Ratios are paired by seed: two runs of one seed start from the same weights and
see the same days in the same order. A run that never comes to the level still
says something: it needs more than all that it has used. Its ratio is then a
bound, and what is made of it is called a bound too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from gradmap.experiments.statistics import interquartile_mean, stratified_bootstrap

Rows = Sequence[Mapping[str, Any]]

COMPARED = ("seconds", "env_gradients", "power_flow_solves")
"""Quantities whose ratio to GradMAP's is of interest."""

BASE = "gradmap"
"""The method whose figures the ratios are over."""

Bound = Literal["", ">=", "<="]
"""What a figure is: exact, a lower bound or an upper one."""


@dataclasses.dataclass(frozen=True)
class Used:
    """What a run had used at a judgement.

    Attributes:
        iteration: Outer iterations.
        seconds: Training seconds.
        env_gradients: Environment gradients.
        power_flow_solves: Power flows.
        is_reached: Whether it is the first judgement within the target;
            otherwise it is the last of a run that did not come to it.
    """

    iteration: int
    seconds: float
    env_gradients: int
    power_flow_solves: int
    is_reached: bool


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How many times as much a method needed as GradMAP, over seeds.

    Attributes:
        value: Interquartile mean over the seeds; None if no seed has a ratio.
        low: Lower end of its 95 % bootstrap interval over seeds; None for
            fewer than two.
        high: Upper end.
        bound: `>=` if a seed of the method did not come to the target, whose
            ratio is then at least what stands in its place; `<=` if one of
            GradMAP did not; exact otherwise.
        by_seed: Ratio of each seed that has one, bounds included.
    """

    value: float | None
    low: float | None
    high: float | None
    bound: Bound
    by_seed: dict[int, float]


@dataclasses.dataclass(frozen=True)
class Race:
    """Who reached a target when; see `gradmap.experiments.config.Target`.

    Attributes:
        violation_pct: Most node-steps in violation, percent.
        margin_pct: Margin over the least cost, percent.
        cost_usd_per_day: Most cost; None if no run had so few violations.
        used: By method and seed.
    """

    violation_pct: float
    margin_pct: float
    cost_usd_per_day: float | None
    used: dict[str, dict[int, Used]]

    def reached(self, method: str) -> list[Used]:
        """Runs of a method that came to the target.

        Args:
            method: The method.
        """
        return [used for used in self.used[method].values() if used.is_reached]

    def needed(self, method: str, quantity: str) -> float | None:
        """How much a method needed: the interquartile mean of the seeds that came to the target.

        Args:
            method: The method.
            quantity: One of `COMPARED`.
        """
        found = [getattr(used, quantity) for used in self.reached(method)]
        return float(interquartile_mean(found)) if found else None

    def ratio(self, method: str, quantity: str, base: str = BASE) -> Ratio:
        """How many times as much of a quantity a method needed as another, seed by seed.

        A seed in which neither came to the target has no ratio, and neither
        has a method that takes none of the quantity.

        Args:
            method: The method.
            quantity: One of `COMPARED`.
            base: The other.
        """
        values: dict[int, float] = {}
        bounds: set[Bound] = set()
        for seed, one in self.used.get(method, {}).items():
            other = self.used.get(base, {}).get(seed)
            if other is None or not (one.is_reached or other.is_reached):
                continue
            ours, theirs = getattr(one, quantity), getattr(other, quantity)
            if ours and theirs:
                values[seed] = float(ours / theirs)
                bounds.add("" if one.is_reached and other.is_reached else _side(one))
        # Bounds to both sides together bound nothing.
        bound = _joint(bounds)
        if not values or bound is None:
            return Ratio(None, None, None, "", values)
        found = stratified_bootstrap(np.array(list(values.values()))[:, None], resample_days=False)
        if len(values) < 2:
            return Ratio(found.value, None, None, bound, values)
        return Ratio(found.value, found.low, found.high, bound, values)


def race(rows: Mapping[str, Mapping[int, Rows]], violation_pct: float, margin_pct: float) -> Race:
    """Finds when each run came to the target.

    Args:
        rows: Validation rows by method and seed.
        violation_pct: Most node-steps in violation, percent.
        margin_pct: Margin over the least cost of any run at so few
            violations, percent of its size.
    """
    costs = [
        row["metrics"]["cost_usd_per_day"]
        for seeds in rows.values()
        for own in seeds.values()
        for row in own
        if _violation(row) <= violation_pct
    ]
    limit = min(costs) + margin_pct / 100.0 * abs(min(costs)) if costs else None
    used = {
        method: {seed: _used(own, violation_pct, limit) for seed, own in seeds.items() if own}
        for method, seeds in rows.items()
    }
    return Race(violation_pct, margin_pct, limit, used)


def race_json(found: Race) -> dict[str, Any]:
    """A race as JSON holds it, with its ratios.

    Args:
        found: The race.
    """
    ratios = {
        method: {name: dataclasses.asdict(found.ratio(method, name)) for name in COMPARED}
        for method in found.used
    }
    return {**dataclasses.asdict(found), "ratio_to_gradmap": ratios}


def race_from_json(kept: Mapping[str, Any]) -> Race:
    """Takes back what `race_json` gave.

    Args:
        kept: From `race_json`.
    """
    used = {
        method: {int(seed): Used(**each) for seed, each in seeds.items()}
        for method, seeds in kept["used"].items()
    }
    return Race(kept["violation_pct"], kept["margin_pct"], kept["cost_usd_per_day"], used)


def _side(one: Used) -> Bound:
    return "<=" if one.is_reached else ">="


def _joint(bounds: set[Bound]) -> Bound | None:
    """What a mean over bounds is; None if they go both ways."""
    sides = bounds - {""}
    return None if len(sides) > 1 else next(iter(sides), "")


def _violation(row: Mapping[str, Any]) -> float:
    value = row["metrics"]["node_step_violation_pct"]
    return float("inf") if value is None else float(value)


def _used(rows: Rows, violation_pct: float, limit: float | None) -> Used:
    hits = (
        row
        for row in rows
        if limit is not None
        and _violation(row) <= violation_pct
        and row["metrics"]["cost_usd_per_day"] <= limit
    )
    hit = next(hits, None)
    row = rows[-1] if hit is None else hit
    return Used(
        row["iteration"],
        row["seconds"],
        row["env_gradients"],
        row["power_flow_solves"],
        hit is not None,
    )

"""What a comparison has found on a task: rows of tables, profiles, who beats whom.

A figure of a table is the mean over the days of each run, then the
interquartile mean over the seeds; an interval is the 95 % bootstrap of
`gradmap.experiments.statistics` over seeds and over days within their season.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradmap.experiments.judged import (
    REFERENCE,
    check_dates,
    day_values,
    judged_dates,
    judged_runs,
    methods_by_day,
    reference_costs,
    seasons,
    stacked,
    strata_of,
)
from gradmap.experiments.metrics import QUANTITIES
from gradmap.experiments.registry import METHODS
from gradmap.experiments.results import Results, RunResult
from gradmap.experiments.seeds import PRICED
from gradmap.experiments.statistics import (
    Estimate,
    FloatArray,
    Profile,
    difference,
    interquartile_mean,
    paired_bootstrap,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
    typical_run,
)

WITH_INTERVAL = ("cost_usd_per_day", "node_step_violation_pct", PRICED)
"""Figures of a row that have `_low` and `_high` beside them."""

COUNTERS = ("train_seconds", "iterations", "env_gradients", "env_steps", "power_flow_solves")
"""What a run has used: means over the seeds."""

BY_OPENDSS = (
    "cost_usd_per_day",
    "node_step_violation_pct",
    "step_violation_pct",
    "violation_max_pu",
    "solver_failures",
)
"""Figures that a row also has as OpenDSS found them, as `opendss_...`."""

ORDER_TOLERANCE = 1e-5
"""How far costs that float32 added up may be out of order, over their size."""

ORDER_TOLERANCE_USD = 0.02
"""Likewise, $ a day, on top."""


@dataclasses.dataclass(frozen=True)
class Improvement:
    """How likely a run of one method is better than one of another.

    Attributes:
        methods: The methods.
        probability: That the row's method is better than the column's, 0 to 1;
            0.5 on the diagonal. `[method, method]`
        low: Lower end of the 95 % interval. `[method, method]`
        high: Upper end. `[method, method]`
    """

    methods: tuple[str, ...]
    probability: FloatArray
    low: FloatArray
    high: FloatArray


def summarise_results(results: Results, task: str, split: str = "test") -> list[dict[str, Any]]:
    """Builds the rows of a task's table.

    Args:
        results: The comparison.
        task: Name of the task.
        split: Days.

    Returns:
        A row a method. It has figures if `num_seeds`, the number of runs that
        were judged, is above 0: every quantity of the judgement (the
        interquartile mean over seeds; largest values the largest of all
        seeds, failures their sum), `priced_cost_usd_per_day` (cost plus
        violations at the fixed price), `_low` and `_high` of `WITH_INTERVAL`,
        `resampled` (what these speak for: with one seed only days),
        `optimality_gap_pct` (cost above perfect foresight's on the same days,
        percent of its size), `optimality_gap_high_pct` (above its lower
        bound, percent of the same), the counters of training, and
        `opendss_...`. None stands for what is not known.

    Raises:
        GradmapError: If runs were judged on different days.
    """
    check_dates(results, task, split)
    reference, bound = reference_costs(results, task, split)
    return [_row(results, task, method, split, reference, bound) for method in results.methods]


def profiles(
    results: Results,
    task: str,
    split: str = "test",
    quantity: str = PRICED,
    thresholds: FloatArray | None = None,
) -> dict[str, Profile]:
    """Performance profiles of the methods that were judged, without the reference.

    Costs are compared with the day's own: they are counted from perfect
    foresight's cost of the day; where that was not judged, as under stress,
    from the least of any run.

    Args:
        results: The comparison.
        task: Name of the task.
        split: Days.
        quantity: A quantity by day, lower being better.
        thresholds: Where, rising; 0 and 200 even ratios if left out. `[threshold]`
    """
    check_dates(results, task, split)
    values = methods_by_day(results, task, split, quantity)
    if quantity.endswith("cost_usd_per_day"):
        base, _ = reference_costs(results, task, split)
        if base is None and values:
            base = np.fmin.reduce([np.fmin.reduce(own, axis=0) for own in values.values()])
        values = {name: own - (0.0 if base is None else base) for name, own in values.items()}
    if thresholds is None:
        thresholds = _thresholds(values)
    strata = strata_of(results, task, split)
    return {
        name: performance_profile(own, thresholds, strata=strata) for name, own in values.items()
    }


def improvement_matrix(
    results: Results, task: str, split: str = "test", quantity: str = PRICED
) -> Improvement:
    """Probability of improvement of each method over each other, without the reference.

    Args:
        results: The comparison.
        task: Name of the task.
        split: Days.
        quantity: A quantity by day, lower being better.
    """
    check_dates(results, task, split)
    values = methods_by_day(results, task, split, quantity)
    strata = strata_of(results, task, split)
    found = np.full((3, len(values), len(values)), 0.5)
    for i, x in enumerate(values.values()):
        for j, y in enumerate(values.values()):
            if i < j:
                own = probability_of_improvement(x, y, strata=strata)
                found[:, i, j] = own.value, own.low, own.high
                found[:, j, i] = 1.0 - own.value, 1.0 - own.high, 1.0 - own.low
    return Improvement(tuple(values), *found)


def differences(
    results: Results,
    task: str,
    base: str = "gradmap",
    split: str = "test",
    quantity: str = "cost_usd_per_day",
) -> dict[str, Estimate]:
    """How far each method is above a base, days paired: tied if the interval holds 0.

    Args:
        results: The comparison.
        task: Name of the task.
        base: Method whose figure is taken off.
        split: Days.
        quantity: A quantity by day.

    Returns:
        By method, those that were judged; nothing if the base was not.
    """
    check_dates(results, task, split)
    values = methods_by_day(results, task, split, quantity)
    strata = strata_of(results, task, split)
    return {
        name: paired_bootstrap(own, values[base], difference, strata=strata)
        for name, own in values.items()
        if base in values and name != base
    }


def check_order(results: Results, task: str, split: str = "test") -> list[str]:
    """Looks for days on which a cost is out of order.

    On every day: lower bound <= perfect foresight, and both <= every run that
    keeps all limits that day (no node-step and no branch-step in violation).
    Two costs are in order if they are so within `ORDER_TOLERANCE` of their
    size plus `ORDER_TOLERANCE_USD`: devices are float32.

    Args:
        results: The comparison.
        task: Name of the task.
        split: Days.

    Returns:
        A line for each day and run out of order; empty if all is well, or
        perfect foresight was not judged. A day on which perfect foresight
        itself leaves the limits is out of order, too.
    """
    check_dates(results, task, split)
    reference, bound = reference_costs(results, task, split)
    if reference is None:
        return []
    dates = judged_dates(results, task, split)
    faults = []
    for run in [run for run in results.runs if run.task == task and split in run.judgements]:
        cost = day_values(run.judgements[split], "cost_usd_per_day")
        is_feasible = _is_feasible(run.judgements[split])
        below = {"lower bound": bound}
        if run.method == REFERENCE:
            faults += [
                f"{dates[day]}: perfect foresight leaves the limits"
                for day in np.flatnonzero(~is_feasible)
            ]
            is_feasible[:] = True  # its cost is held to the bound in any case
        else:
            below["perfect foresight"] = reference
        name = f"{METHODS[run.method].title}, seed {run.seed}"
        for what, least in below.items():
            if least is not None:
                wrong = is_feasible & (least > cost + _tolerance(least, cost))
                faults += [
                    f"{dates[day]}: {what} {least[day]:.3f} $ is above {name}, {cost[day]:.3f} $"
                    for day in np.flatnonzero(wrong)
                ]
    return faults


def _row(
    results: Results,
    task: str,
    method: str,
    split: str,
    reference: FloatArray | None,
    bound: FloatArray | None,
) -> dict[str, Any]:
    spec = METHODS[method]
    judged = judged_runs(results, task, method, split)
    row: dict[str, Any] = {
        "method": method,
        "title": spec.title,
        "family": spec.family,
        "is_decentralised": spec.is_decentralised,
        "status": combined_status(results.of(task, method)),
        "num_seeds": len(judged),
    }
    own = [each["engines"]["torch"]["metrics"] for each in judged]
    opendss = [each["engines"].get("opendss", {}).get("metrics", {}) for each in judged]
    names = [*QUANTITIES, *(name for name in (own[0] if own else {}) if name not in QUANTITIES)]
    row.update({name: _joined(name, own) for name in names})
    row.update({f"opendss_{name}": _joined(name, opendss) for name in BY_OPENDSS})
    row.update({name: _mean([each.get(name) for each in judged]) for name in COUNTERS})
    row["peak_memory_mib"] = _mean([each["session"].get("peak_memory_mib") for each in judged])
    row["best_iteration"] = _mean([each["iteration"] for each in judged])
    row["optimality_gap_pct"] = row["optimality_gap_high_pct"] = None
    if judged:
        row.update(intervals(judged))
        cost = stacked(judged, "cost_usd_per_day")
        row["optimality_gap_pct"] = _gap_pct(cost, reference, reference)
        row["optimality_gap_high_pct"] = _gap_pct(cost, bound, reference)
    else:
        empty = [f"{name}{end}" for name in WITH_INTERVAL for end in ("_low", "_high")]
        row.update(dict.fromkeys([PRICED, *empty, "resampled"]))
    return row


def combined_status(runs: Sequence[RunResult]) -> str:
    """Status of a method's runs together: `done` if all are, otherwise what is with the others.

    Args:
        runs: Its runs.
    """
    others = [run for run in runs if run.status != "done"]
    if not others:
        return "done"
    if len(runs) == 1:
        return others[0].status
    phrases = dict.fromkeys(run.status for run in others)
    return f"{len(runs) - len(others)} of {len(runs)} done; " + "; ".join(
        f"seed {', '.join(str(r.seed) for r in others if r.status == phrase)} {phrase}"
        for phrase in phrases
    )


def intervals(judged: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`WITH_INTERVAL` and the ends of their intervals, and what was drawn for them.

    Args:
        judged: Judgements of a method's runs, on the same days.

    Returns:
        By quantity `NAME`, `NAME_low` and `NAME_high`, None where not known;
        `resampled`.
    """
    strata = seasons(judged[0]["dates"])
    found: dict[str, Any] = {}
    for name in WITH_INTERVAL:
        own = stratified_bootstrap(stacked(judged, name), strata=strata)
        found[name] = _known(own.value)
        found[f"{name}_low"], found[f"{name}_high"] = _known(own.low), _known(own.high)
        found["resampled"] = own.resampled
    return found


def _gap_pct(
    cost: FloatArray, base: FloatArray | None, reference: FloatArray | None
) -> float | None:
    if base is None or reference is None:
        return None
    size = abs(float(np.nanmean(reference))) if not np.isnan(reference).all() else 0.0
    # Day by day, so that a run is compared on the days on which it did not fail.
    return _known(100.0 * float(typical_run(cost - base)) / size) if size else None


def _is_feasible(judgement: Mapping[str, Any]) -> Any:
    """Whether a day keeps all limits. `[day]`, bool"""
    names = ("node_step_violation_pct", "branch_step_overload_pct")
    return np.logical_and.reduce([day_values(judgement, name) == 0 for name in names])


def _thresholds(values: Mapping[str, FloatArray]) -> FloatArray:
    """0, then even ratios from a ten-thousandth of the largest to it."""
    tops = [float(np.nanmax(own)) for own in values.values() if not np.isnan(own).all()]
    top = max([1.0, *tops])
    return np.concatenate(([0.0], np.geomspace(1e-4 * top, top, 200)))


def _joined(name: str, metrics: Sequence[Mapping[str, Any]]) -> float | None:
    """Draws a quantity together over seeds; None if a seed has none."""
    found = [each.get(name) for each in metrics]
    values = [float(value) for value in found if value is not None]
    if not values or len(values) < len(found):
        return None
    if name == "solver_failures":
        return sum(values)
    if name == "days":
        return min(values)
    if "_max_" in name or "_peak_" in name:
        return _known(max(values))
    return _known(float(interquartile_mean(values)))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _tolerance(x: FloatArray, y: FloatArray) -> FloatArray:
    return ORDER_TOLERANCE_USD + ORDER_TOLERANCE * np.maximum(np.abs(x), np.abs(y))

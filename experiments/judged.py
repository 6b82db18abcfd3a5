"""Judgements of a comparison as arrays: a row a seed, a column a day."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradmap.experiments.results import Results
from gradmap.experiments.seeds import PRICED
from gradmap.experiments.statistics import FloatArray
from gradmap.feeders.errors import GradmapError

REFERENCE = "perfect-foresight"
"""The method whose cost gaps are measured from."""

MIN_STRATUM = 3
"""Days of a season, at least, for seasons to be strata; otherwise all days are one."""


def by_day(results: Results, task: str, method: str, split: str, quantity: str) -> FloatArray:
    """A quantity of every run and day, as the torch power flow found it.

    Args:
        results: The comparison.
        task: Name of the task.
        method: Name of the method.
        split: Days.
        quantity: Name of a quantity that is known by day, or `PRICED`.

    Returns:
        Values; NaN where a power flow of the day failed. `[seed, day]`, no
        rows if no run was judged.
    """
    return stacked(judged_runs(results, task, method, split), quantity)


def seasons(dates: Sequence[str]) -> list[int]:
    """Season of each day, from 0 for December to February; all 0 if a season has too few.

    Args:
        dates: ISO dates. `[day]`
    """
    found = [datetime.date.fromisoformat(date).month % 12 // 3 for date in dates]
    return found if min(map(found.count, found), default=0) >= MIN_STRATUM else [0] * len(found)


def judged_runs(results: Results, task: str, method: str, split: str) -> list[Mapping[str, Any]]:
    """Judgements of a method's runs, those that have one, in the order of the seeds.

    Args:
        results: The comparison.
        task: Name of the task.
        method: Name of the method.
        split: Days.
    """
    return [run.judgements[split] for run in results.of(task, method) if split in run.judgements]


def methods_by_day(results: Results, task: str, split: str, quantity: str) -> dict[str, FloatArray]:
    """A quantity of every run and day, of each judged method but the reference.

    Args:
        results: The comparison.
        task: Name of the task.
        split: Days.
        quantity: Name of a quantity that is known by day, or `PRICED`.

    Returns:
        Values by method. `[seed, day]` each
    """
    found = {
        method: by_day(results, task, method, split, quantity)
        for method in results.methods
        if method != REFERENCE
    }
    return {method: values for method, values in found.items() if len(values)}


def reference_costs(
    results: Results, task: str, split: str
) -> tuple[FloatArray | None, FloatArray | None]:
    """Perfect foresight's cost and its lower bound, $ a day.

    Args:
        results: The comparison.
        task: Name of the task.
        split: Days.

    Returns:
        Both, None for what is not known. `[day]` each
    """
    for judgement in judged_runs(results, task, REFERENCE, split):
        bound = judgement.get("lower_bound_usd_per_day")
        return day_values(judgement, "cost_usd_per_day"), None if bound is None else _array(bound)
    return None, None


def stacked(judged: Sequence[Mapping[str, Any]], quantity: str) -> FloatArray:
    """A quantity of several judgements; see `day_values`. `[seed, day]`

    Args:
        judged: Judgements of the same days.
        quantity: Name of the quantity, or `PRICED`.
    """
    if not judged:
        return np.zeros((0, 0))
    return np.stack([day_values(each, quantity) for each in judged])


def day_values(judgement: Mapping[str, Any], quantity: str) -> FloatArray:
    """A quantity of every day of a judgement, NaN where the day failed. `[day]`

    Args:
        judgement: The judgement.
        quantity: Name of the quantity, or `PRICED`: cost plus priced violations.
    """
    found = judgement["engines"]["torch"]["by_day"]
    parts = ("cost_usd_per_day", "violation_usd_per_day") if quantity == PRICED else (quantity,)
    values = np.sum([_array(found[part]) for part in parts], axis=0)
    return np.where(_array(found["solver_failures"]) > 0, np.nan, values)


def judged_dates(results: Results, task: str, split: str) -> list[str]:
    """ISO dates that a task's runs were judged on; none if there is no judgement. `[day]`

    Args:
        results: The comparison.
        task: Name of the task.
        split: Days.
    """
    for run in results.runs:
        if run.task == task and split in run.judgements:
            return list(run.judgements[split]["dates"])
    return []


def strata_of(results: Results, task: str, split: str) -> list[int]:
    """Stratum of each judged day; see `seasons`. `[day]`

    Args:
        results: The comparison.
        task: Name of the task.
        split: Days.
    """
    return seasons(judged_dates(results, task, split))


def check_dates(results: Results, task: str, split: str) -> None:
    """Makes sure that all runs of a task were judged on the same days.

    Args:
        results: The comparison.
        task: Name of the task.
        split: Days.

    Raises:
        GradmapError: If they were not.
    """
    dates = judged_dates(results, task, split)
    for run in results.runs:
        if run.task == task and split in run.judgements:
            own = list(run.judgements[split]["dates"])
            if own != dates:
                raise GradmapError(
                    f"{run.folder} was judged on {len(own)} {split} days, others on {len(dates)} "
                    "days that are not the same; evaluate the runs anew"
                )


def _array(values: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if value is None else value for value in values], np.float64)

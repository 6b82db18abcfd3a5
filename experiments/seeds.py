"""What the seeds of a comparison have found: the figures of tables, and learning curves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradmap.experiments.statistics import FloatArray, interquartile_mean

Row = Mapping[str, Any]

PRICED = "priced_cost_usd_per_day"
"""Cost plus priced violations: `cost_usd_per_day` and `violation_usd_per_day`."""

FIGURES = ("cost_usd_per_day", "node_step_violation_pct", PRICED)
"""Figures of the table."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """A quantity over the course of training, drawn together over seeds.

    Attributes:
        x: Where, such as training seconds. `[point]`
        middle: Interquartile mean over the seeds. `[point]`
        low: The least of any seed. `[point]`
        high: The largest of any seed. `[point]`
    """

    x: FloatArray
    middle: FloatArray
    low: FloatArray
    high: FloatArray


def figure(metrics: Row, name: str) -> float:
    """One of `FIGURES` of a judgement; NaN if no day could be judged.

    Args:
        metrics: Metrics of the judgement or of a validation row.
        name: Its name.
    """
    names = ("cost_usd_per_day", "violation_usd_per_day") if name == PRICED else (name,)
    values = [metrics[each] for each in names]
    return float("nan") if None in values else float(sum(values))


def curve(seeds: Mapping[int, Sequence[Row]], across: str, points: int = 200) -> Curve:
    """Draws the validation rows of a method together: cost plus priced violations.

    Between two judgements it goes along a line. It ends where the first seed
    ends, so that the seeds in it are the same everywhere.

    Args:
        seeds: Validation rows by seed, at least one each.
        across: What it is drawn over: `seconds` or `power_flow_solves`.
        points: Number of points.
    """
    x = {seed: [float(row[across]) for row in rows] for seed, rows in seeds.items()}
    grid = np.linspace(0.0, min(own[-1] for own in x.values()), points)
    y = np.stack(
        [
            np.interp(grid, x[seed], [figure(row["metrics"], PRICED) for row in rows])
            for seed, rows in seeds.items()
        ]
    )
    return Curve(grid, interquartile_mean(y.T), y.min(0), y.max(0))

"""How often each method is how good, and how likely one is better than the others."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from gradmap.experiments.plot_style import COLOURS, LIMIT, MARKERS, save, styled, title
from gradmap.experiments.plot_training import FLOOR_PCT
from gradmap.experiments.registry import METHODS
from gradmap.experiments.results import Results
from gradmap.experiments.seeds import PRICED
from gradmap.experiments.statistics import FloatArray, Profile
from gradmap.experiments.summary import improvement_matrix, profiles

FLOOR_USD = 10.0
"""Where the logarithmic axis of costs begins, $ a day above the day's own."""

TOP_USD = 1e4
"""Where it ends at the latest: houses that were left cold cost more."""

_POINTS = 200


def performance_profiles(
    results: Results, task: str, path: pathlib.Path, split: str = "test"
) -> pathlib.Path:
    """Draws the share of runs and days that are at least so good; left and up is better.

    One panel for cost plus priced violations, counted from the day's own cost
    (see `gradmap.experiments.summary.profiles`), one for violations.

    Args:
        results: The comparison.
        task: Name of the task.
        path: The file.
        split: Days.

    Returns:
        The file.
    """
    cost = _log_points(FLOOR_USD, TOP_USD)
    violation = _log_points(FLOOR_PCT, 100.0)
    with styled():
        figure = Figure(figsize=(10.5, 4.6), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        _panel(axes[0], profiles(results, task, split, PRICED, cost))
        axes[0].set_title("Cost plus priced violations")
        axes[0].set_xlabel("above the day's reference, $ per day")
        axes[0].set_ylabel("runs and days at or below")
        axes[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes[0].xaxis.set_major_formatter("{x:,.0f}")
        quantity = "node_step_violation_pct"
        _panel(axes[1], profiles(results, task, split, quantity, violation))
        axes[1].set_title("Node-steps outside the voltage band")
        axes[1].set_xlabel("violation, %")
        axes[1].xaxis.set_major_formatter(lambda x, _: "0" if x <= FLOOR_PCT * 1.01 else f"{x:g}")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center")
        return save(figure, path)


def improvement_bars(
    results: Results,
    task: str,
    path: pathlib.Path,
    base: str = "gradmap",
    split: str = "test",
) -> pathlib.Path:
    """Draws how likely a run of one method is better than one of each other.

    Args:
        results: The comparison.
        task: Name of the task.
        path: The file.
        base: The method, which must have been judged.
        split: Days.

    Returns:
        The file.
    """
    found = improvement_matrix(results, task, split)
    at = found.methods.index(base)
    others = [i for i in range(len(found.methods)) if i != at]
    with styled():
        figure = Figure(figsize=(7.5, 1.4 + 0.38 * len(others)), layout="constrained")
        axis = figure.subplots()
        for place, i in enumerate(others):
            method = found.methods[i]
            p, low, high = (float(m[at, i]) for m in (found.probability, found.low, found.high))
            colour = COLOURS.get(method)
            axis.barh(place, p, height=0.62, color=colour, alpha=0.35)
            if np.isfinite(low):
                axis.plot([low, high], [place, place], color=colour, linewidth=3, zorder=3)
            axis.plot(
                p, place, color=colour, marker=MARKERS.get(method, "o"), markersize=8, zorder=4
            )
        axis.axvline(0.5, color=LIMIT, linewidth=1.2, linestyle=(0, (5, 3)))
        axis.set_yticks(range(len(others)), [title(found.methods[i]) for i in others])
        axis.invert_yaxis()
        axis.grid(visible=False, axis="y")
        axis.set_xlim(0.0, 1.02)
        axis.set_xticks(np.linspace(0.0, 1.0, 6))
        axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axis.set_xlabel("probability, cost plus priced violations; dashed: neither is better")
        axis.set_title(f"{title(base)} better than the other, same day")
        return save(figure, path)


def _panel(axis: Axes, found: Mapping[str, Profile]) -> None:
    axis.set_xscale("log")
    for place, (method, own) in enumerate(found.items()):
        colour, is_first = COLOURS.get(method), method == "gradmap"
        if np.isfinite(own.low).all():
            axis.fill_between(
                own.thresholds,
                own.low,
                own.high,
                color=colour,
                alpha=0.2 if is_first else 0.07,  # a dozen of them lie on each other
                linewidth=0,
            )
        axis.plot(
            own.thresholds,
            own.share,
            color=colour,
            linestyle="-" if METHODS[method].needs_training else (0, (5, 2)),
            linewidth=2.4 if is_first else 1.6,
            marker=MARKERS.get(method, "o"),
            # Not all at one place, or they hide each other.
            markevery=(4 + 5 * (place % 6), 40),
            markersize=6,
            label=title(method),
            zorder=3 if is_first else 2,
        )
    axis.set_xlim(min(own.thresholds[0] for own in found.values()), None)
    axis.margins(x=0)
    axis.set_ylim(-0.02, 1.02)


def _log_points(low: float, high: float) -> FloatArray:
    return np.geomspace(low, high, _POINTS)

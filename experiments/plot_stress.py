"""What stress does to each method: cost and violations, split by split."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from gradmap.envs.scenarios.stress import STRESSES
from gradmap.experiments.judged import by_day, judged_dates
from gradmap.experiments.plot_style import COLOURS, MARKERS, save, styled, title
from gradmap.experiments.plot_training import FLOOR_PCT
from gradmap.experiments.results import Results
from gradmap.experiments.statistics import typical_run
from gradmap.experiments.summary import summarise_results

_COST, _VIOLATION = "cost_usd_per_day", "node_step_violation_pct"
_FAR = 1.5  # a cost so many ranges beyond the others stands at the edge, in figures


def stress_figure(results: Results, task: str, path: pathlib.Path) -> pathlib.Path:
    """Draws cost and violations of every method under every stress that was judged.

    A filled marker is the method under stress, with its interval; a hollow one
    the same days without.

    Args:
        results: The comparison; at least one stress must have been judged.
        task: Name of the task.
        path: The file.

    Returns:
        The file.
    """
    splits = [split for split in STRESSES if judged_dates(results, task, split)]
    rows = {
        split: [row for row in summarise_results(results, task, split) if row["num_seeds"]]
        for split in splits
    }
    judged = {row["method"] for own in rows.values() for row in own}
    methods = [method for method in results.methods if method in judged]
    with styled(font_size=9, axes_titlesize=10):
        width, height = 1.6 + 2.1 * len(splits), 1.6 + 0.5 * len(methods)
        figure = Figure(figsize=(width, max(height, 3.6)), layout="constrained")
        axes = figure.subplots(2, len(splits), squeeze=False, sharey=True)
        for column, split in enumerate(splits):
            for axis, quantity in zip(axes[:, column], (_COST, _VIOLATION), strict=True):
                base = _without(results, task, split, quantity)
                _panel(axis, rows[split], methods, quantity, base)
            axes[0, column].set_title(STRESSES[split].title)
            axes[0, column].set_xlabel("cost, $ per day")
            axes[1, column].set_xlabel("node-steps in violation, %")
        for axis in axes[:, 0]:
            axis.set_yticks(range(len(methods)), [title(method) for method in methods])
            axis.set_ylim(len(methods) - 0.4, -0.6)
        marks = [
            Line2D([], [], color="#555555", marker="o", linewidth=2.5, label="under stress"),
            Line2D(
                [], [], color="#555555", marker="o", markerfacecolor="white", linestyle="",
                label="the same days without",
            ),
        ]  # fmt: skip
        figure.legend(handles=marks, loc="outside upper right", ncols=2)
        return save(figure, path)


def _without(results: Results, task: str, split: str, quantity: str) -> dict[str, float]:
    """A quantity on the days of a stress without it, by method; those judged on test days."""
    dates, test = judged_dates(results, task, split), judged_dates(results, task, "test")
    if not set(dates) <= set(test):
        return {}
    days = [test.index(date) for date in dates]
    found = {m: by_day(results, task, m, "test", quantity) for m in results.methods}
    return {m: float(typical_run(own[:, days])) for m, own in found.items() if len(own)}


def _panel(
    axis: Axes,
    rows: Sequence[Mapping[str, Any]],
    methods: Sequence[str],
    quantity: str,
    base: Mapping[str, float],
) -> None:
    is_violation = quantity == _VIOLATION
    found = {row["method"]: row for row in rows if row[quantity] is not None}
    drawn = [v for m in found for v in (found[m][quantity], base.get(m)) if v is not None]
    top = float("inf") if is_violation else _top(drawn)
    for method, row in found.items():
        place, colour = methods.index(method), COLOURS.get(method)
        value, low, high = (row[f"{quantity}{end}"] for end in ("", "_low", "_high"))
        if value > top:
            axis.annotate(
                f"{value:,.0f} →", (1.0, place), xycoords=("axes fraction", "data"),
                ha="right", va="center", color=colour,
            )  # fmt: skip
            continue
        floor = FLOOR_PCT if is_violation else -float("inf")
        if low is not None:
            axis.plot([max(low, floor), max(high, floor)], [place, place], color=colour, lw=2.5)
        mark = MARKERS.get(method, "o")
        if method in base:
            axis.plot(
                max(base[method], floor), place, marker=mark, color=colour, markersize=7,
                markerfacecolor="white", linestyle="", zorder=3,
            )  # fmt: skip
        axis.plot(max(value, floor), place, marker=mark, color=colour, markersize=7, zorder=4)
    if is_violation:
        axis.set_xscale("log")
        axis.set_xlim(FLOOR_PCT * 0.6, 100)
        axis.set_xticks([FLOOR_PCT, 1e-1, 1e1])
        axis.xaxis.set_major_formatter(lambda x, _: "0" if x <= FLOOR_PCT * 1.01 else f"{x:g}")
    else:
        axis.xaxis.set_major_locator(MaxNLocator(3))
        axis.xaxis.set_major_formatter("{x:,.0f}")


def _top(values: Sequence[float]) -> float:
    """Costs above it would squeeze all others: those far beyond the middle ones."""
    ordered = sorted(values)
    if not ordered:
        return float("inf")
    low, middle = ordered[0], ordered[(3 * len(ordered)) // 4]
    return middle + _FAR * max(middle - low, 1.0)

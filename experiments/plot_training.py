"""Training curves: cost and violation on validation days."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gradmap.experiments.compare_table import SOLVABLE_PCT
from gradmap.experiments.plot_style import COLOURS, LIMIT, MARKERS, save, styled, title

FLOOR_PCT = 1e-3
"""Where a violation of zero stands on the logarithmic axis, percent."""

# Not environment gradients: not every method takes any.
_ACROSS = {"seconds": "training time, s", "power_flow_solves": "power flows"}


def training_curves(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], path: pathlib.Path
) -> pathlib.Path:
    """Draws cost and violation on validation days, against time and power flows.

    Args:
        rows: Validation rows of each method.
        path: The file.

    Returns:
        The file.
    """
    with styled():
        figure = Figure(figsize=(11, 7))
        axes = figure.subplots(2, 2, sharex="col", sharey="row")
        for column, (across, label) in enumerate(_ACROSS.items()):
            for method, own in rows.items():
                _curve(axes[0, column], method, own, across, "cost_usd_per_day")
                _curve(axes[1, column], method, own, across, "node_step_violation_pct")
            axes[1, column].set_xlabel(label)
            axes[1, column].xaxis.set_major_locator(MaxNLocator(6))  # numbers may be long
            axes[1, column].xaxis.set_major_formatter("{x:,.10g}")
        axes[0, 0].set_ylabel("cost, $ per day")
        axes[0, 0].yaxis.set_major_formatter("{x:,.0f}")
        axes[0, 0].set_title("Operating cost on validation days")
        _show_most(axes[0, 0], rows)
        _violation_axis(axes[1, 0])
        axes[1, 0].set_title("Node-steps outside the voltage band")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper center", ncols=len(labels))
        figure.tight_layout(rect=(0, 0, 1, 0.95))
        return save(figure, path)


def _curve(
    axis: Axes, method: str, rows: Sequence[Mapping[str, Any]], across: str, quantity: str
) -> None:
    x = [row[across] for row in rows]
    y = np.array([row["metrics"][quantity] for row in rows], float)  # None becomes NaN
    if quantity == "node_step_violation_pct":
        y = np.maximum(y, FLOOR_PCT)
    every = max(len(x) // 8, 1)
    axis.plot(
        x,
        y,
        color=COLOURS.get(method),
        marker=MARKERS.get(method, "o"),
        markevery=every,
        markersize=5,
        label=title(method),
        zorder=3 if method == "gradmap" else 2,
    )


def _show_most(axis: Axes, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Leaves the first judgements out of the scale where they would flatten the rest."""
    values = [
        row["metrics"]["cost_usd_per_day"]
        for own in rows.values()
        for row in own
        if row["metrics"]["cost_usd_per_day"] is not None
    ]
    if len(values) < 12:
        return
    low, high = min(values), float(np.quantile(values, 0.92))
    if max(values) - low > 1.5 * (high - low) > 0:
        axis.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))


def _violation_axis(axis: Axes) -> None:
    axis.set_yscale("log")
    axis.set_ylim(FLOOR_PCT * 0.7, max(1.0, 1.8 * axis.dataLim.y1))
    axis.set_ylabel("violations, %")
    axis.yaxis.set_major_formatter(lambda y, _: "0" if y <= FLOOR_PCT * 1.01 else f"{y:g}")
    for side in axis.figure.axes:
        if side.get_yscale() == "log":
            side.axhline(SOLVABLE_PCT, color=LIMIT, linewidth=1, linestyle=":")
    axis.annotate(
        f"{SOLVABLE_PCT:g} %", (0.995, SOLVABLE_PCT), xycoords=("axes fraction", "data"),
        xytext=(0, 3), textcoords="offset points", ha="right", color=LIMIT, fontsize=8,
    )  # fmt: skip

"""Cost against violation on test days: where each method ends."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from gradmap.experiments.plot_style import COLOURS, MARKERS, save, styled
from gradmap.experiments.plot_training import FLOOR_PCT


def tradeoff(rows: Sequence[Mapping[str, Any]], path: pathlib.Path) -> pathlib.Path:
    """Draws every method of the table as a point; left and down is better.

    Args:
        rows: From `gradmap.experiments.summary.summarise_results`.
        path: The file.

    Returns:
        The file.
    """
    with styled():
        figure = Figure(figsize=(7.5, 4.8))
        axis = figure.subplots()
        drawn = [row for row in rows if row["cost_usd_per_day"] is not None]
        top = _top([row["cost_usd_per_day"] for row in drawn if row["method"] != "idle"])
        for row in drawn:
            x = max(row["node_step_violation_pct"], FLOOR_PCT)
            cost, method = row["cost_usd_per_day"], row["method"]
            if cost > top:
                axis.annotate(f"{cost:,.0f} $", (x, top), (10, -4), textcoords="offset points")
            axis.scatter(
                x, min(cost, top), s=90, color=COLOURS.get(method), marker=MARKERS.get(method, "o"),
                label=row["title"], zorder=3,
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_xlim(left=FLOOR_PCT * 0.7, right=100)
        axis.xaxis.set_major_formatter(lambda x, _: "0" if x <= FLOOR_PCT * 1.01 else f"{x:g}")
        axis.yaxis.set_major_formatter("{x:,.0f}")
        axis.set_xlabel("node-steps outside the voltage band, %")
        axis.set_ylabel("cost, $ per day")
        axis.set_title("Test days: cheaper is lower, safer is further left")
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return save(figure, path)


def _top(costs: Sequence[float]) -> float:
    """Where the axis ends: doing nothing leaves houses cold, and would squeeze all others."""
    if not costs:
        return float("inf")
    return max(costs) + 0.15 * max(max(costs) - min(costs), 1.0)

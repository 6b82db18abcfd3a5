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
        rows: From `gradmap.experiments.compare_table.table_rows`.
        path: The file.

    Returns:
        The file.
    """
    with styled():
        figure = Figure(figsize=(7.5, 4.8))
        axis = figure.subplots()
        for row in rows:
            if row["status"] != "done" or row["cost_usd_per_day"] is None:
                continue
            x = max(row["node_step_violation_pct"], FLOOR_PCT)
            y, method = row["cost_usd_per_day"], row["method"]
            axis.scatter(
                x, y, s=90, color=COLOURS.get(method), marker=MARKERS.get(method, "o"),
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

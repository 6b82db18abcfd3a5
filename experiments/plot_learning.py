"""Learning curves over seeds: cost plus priced violations on validation days."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gradmap.experiments.curves import Learning
from gradmap.experiments.plot_style import COLOURS, MARKERS, save, styled, title
from gradmap.experiments.registry import METHODS
from gradmap.experiments.seeds import PRICED, Curve, Row, curve, figure
from gradmap.experiments.statistics import interquartile_mean

_ACROSS = {"seconds": "training time, s", "power_flow_solves": "power flows"}

_DASHES = {"ippo": (0, (5, 1.5)), "mappo": (0, (5, 1.5, 1, 1.5)), "rules": (0, (1, 1.2))}
"""Lines differ in form too: colours do not survive a print in grey."""

SETTLED = 0.3
"""Share of the budget from which on every curve is within the axis. The first
policies cost ten times the last, and would squeeze all that comes after."""


def learning_curves(found: Learning, path: pathlib.Path) -> pathlib.Path:
    """Draws every method over training time and over power flows, one above the other.

    A line is the interquartile mean over the seeds, its band reaches from the
    least seed to the largest. Methods that do not train are level lines;
    references, which know the test days, are left out.

    Args:
        found: What the seeds have found.
        path: The file.

    Returns:
        The file.
    """
    seeds = drawn(found)
    trained = {name: own for name, own in seeds.items() if METHODS[name].needs_training}
    levels = {
        name: float(
            interquartile_mean(np.array([figure(r[-1]["metrics"], PRICED) for r in own.values()]))
        )
        for name, own in seeds.items()
        if name not in trained
    }
    # Narrow and in large type: it is read on a telephone as well.
    with styled(font_size=13, axes_titlesize=13, xtick_labelsize=12, ytick_labelsize=12):
        drawing = Figure(figsize=(6.4, 8.6), layout="constrained")
        axes = drawing.subplots(2, 1)
        ends = _range([curve(own, "seconds") for own in trained.values()], levels)
        for axis, (across, label) in zip(axes, _ACROSS.items(), strict=True):
            curves = {name: curve(own, across) for name, own in trained.items()}
            _panel(axis, curves, levels, ends)
            axis.set_xlabel(label)
        axes[0].set_title("Cost plus priced violations, validation days")
        handles, labels = axes[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside upper left", ncols=2, handlelength=3.2)
        return save(drawing, path)


def drawn(found: Learning) -> dict[str, dict[int, list[Row]]]:
    """Validation rows of the methods that the figure shows, by seed.

    Args:
        found: What the seeds have found.
    """
    return {name: own for name, own in found.rows.items() if own and not METHODS[name].is_reference}


def _panel(
    axis: Axes,
    curves: Mapping[str, Curve],
    levels: Mapping[str, float],
    ends: tuple[float, float],
) -> None:
    bottom, top = ends
    for method, own in curves.items():
        colour = COLOURS.get(method)
        axis.fill_between(own.x, own.low, own.high, color=colour, alpha=0.18, linewidth=0)
        axis.plot(
            own.x,
            own.middle,
            color=colour,
            linestyle=_DASHES.get(method, "-"),
            marker=MARKERS.get(method, "o"),
            markevery=(len(own.x) // 10, len(own.x) // 5),
            markersize=7,
            label=title(method),
            zorder=3 if method == "gradmap" else 2,
        )
    for method, level in levels.items():
        is_seen = bottom <= level <= top
        side = "above" if level > top else "below"
        where = "" if is_seen else f" ({side}: {level:,.0f})" if level == level else " (failed)"
        axis.axhline(
            level if is_seen else np.nan,
            color=COLOURS.get(method),
            linestyle=_DASHES.get(method, (0, (7, 3))),
            linewidth=2.2,
            label=title(method) + where,
            zorder=1,
        )
    axis.set_ylim(bottom, top)
    axis.set_xlim(left=0.0)
    axis.set_ylabel("$ per day")
    axis.yaxis.set_major_formatter("{x:,.0f}")
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.xaxis.set_major_formatter("{x:,.10g}")


def _range(curves: Sequence[Curve], levels: Mapping[str, float]) -> tuple[float, float]:
    """Ends of the axis: all curves once they have settled, and the level lines near them."""
    shown = [value for own in curves for value in _settled(own) if np.isfinite(value)]
    shown = shown or [value for value in levels.values() if np.isfinite(value)] or [0.0]
    low, high = min(shown), max(shown)
    # The rules are what learning is held to: a line that is far off would hide the curves.
    room = 1.5 * max(high - low, 1.0)
    near = [level for level in levels.values() if low - room <= level <= high + room]
    low, high = min([low, *near]), max([high, *near])
    edge = 0.06 * max(high - low, 1.0)
    return low - edge, high + edge


def _settled(own: Curve) -> list[float]:
    """Values of a curve, and of its least seed, once it has settled."""
    since = int(SETTLED * len(own.x))
    return [*own.low[since:].tolist(), *own.middle[since:].tolist()]

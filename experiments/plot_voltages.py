"""The feeder's voltages: over the day, and where they leave the band."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gradmap.experiments.metrics import TOLERANCE_PU
from gradmap.experiments.plot_feeder import bus_order, colour_bar, draw_feeder, largest_by_bus
from gradmap.experiments.plot_style import COLOURS, LIMIT, save, styled, title
from gradmap.feeders.model import Feeder

_BANDS = ((0.0, 1.0, 0.15, "all"), (0.05, 0.95, 0.25, "90 %"), (0.25, 0.75, 0.45, "50 %"))


def voltage_envelopes(
    files: Mapping[str, pathlib.Path],
    feeder: Feeder,
    limits: tuple[float, float],
    path: pathlib.Path,
) -> pathlib.Path:
    """Draws the voltages of each hour, and the feeder by how often it is outside.

    Args:
        files: File of voltages of each method, as an evaluation keeps it.
        feeder: The feeder.
        limits: Lower and upper voltage limit, p.u.
        path: The file.

    Returns:
        The file.
    """
    kept = {method: _load(file) for method, file in files.items()}
    buses = bus_order(feeder)
    shares = {m: largest_by_bus(_outside_pct(v, limits), n, buses) for m, (v, n) in kept.items()}
    scale = PowerNorm(0.5, 0.0, max(max(float(s.max()) for s in shares.values()), 1.0))
    with styled():
        figure = Figure(figsize=(6.2 * len(files), 9), layout="constrained")
        axes = figure.subplots(2, len(files), squeeze=False, height_ratios=(1.0, 0.95))
        for column, (method, (v_pu, _)) in enumerate(kept.items()):
            _panel(axes[0, column], v_pu, limits, method)
            axes[0, column].sharey(axes[0, 0])
            draw_feeder(axes[1, column], feeder, buses, shares[method], "Reds", scale)
        axes[0, 0].set_ylabel("voltage, p.u.")
        figure.legend(handles=_legend(), loc="outside upper center", ncols=5)
        colour_bar(figure, list(axes[1]), "Reds", scale, "steps outside the band, %")
        return save(figure, path)


def _load(file: pathlib.Path) -> tuple[npt.NDArray[np.float32], list[str]]:
    with np.load(file, allow_pickle=False) as kept:
        return kept["v_pu_torch"], [str(node) for node in kept["node"]]


def _outside_pct(
    v_pu: npt.NDArray[np.float32], limits: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """Share of the steps at which each node is outside the band, percent. `[node]`"""
    low, high = limits[0] - TOLERANCE_PU, limits[1] + TOLERANCE_PU
    share: npt.NDArray[np.float64] = 100.0 * np.mean((v_pu < low) | (v_pu > high), axis=(0, 1))
    return share


def _panel(
    axis: Axes, v_pu: npt.NDArray[np.float32], limits: tuple[float, float], method: str
) -> None:
    num_days, num_steps, num_nodes = v_pu.shape
    edges = np.linspace(0.0, 24.0, num_steps + 1)
    pooled = v_pu.transpose(1, 0, 2).reshape(num_steps, num_days * num_nodes)
    colour = COLOURS.get(method, "#0072B2")
    for low, high, alpha, _ in _BANDS:
        # A step holds from its start to its end, so the last one is drawn twice.
        bottom, top = (np.append(q, q[-1]) for q in np.nanquantile(pooled, (low, high), axis=1))
        axis.fill_between(edges, bottom, top, step="post", color=colour, alpha=alpha, linewidth=0)
    median = np.nanmedian(pooled, axis=1)
    axis.plot(edges, np.append(median, median[-1]), drawstyle="steps-post", color=colour)
    for limit in limits:
        axis.axhline(limit, color=LIMIT, linewidth=1.4, linestyle="--", zorder=4)
    outside = float(_outside_pct(v_pu, limits).mean())
    axis.set_title(f"{title(method)}: {outside:.3g} % of node-steps outside")
    axis.set_xlim(0, 24)
    axis.set_xticks(range(0, 25, 4))
    axis.set_xlabel("hour of the day")


def _legend() -> list[Patch | Line2D]:
    """What the shades mean, in grey: each panel has its own colour."""
    shade = 0.0
    handles: list[Patch | Line2D] = []
    for _, _, alpha, label in _BANDS:
        shade = 1.0 - (1.0 - shade) * (1.0 - alpha)  # the bands lie on each other
        handles.append(
            Patch(color="#404040", alpha=shade, linewidth=0, label=f"{label} of node-days")
        )
    handles.append(Line2D([], [], color="#404040", label="median"))
    return [*handles, Line2D([], [], color=LIMIT, linestyle="--", label="limits")]

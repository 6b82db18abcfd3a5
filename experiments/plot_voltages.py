"""The feeder's voltages over the day: all nodes, all test days."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradmap.experiments.plot_style import COLOURS, LIMIT, save, styled, title

_BANDS = ((0.0, 1.0, 0.15, "all"), (0.05, 0.95, 0.25, "90 %"), (0.25, 0.75, 0.45, "50 %"))


def voltage_envelopes(
    files: Mapping[str, pathlib.Path], limits: tuple[float, float], path: pathlib.Path
) -> pathlib.Path:
    """Draws how the node voltages of each hour are distributed, a panel a method.

    Args:
        files: File of voltages of each method, as an evaluation keeps it.
        limits: Lower and upper voltage limit, p.u.
        path: The file.

    Returns:
        The file.
    """
    with styled():
        figure = Figure(figsize=(5.6 * len(files), 4.6))
        axes = figure.subplots(1, len(files), sharey=True, squeeze=False)
        for axis, (method, file) in zip(axes[0], files.items(), strict=True):
            with np.load(file, allow_pickle=False) as kept:
                _panel(axis, kept["v_pu_torch"], limits, method)
        axes[0, 0].set_ylabel("voltage, p.u.")
        axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        figure.tight_layout()
        return save(figure, path)


def _panel(
    axis: Axes, v_pu: npt.NDArray[np.float32], limits: tuple[float, float], method: str
) -> None:
    num_days, num_steps, num_nodes = v_pu.shape
    edges = np.linspace(0.0, 24.0, num_steps + 1)
    pooled = v_pu.transpose(1, 0, 2).reshape(num_steps, num_days * num_nodes)
    colour = COLOURS.get(method, "#0072B2")
    for low, high, alpha, label in _BANDS:
        # A step holds from its start to its end, so the last one is drawn twice.
        bottom, top = (np.append(q, q[-1]) for q in np.nanquantile(pooled, (low, high), axis=1))
        axis.fill_between(
            edges, bottom, top, step="post", color=colour, alpha=alpha, linewidth=0,
            label=f"{label} of node-days",
        )  # fmt: skip
    median = np.nanmedian(pooled, axis=1)
    axis.plot(
        edges, np.append(median, median[-1]), drawstyle="steps-post", color=colour, label="median"
    )
    for limit in limits:
        axis.axhline(limit, color=LIMIT, linewidth=1.4, linestyle="--", zorder=4)
    axis.plot([], [], color=LIMIT, linewidth=1.4, linestyle="--", label="limits")
    outside = 100.0 * np.mean((pooled < limits[0]) | (pooled > limits[1]))
    axis.set_title(title(method))
    axis.text(
        0.985, 0.97, f"{outside:.3g} % of node-steps outside", ha="right", va="top",
        transform=axis.transAxes, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8},
    )  # fmt: skip
    axis.set_xlim(0, 24)
    axis.set_xticks(range(0, 25, 4))
    axis.set_xlabel("hour of the day")

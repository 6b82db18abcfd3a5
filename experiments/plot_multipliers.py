"""The multipliers as a map: over bus and hour, and on the feeder."""

from __future__ import annotations

import pathlib

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure

from gradmap.experiments.plot_feeder import bus_order, colour_bar, draw_feeder, largest_by_bus
from gradmap.experiments.plot_style import save, styled
from gradmap.feeders.model import Feeder

_SIDES = (("over", "high voltage", "Reds"), ("under", "low voltage", "Blues"))

_NUM_NAMED = 17
"""Buses that the map names at its side."""


def multiplier_map(file: pathlib.Path, feeder: Feeder, path: pathlib.Path) -> pathlib.Path:
    """Draws the prices of high and of low voltage, by bus and hour and on the feeder.

    Both sides have one scale, so that a price that never moved stays pale.

    Args:
        file: Multipliers, as an evaluation keeps them beside the voltages.
        feeder: The feeder.
        path: The file.

    Returns:
        The file.
    """
    buses = bus_order(feeder)
    with np.load(file, allow_pickle=False) as kept:
        nodes = [str(node) for node in kept["node"]]
        prices = {s: largest_by_bus(kept[f"multiplier_{s}"], nodes, buses) for s, _, _ in _SIDES}
    top = max(float(price.max()) for price in prices.values())
    scale = PowerNorm(0.5, 0.0, max(top, 1e-9))
    with styled(axes_grid=False):
        figure = Figure(figsize=(13, 9.5), layout="constrained")
        axes = figure.subplots(2, 2, width_ratios=(1.25, 1.0))
        for (side, name, colours), (left, right) in zip(_SIDES, axes, strict=True):
            _heat_map(left, prices[side], buses, colours, scale)
            left.set_title(f"Price of {name}, by bus and hour")
            draw_feeder(right, feeder, buses, prices[side].max(axis=0), colours, scale)
            right.set_title(f"Price of {name}, highest of the day")
            colour_bar(figure, [right], colours, scale, "$ per p.u. and step")
        return save(figure, path)


def _heat_map(
    axis: Axes, price: npt.NDArray[np.float64], buses: list[str], colours: str, scale: Normalize
) -> None:
    """Draws prices, `[time, bus]`, with time to the right and the source on top."""
    num_steps, num_buses = price.shape
    edges = np.linspace(0.0, 24.0, num_steps + 1)
    axis.pcolormesh(edges, np.arange(num_buses + 1), price.T, cmap=colours, norm=scale)
    axis.invert_yaxis()
    named = np.unique(np.linspace(0, num_buses - 1, min(_NUM_NAMED, num_buses)).astype(int))
    axis.set_yticks(named + 0.5, [buses[i] for i in named], fontsize=8)
    axis.set_xticks(range(0, 25, 4))
    axis.set_xlabel("hour of the day")
    axis.set_ylabel("bus, from the source along each lateral")

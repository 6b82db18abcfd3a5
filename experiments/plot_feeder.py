"""The feeder drawn by its buses' coordinates, and the buses in an order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from gradmap.experiments.plot_feeder_layout import place_buses
from gradmap.feeders.model import Feeder


def bus_order(feeder: Feeder) -> list[str]:
    """Buses along the feeder, from the source down one lateral after another.

    Args:
        feeder: The feeder.

    Returns:
        All buses, depth first, so that neighbours on a lateral stay together.
    """
    branches = feeder.branches
    near: dict[str, list[str]] = {bus: [] for bus in feeder.bus_names}
    for one, other in zip(branches.bus_from, branches.bus_to, strict=True):
        near[one].append(other)
        near[other].append(one)
    nodes = zip(feeder.node_bus, feeder.is_source_node, strict=True)
    source = sorted({bus for bus, is_source in nodes if is_source})
    order: dict[str, None] = {}
    stack = [*reversed(feeder.bus_names), *source]
    while stack:
        bus = stack.pop()
        if bus not in order:
            order[bus] = None
            stack.extend(reversed(near[bus]))
    return list(order)


def largest_by_bus(
    values: npt.NDArray[np.floating], nodes: list[str], buses: list[str]
) -> npt.NDArray[np.float64]:
    """The largest value over the phases of each bus.

    Args:
        values: Values of 0 or more at each node. `[..., node]`
        nodes: Names of the nodes, `bus.phase`.
        buses: Names of the buses.

    Returns:
        `[..., bus]`; 0 at a bus of which no node is given.
    """
    place = {bus: i for i, bus in enumerate(buses)}
    rows = np.array([place[node.rpartition(".")[0]] for node in nodes])
    result = np.zeros((len(buses), *values.shape[:-1]))
    np.maximum.at(result, rows, np.moveaxis(values, -1, 0))
    return np.moveaxis(result, 0, -1)


def draw_feeder(
    axis: Axes,
    feeder: Feeder,
    buses: list[str],
    values: npt.NDArray[np.float64],
    colours: str,
    scale: Normalize,
) -> None:
    """Draws the feeder, its buses coloured.

    By coordinates, buses without any left out; as a tree where fewer than half
    have some.

    Args:
        axis: Where.
        feeder: The feeder.
        buses: Names of the buses.
        values: What gives a bus its colour. `[bus]`
        colours: Name of matplotlib's colour map.
        scale: From values to colours.
    """
    branches = feeder.branches
    place = dict(zip(feeder.bus_names, feeder.bus_xy, strict=True))
    layout = place_buses(feeder, list(zip(branches.bus_from, branches.bus_to, strict=True)))
    if not layout.is_plan:
        place |= {bus: np.array(point) for bus, point in layout.place.items()}
    lines = [
        (place[one], place[other])
        for one, other in zip(branches.bus_from, branches.bus_to, strict=True)
        if np.isfinite((place[one], place[other])).all()
    ]
    axis.add_collection(LineCollection(lines, colors="#B0B0B0", linewidths=1.2, zorder=1))
    known = np.array([i for i, bus in enumerate(buses) if np.isfinite(place[bus]).all()])
    known = known[np.argsort(values[known])]  # the largest on top
    x, y = np.array([place[buses[i]] for i in known]).T
    dots = axis.scatter(x, y, c=values[known], cmap=colours, norm=scale, s=38, zorder=2)
    dots.set(edgecolor="#606060", linewidth=0.6)
    if layout.is_plan:  # the axes of a tree are steps and rows: they need not be as long
        axis.set_aspect("equal", adjustable="datalim")
    axis.margins(0.04)
    axis.set_axis_off()


def colour_bar(
    figure: Figure, axes: list[Axes], colours: str, scale: Normalize, label: str
) -> None:
    """Adds a colour bar.

    Args:
        figure: The figure.
        axes: The axes that it stands beside.
        colours: Name of matplotlib's colour map.
        scale: From values to colours.
        label: What the colours mean.
    """
    mapped = ScalarMappable(norm=scale, cmap=colours)
    figure.colorbar(mapped, ax=axes, label=label, shrink=0.85, format="{x:,.4g}")

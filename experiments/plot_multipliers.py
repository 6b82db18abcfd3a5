"""The multipliers as a map: over bus and hour, and on the feeder."""

from __future__ import annotations

import pathlib

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure

from gradmap.experiments.plot_style import save, styled
from gradmap.feeders.model import Feeder

_SIDES = (("over", "High voltage", "Reds"), ("under", "Low voltage", "Blues"))


def multiplier_map(file: pathlib.Path, feeder: Feeder, path: pathlib.Path) -> pathlib.Path:
    """Draws the prices of high and of low voltage, by bus and hour and on the feeder.

    Args:
        file: Multipliers, as an evaluation keeps them beside the voltages.
        feeder: The feeder.
        path: The file.

    Returns:
        The file.
    """
    with np.load(file, allow_pickle=False) as kept:
        nodes = [str(node) for node in kept["node"]]
        prices = {side: kept[f"multiplier_{side}"] for side, _, _ in _SIDES}
    order = bus_order(feeder)
    rank = {bus: i for i, bus in enumerate(order)}
    rows = np.array([rank[node.rpartition(".")[0]] for node in nodes])
    with styled(axes_grid=False):
        figure = Figure(figsize=(13, 9), layout="constrained")
        axes = figure.subplots(2, 2, width_ratios=(1.25, 1.0))
        for (side, name, colours), (left, right) in zip(_SIDES, axes, strict=True):
            by_bus = largest_by_bus(prices[side], rows, len(order))
            scale = PowerNorm(0.5, 0.0, max(float(by_bus.max()), 1e-9))
            _heat_map(left, by_bus, colours, scale)
            left.set_title(f"{name}: price by bus and hour")
            _feeder_map(right, by_bus.max(axis=1), order, feeder, colours, scale)
            right.set_title(f"{name}: highest price of the day")
            _colour_bar(figure, right, colours, scale)
        return save(figure, path)


def bus_order(feeder: Feeder) -> list[str]:
    """Buses by the number of branches from the source, branch after branch.

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
    source = {
        bus
        for bus, is_source in zip(feeder.node_bus, feeder.is_source_node, strict=True)
        if is_source
    }
    order: dict[str, None] = {}
    stack = [*reversed(feeder.bus_names), *sorted(source)]
    while stack:
        bus = stack.pop()
        if bus not in order:
            order[bus] = None
            stack.extend(reversed(near[bus]))
    return list(order)


def largest_by_bus(
    price: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], num_buses: int
) -> npt.NDArray[np.float64]:
    """The largest price over the phases of each bus.

    Args:
        price: Price at each node. `[time, node]`
        rows: Row of each node's bus. `[node]`
        num_buses: Number of rows.

    Returns:
        `[bus, time]`
    """
    result = np.zeros((num_buses, price.shape[0]))
    np.maximum.at(result, rows, price.T)
    return result


def _heat_map(axis: Axes, by_bus: npt.NDArray[np.float64], colours: str, scale: Normalize) -> None:
    edges = np.linspace(0.0, 24.0, by_bus.shape[1] + 1)
    axis.pcolormesh(edges, np.arange(len(by_bus) + 1), by_bus, cmap=colours, norm=scale)
    axis.invert_yaxis()
    axis.set_xticks(range(0, 25, 4))
    axis.set_xlabel("hour of the day")
    axis.set_ylabel("bus, from the source along each lateral")


def _feeder_map(
    axis: Axes,
    value: npt.NDArray[np.float64],
    order: list[str],
    feeder: Feeder,
    colours: str,
    scale: Normalize,
) -> None:
    place = dict(zip(feeder.bus_names, feeder.bus_xy, strict=True))
    branches = feeder.branches
    lines = [
        (place[one], place[other])
        for one, other in zip(branches.bus_from, branches.bus_to, strict=True)
        if np.isfinite((place[one], place[other])).all()
    ]
    axis.add_collection(LineCollection(lines, colors="#B0B0B0", linewidths=1.2, zorder=1))
    known = np.array([i for i, bus in enumerate(order) if np.isfinite(place[bus]).all()])
    known = known[np.argsort(value[known])]  # the dearest on top
    xy = np.array([place[order[i]] for i in known])
    axis.scatter(
        xy[:, 0], xy[:, 1], c=value[known], cmap=colours, norm=scale, s=42, edgecolors="#606060",
        linewidths=0.6, zorder=2,
    )  # fmt: skip
    axis.set_aspect("equal", adjustable="datalim")
    axis.margins(0.04)
    axis.set_axis_off()


def _colour_bar(figure: Figure, axis: Axes, colours: str, scale: Normalize) -> None:
    mapped = ScalarMappable(norm=scale, cmap=colours)
    figure.colorbar(mapped, ax=axis, label="$ per p.u. and step", shrink=0.85, format="{x:,.0f}")

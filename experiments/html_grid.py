"""The feeder as the HTML report draws it: places of buses, lines, nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gradmap.experiments.html_pack import rounded
from gradmap.experiments.plot_feeder import bus_order
from gradmap.feeders.model import Feeder

FEWEST_PLACED = 0.6
"""Share of the buses whose coordinates must be known for a map; else a tree is drawn."""


def grid_data(feeder: Feeder, nodes: Sequence[str]) -> dict[str, Any]:
    """What the report knows of a feeder.

    Args:
        feeder: The feeder.
        nodes: Names of the monitored nodes, `bus.phase`.

    Returns:
        `buses` and `nodes`: names; `nodeBus`: bus of each node; `lines`: two
        buses and a kind each; `sources`: buses of the source; `order`: buses
        along the feeder; `places`: x and y of each bus, x in 0..1 and y in
        0..1, up for a map, down for a tree; `hasPlaces`: which of the two;
        `aspect`: height of the drawing over its width.
    """
    index = {bus: i for i, bus in enumerate(feeder.bus_names)}
    branches = feeder.branches
    lines = [
        [index[one], index[other], kind]
        for one, other, kind in zip(branches.bus_from, branches.bus_to, branches.kind, strict=True)
    ]
    sources = {
        index[bus]
        for bus, is_source in zip(feeder.node_bus, feeder.is_source_node, strict=True)
        if is_source
    }
    order = [index[bus] for bus in bus_order(feeder)]
    is_known = np.isfinite(feeder.bus_xy).all(1)
    has_places = bool(is_known.mean() >= FEWEST_PLACED)
    if has_places:
        places, aspect = _map_places(feeder.bus_xy, lines)
    else:
        places, aspect = _tree_places(len(order), lines, sorted(sources), order), 0.7
    return {
        "buses": list(feeder.bus_names),
        "nodes": list(nodes),
        "nodeBus": [index[node.rpartition(".")[0]] for node in nodes],
        "lines": lines,
        "sources": sorted(sources),
        "order": order,
        "places": rounded(places, 4),
        "hasPlaces": has_places,
        "aspect": round(aspect, 4),
    }


def _map_places(
    xy: npt.NDArray[np.float64], lines: Sequence[Sequence[Any]]
) -> tuple[npt.NDArray[np.float64], float]:
    """Scales coordinates to 0..1; buses without any go beside a neighbour."""
    places = xy.copy()
    low, high = np.nanmin(places, axis=0), np.nanmax(places, axis=0)
    beside = 0.015 * max(*(high - low), 1e-9)
    near = _neighbours(len(places), lines)
    for _ in range(len(places)):
        unknown = np.flatnonzero(~np.isfinite(places).all(1))
        if not len(unknown):
            break
        for i in unknown:
            known = [j for j in near[i] if np.isfinite(places[j]).all()]
            if known:
                places[i] = places[known[0]] + beside
    places = np.where(np.isfinite(places), places, 0.5 * (low + high))
    low, high = places.min(0), places.max(0)
    width, height = np.maximum(high - low, 1e-9 * max(*(high - low), 1.0))
    aspect = float(np.clip(height / width, 0.25, 1.6))
    return (places - low) / np.array([width, height]), aspect


def _tree_places(
    num: int, lines: Sequence[Sequence[Any]], sources: Sequence[int], order: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Distance from the source to the right, branches below one another."""
    near = _neighbours(num, lines)
    depth = dict.fromkeys(sources or order[:1], 0)
    queue = list(depth)
    for bus in queue:
        for other in near[bus]:
            if other not in depth:
                depth[other] = depth[bus] + 1
                queue.append(other)
    places = np.zeros((num, 2))
    row, before = 0, -1
    for bus in order:  # depth first: a bus that is no deeper than the last begins a row
        row += int(depth.get(bus, 0) <= before)
        before = depth.get(bus, 0)
        places[bus] = before, row
    return np.asarray(places / np.maximum(places.max(0), 1.0))


def _neighbours(num: int, lines: Sequence[Sequence[Any]]) -> list[list[int]]:
    near: list[list[int]] = [[] for _ in range(num)]
    for one, other, *_ in lines:
        near[one].append(other)
        near[other].append(one)
    return near

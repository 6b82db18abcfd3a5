"""Where to draw the buses: by their coordinates, or as a tree where there are none."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from gradmap.feeders.circuit_facts import CircuitFacts
from gradmap.feeders.model import Feeder

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Places of buses.

    Attributes:
        place: x and y by bus; buses that nothing leads to may be missing.
        is_plan: Whether they are the circuit's coordinates.
    """

    place: Mapping[str, Point]
    is_plan: bool


def lay_out(feeder: Feeder, facts: CircuitFacts) -> Layout:
    """Places the buses.

    A bus without coordinates stands where its nearest neighbour with some
    does. Where fewer than half have coordinates, a tree takes their place.

    Args:
        feeder: The feeder.
        facts: What its circuit says.
    """
    return place_buses(feeder, [(link.one, link.other) for link in facts.links])


def place_buses(feeder: Feeder, links: Sequence[tuple[str, str]]) -> Layout:
    """Places the buses; see `lay_out`.

    Args:
        feeder: The feeder.
        links: Buses that are next to each other.
    """
    known = {
        bus: (float(xy[0]), float(xy[1]))
        for bus, xy in zip(feeder.bus_names, feeder.bus_xy, strict=True)
        if np.isfinite(xy).all()
    }
    near = _neighbours(feeder, links)
    if 2 * len(known) < len(feeder.bus_names):
        return Layout(_tree(feeder, near), is_plan=False)
    front = list(known)
    while front:
        found: dict[str, Point] = {}
        for bus in front:
            found.update({other: known[bus] for other in near[bus] if other not in known})
        known.update(found)
        front = list(found)
    return Layout(known, is_plan=True)


def _neighbours(feeder: Feeder, links: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    near: dict[str, list[str]] = {bus: [] for bus in feeder.bus_names}
    for one, other in links:
        near[one].append(other)
        near[other].append(one)
    return near


def _tree(feeder: Feeder, near: Mapping[str, list[str]]) -> dict[str, Point]:
    """Steps from the source to the right; above each other, each bus amid its children."""
    nodes = zip(feeder.node_bus, feeder.is_source_node, strict=True)
    sources = sorted({bus for bus, is_source in nodes if is_source})
    parent: dict[str, str | None] = dict.fromkeys(sources)
    order = list(sources)
    for bus in order:  # grows as it goes: breadth first
        for other in near[bus]:
            if other not in parent:
                parent[other] = bus
                order.append(other)
    depth: dict[str, int] = {}
    children: dict[str, list[str]] = {bus: [] for bus in order}
    for bus in order:
        above = parent[bus]
        depth[bus] = 0 if above is None else depth[above] + 1
        if above is not None:
            children[above].append(bus)
    height = _heights(sources, children)
    return {bus: (float(depth[bus]), height[bus]) for bus in order}


def _heights(sources: list[str], children: Mapping[str, list[str]]) -> dict[str, float]:
    """Rows of the leaves, one after another, and of the others amid their children."""
    height: dict[str, float] = {}
    num_leaves = 0
    stack = [(bus, False) for bus in reversed(sources)]
    while stack:
        bus, is_done = stack.pop()
        below = children[bus]
        if is_done:
            height[bus] = (height[below[0]] + height[below[-1]]) / 2.0
        elif below:
            stack.append((bus, True))
            stack.extend((other, False) for other in reversed(below))
        else:
            height[bus] = float(-num_leaves)
            num_leaves += 1
    return height

"""The shape of a synthetic feeder: trunk, laterals, phases and places.

Only `Generator.random` is drawn from: its doubles are those of the bit
generator, the same on every machine and in every release of numpy, which is
not promised of numpy's other distributions.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

# A lateral off the trunk is of level 1, one off that of level 2.
_DEEPEST_LEVEL = 3
_MEAN_LATERAL_BUSES = 5.0
_LONGEST_LATERAL_BUSES = 25
_ALL_PHASES = (1, 2, 3)
# Share of laterals with three and two phases, by the phases of their host.
_SHARES = {3: (0.25, 0.15), 2: (0.0, 0.35), 1: (0.0, 0.0)}


@dataclasses.dataclass(frozen=True)
class TreeBus:
    """A medium-voltage bus and the section of line that leads to it.

    Attributes:
        parent: Index of the bus before it, -1 for the substation's.
        phases: Phases present, in ascending order.
        level: 0 on the trunk, 1 on a lateral off the trunk, and so on.
        length_m: Length of the section, m.
        heading: Direction of the section, in quarter turns from the trunk's.
        is_underground: Whether the section is a cable.
    """

    parent: int
    phases: tuple[int, ...]
    level: int
    length_m: float
    heading: int
    is_underground: bool


def grow_tree(num_buses: int, rng: np.random.Generator) -> list[TreeBus]:
    """Grows one feeder: a three-phase trunk, then laterals until all buses are spent.

    Args:
        num_buses: Buses to make, 1 or more.
        rng: Where chance comes from.

    Returns:
        The buses, each after its parent, the trunk's first.
    """
    is_underground = rng.random() < 0.3
    num_trunk = min(num_buses, max(2, round(2.0 * math.sqrt(num_buses))))
    buses: list[TreeBus] = []
    for i in range(num_trunk):
        # Now and then a block to the side.
        heading = (0, 1, 3)[int(3 * rng.random())] if rng.random() < 0.25 else 0
        length_m = _length_m(rng, 60.0, 220.0)
        buses.append(TreeBus(i - 1, _ALL_PHASES, 0, length_m, heading, is_underground))
    while len(buses) < num_buses:
        _add_lateral(buses, num_buses, rng)
    return buses


def place_buses(buses: list[TreeBus], turn: float) -> list[tuple[float, float]]:
    """Places the buses on a plan, the substation in the origin.

    Args:
        buses: The buses of a feeder.
        turn: Direction of the trunk, in full turns from the x axis.

    Returns:
        x and y of each bus, m.
    """
    places: list[tuple[float, float]] = []
    for bus in buses:
        x, y = places[bus.parent] if bus.parent >= 0 else (0.0, 0.0)
        angle = 2.0 * math.pi * (turn + bus.heading / 4.0)
        places.append((x + bus.length_m * math.cos(angle), y + bus.length_m * math.sin(angle)))
    return places


def _add_lateral(buses: list[TreeBus], num_buses: int, rng: np.random.Generator) -> None:
    """Adds a lateral to a bus that can bear one, as far as buses are left."""
    # Half of them off three-phase lines: else the first single-phase lateral would
    # grow into half the feeder.
    fewest_phases = 3 if rng.random() < 0.5 else 1
    hosts = [
        i
        for i, bus in enumerate(buses)
        if bus.level < _DEEPEST_LEVEL and len(bus.phases) >= fewest_phases
    ]
    host = hosts[int(len(hosts) * rng.random())]
    phases = _choose_phases(buses, buses[host].phases, rng)
    # A geometric number of sections.
    drawn = 1 + int(-_MEAN_LATERAL_BUSES * math.log(1.0 - rng.random()))
    size = min(drawn, _LONGEST_LATERAL_BUSES, num_buses - len(buses))
    heading = (buses[host].heading + (1 if rng.random() < 0.5 else 3)) % 4
    is_underground = buses[host].is_underground or rng.random() < 0.15
    level, parent = buses[host].level + 1, host
    for _ in range(size):
        length_m = _length_m(rng, 30.0, 150.0)
        buses.append(TreeBus(parent, phases, level, length_m, heading, is_underground))
        parent = len(buses) - 1


def _choose_phases(
    buses: list[TreeBus], of_host: tuple[int, ...], rng: np.random.Generator
) -> tuple[int, ...]:
    """Phases of a lateral: those with the fewest buses so far, more or less."""
    share_three, share_two = _SHARES[len(of_host)]
    drawn = rng.random()
    wanted = 3 if drawn < share_three else 2 if drawn < share_three + share_two else 1
    # As utilities do, but not to the last bus.
    burden = {
        phase: sum(phase in bus.phases for bus in buses) * (0.8 + 0.4 * rng.random())
        for phase in of_host
    }
    return tuple(sorted(sorted(of_host, key=lambda phase: burden[phase])[:wanted]))


def _length_m(rng: np.random.Generator, low: float, high: float) -> float:
    """A length in whole metres."""
    return float(round(low + (high - low) * rng.random()))

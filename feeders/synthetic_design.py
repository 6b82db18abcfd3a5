"""What a synthetic feeder needs to carry its loads: conductors, capacitors, regulators.

The voltage drops that this rests on are linear estimates (the loads' currents
at nominal voltage, through each section's impedances with their couplings):
good to a per cent or so, and enough to choose from standard sizes and taps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from gradmap.feeders.model import ComplexArray, FloatArray, IntArray
from gradmap.feeders.synthetic_codes import LineCode, choose_code
from gradmap.feeders.synthetic_loads import KV, SyntheticLoad
from gradmap.feeders.synthetic_tree import TreeBus

TAP_STEP_PU = 0.00625
"""Of a regulator with 32 steps over ±10 %."""

SET_POINT_PU = 1.03
"""Voltage to which a regulator brings its outgoing side, p.u."""

_LOWEST_PU = 0.975
_MAX_REGULATORS = 4
# Ratings of single-phase regulators for 7.2 kV, A.
_REGULATOR_RATINGS_A = (50, 75, 100, 150, 219, 328, 437, 548, 656, 875)
_PHASORS = np.exp(-2j * np.pi / 3.0 * np.arange(3))


@dataclasses.dataclass(frozen=True)
class Regulator:
    """A bank of three single-phase regulators in the place of a section of the trunk.

    Attributes:
        bus: Index of the bus on its outgoing side.
        taps: Of the three phases.
        rating_a: Of each, A.
    """

    bus: int
    taps: tuple[int, int, int]
    rating_a: float


@dataclasses.dataclass(frozen=True)
class Design:
    """What is built.

    Attributes:
        codes: Line code of the section that leads to each bus. `[bus]`
        capacitors: Bus and kvar of each three-phase bank.
        regulators: From the substation outwards.
        kva: Loads less capacitors, kVA. `[3]`
    """

    codes: tuple[LineCode, ...]
    capacitors: tuple[tuple[int, float], ...]
    regulators: tuple[Regulator, ...]
    kva: ComplexArray


def design_feeder(buses: Sequence[TreeBus], loads: Sequence[SyntheticLoad]) -> Design:
    """Chooses conductors, capacitors, regulators and their taps.

    Args:
        buses: Medium-voltage buses, each after its parent, the trunk's first.
        loads: The loads.
    """
    power = np.zeros((len(buses), 3), dtype=np.complex128)
    for load in loads:
        power[load.bus] += load.by_phase()
    capacitors = _capacitors(buses, float(power.sum().imag))
    for bus, kvar in capacitors:
        power[bus] -= 1j * kvar / 3.0
    through = power.copy()  # of each section, kVA
    for i in range(len(buses) - 1, 0, -1):
        through[buses[i].parent] += through[i]
    current_a = np.abs(through) / (KV / 3.0**0.5)
    codes = tuple(
        choose_code(len(bus.phases), bus.is_underground, float(current_a[i].max()))
        for i, bus in enumerate(buses)
    )
    drop_pu = np.array([_drop_pu(*section) for section in zip(buses, codes, through, strict=True)])
    regulators = _regulators(buses, drop_pu, current_a)
    return Design(codes, capacitors, regulators, power.sum(axis=0))


def _capacitors(buses: Sequence[TreeBus], kvar: float) -> tuple[tuple[int, float], ...]:
    """Banks for half of the reactive load, in steps of 150 kvar, along the trunk."""
    num_trunk = sum(bus.level == 0 for bus in buses)
    total = 150.0 * int(0.5 * kvar / 150.0)
    if total < 150.0:
        return ()
    if total < 600.0:
        return ((int(0.66 * (num_trunk - 1)), total),)
    near = 150.0 * int(total / 300.0)
    return ((int(0.4 * (num_trunk - 1)), near), (int(0.75 * (num_trunk - 1)), total - near))


def _drop_pu(bus: TreeBus, code: LineCode, through: ComplexArray) -> FloatArray:
    """Drop of voltage magnitude along a section, p.u.; 0 at phases it lacks. `[3]`"""
    phases = np.array(bus.phases) - 1
    kv = KV / 3.0**0.5
    current_ka = np.conj(through[phases] / (kv * _PHASORS[phases])) / 1e3
    drop_kv = code.ohm_per_m * bus.length_m @ current_ka
    drop = np.zeros(3)
    drop[phases] = (drop_kv * np.conj(_PHASORS[phases])).real / kv
    return drop


def _regulators(
    buses: Sequence[TreeBus], drop_pu: FloatArray, current_a: FloatArray
) -> tuple[Regulator, ...]:
    """Walks along the trunk and puts a bank wherever voltage would go too low."""
    num_trunk = sum(bus.level == 0 for bus in buses)
    below = _largest_drop_below(buses, drop_pu, num_trunk)
    v_pu = np.full(3, SET_POINT_PU) - drop_pu[0]
    regulators: list[Regulator] = []
    for i in range(1, num_trunk):
        ahead = v_pu - drop_pu[i]
        # The end of the trunk is no place for a regulator: nothing lies beyond.
        is_low = (ahead - below[i]).min() < _LOWEST_PU and ahead.min() < SET_POINT_PU - 0.02
        if not is_low or i > num_trunk - 2 or len(regulators) == _MAX_REGULATORS:
            v_pu = ahead
            continue
        taps: IntArray = np.clip(np.rint((SET_POINT_PU - v_pu) / TAP_STEP_PU), -16, 16).astype(
            np.int64
        )
        v_pu = v_pu + TAP_STEP_PU * taps  # it stands in the section's place
        first, second, third = taps.tolist()
        rating_a = _next_rating_a(float(current_a[i].max()))
        regulators.append(Regulator(i, (first, second, third), rating_a))
    return tuple(regulators)


def _largest_drop_below(
    buses: Sequence[TreeBus], drop_pu: FloatArray, num_trunk: int
) -> FloatArray:
    """Largest drop from each bus down its laterals, the trunk left out. `[bus, 3]`"""
    below = np.zeros_like(drop_pu)
    for i in range(len(buses) - 1, num_trunk - 1, -1):
        parent = buses[i].parent
        below[parent] = np.maximum(below[parent], below[i] + drop_pu[i])
    return below


def _next_rating_a(current_a: float) -> float:
    """The smallest regulator with a quarter to spare; the largest if there is none."""
    wanted = 1.25 * current_a
    return float(next((a for a in _REGULATOR_RATINGS_A if a >= wanted), _REGULATOR_RATINGS_A[-1]))

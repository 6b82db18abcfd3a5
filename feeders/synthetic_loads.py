"""Loads of a synthetic feeder: where, how large, between which nodes, by what law."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from gradmap.feeders.model import ComplexArray
from gradmap.feeders.synthetic_tree import TreeBus

KV = 12.47
"""Nominal voltage of the feeders, line to line, kV."""

KV_SERVICE = 0.48
"""Voltage behind service transformers, line to line, kV."""

# OpenDSS's models and their shares: constant power, impedance and current. Not CVR
# and ZIP: their laws jump at the ends of the range of voltages for which they hold,
# and a circuit with a voltage near one has two solutions, or none.
_MODELS = ((0.5, 1), (0.7, 2), (1.0, 5))
_SERVICE_WEIGHT = 8.0


@dataclasses.dataclass(frozen=True)
class SyntheticLoad:
    """A load.

    Attributes:
        bus: Index of the bus, or of the host of its service transformer.
        phases: Phases that it lies on, in OpenDSS's order of nodes.
        num_phases: What OpenDSS calls its phases: 1 for two nodes in delta.
        is_delta: Whether it lies between phases.
        is_service: Whether it hangs on a service transformer of its own.
        kv: Rated voltage as OpenDSS wants it, kV.
        model: OpenDSS's load model.
        kw: Active power, kW.
        kvar: Reactive power, kvar.
        range_pu: Voltages from and to which its law holds, p.u.
    """

    bus: int
    phases: tuple[int, ...]
    num_phases: int
    is_delta: bool
    is_service: bool
    kv: float
    model: int
    kw: float
    kvar: float
    range_pu: tuple[float, float]

    def by_phase(self) -> ComplexArray:
        """Power drawn from each phase about, kVA; half to each side of a delta. `[3]`"""
        power = np.zeros(3, dtype=np.complex128)
        for phase in self.phases:
            power[phase - 1] += complex(self.kw, self.kvar) / len(self.phases)
        return power


def feeder_kw(num_buses: int) -> float:
    """Load of a feeder: 30 kW a bus where they are few, towards 7.5 MW in all where many.

    Args:
        num_buses: Its medium-voltage buses.
    """
    return 30.0 * num_buses / (1.0 + num_buses / 250.0)


def draw_loads(
    buses: Sequence[TreeBus], service: Sequence[int], rng: np.random.Generator
) -> list[SyntheticLoad]:
    """Draws a feeder's loads.

    Args:
        buses: Its medium-voltage buses.
        service: Those that have a service transformer; its load is theirs.
        rng: Where chance comes from.
    """
    has_child = {bus.parent for bus in buses}
    burden = np.zeros(3)
    drawn: list[tuple[SyntheticLoad, float]] = []
    for i, bus in enumerate(buses):
        chance = 0.3 if bus.level == 0 else 0.75
        if i in service:
            drawn.append(_draw_service_load(i, rng))
        # At the end of every lateral, or it would not have been built.
        elif rng.random() < chance or i not in has_child:
            # The least loaded phase first, as utilities connect new customers.
            phases = sorted(bus.phases, key=lambda phase: burden[phase - 1])
            drawn.append(_draw_load(i, phases, rng))
        else:
            continue
        load, weight = drawn[-1]
        burden[np.array(load.phases) - 1] += weight / len(load.phases)
    total_kw = feeder_kw(len(buses)) * (0.8 + 0.3 * rng.random())
    unit_kw = total_kw / sum(weight for _, weight in drawn)
    return [_sized(load, unit_kw * weight, rng) for load, weight in drawn]


def _draw_load(
    bus: int, phases: Sequence[int], rng: np.random.Generator
) -> tuple[SyntheticLoad, float]:
    """A load on the phases of a bus, still without power, and its weight.

    One that does not lie on all phases lies on the first of `phases`.
    """
    kind = rng.random()
    if len(phases) == 1 or kind < 0.4:
        return _load(bus, (phases[0],), 1, False, KV / 3.0**0.5, rng), _weight(rng)
    if kind < 0.55:
        return _load(bus, (phases[0], phases[1]), 1, True, KV, rng), 1.5 * _weight(rng)
    on_all = tuple(sorted(phases))
    if len(phases) == 2:
        return _load(bus, on_all, 2, False, KV, rng), 2.0 * _weight(rng)
    return _load(bus, on_all, 3, kind > 0.85, KV, rng), 3.0 * _weight(rng)


def _draw_service_load(bus: int, rng: np.random.Generator) -> tuple[SyntheticLoad, float]:
    """A three-phase load of a business behind its own transformer, and its weight."""
    load = _load(bus, (1, 2, 3), 3, False, KV_SERVICE, rng, is_service=True)
    return load, _SERVICE_WEIGHT * _weight(rng)


def _load(
    bus: int,
    phases: tuple[int, ...],
    num_phases: int,
    is_delta: bool,
    kv: float,
    rng: np.random.Generator,
    is_service: bool = False,
) -> SyntheticLoad:
    """A load without power; model and thresholds drawn."""
    drawn = rng.random()
    model = next(model for share, model in _MODELS if drawn < share)
    range_pu = (0.95, 1.05) if rng.random() < 0.5 else (0.85, 1.1)
    return SyntheticLoad(
        bus, phases, num_phases, is_delta, is_service, kv, model, 0.0, 0.0, range_pu
    )


def _weight(rng: np.random.Generator) -> float:
    """A log-normal size, near enough: three uniform draws make a normal one."""
    return math.exp(1.4 * (rng.random() + rng.random() + rng.random() - 1.5))


def _sized(load: SyntheticLoad, kw: float, rng: np.random.Generator) -> SyntheticLoad:
    """The load with its power, at a power factor of 0.88 to 0.98."""
    kw = max(round(kw, 1), 0.5)
    factor = 0.88 + 0.1 * rng.random()
    kvar = round(kw * math.sqrt(1.0 / factor**2 - 1.0), 1)
    return dataclasses.replace(load, kw=kw, kvar=kvar)

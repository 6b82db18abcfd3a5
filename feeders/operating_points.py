"""The operating points at which our power flow is held to OpenDSS's.

The nominal case alone proves little, since the loads' thresholds lie outside
it: light and heavy load, raised and lowered taps, reverse flow and random
injections are compared as well.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from gradmap.feeders.catalog import reload_feeder
from gradmap.feeders.model import Feeder, FloatArray

SCALES = {"nominal": 1.0, "light": 0.1, "heavy": 2.0, "reverse": -1.0, "reverse twice": -2.0}
"""Points at the feeder's own taps: their name and what the load is multiplied by."""

_HIGH_TAP = 12


@dataclasses.dataclass(frozen=True, eq=False)
class OperatingPoint:
    """Powers of all terminals, load terminals first, then devices.

    Attributes:
        name: What the point is called.
        p_kw: Active power drawn, kW. `[scenario, terminal]`
        q_kvar: Reactive power drawn, kvar. `[scenario, terminal]`
    """

    name: str
    p_kw: FloatArray
    q_kvar: FloatArray


def points_at_own_taps(feeder: Feeder, num_random: int, seed: int) -> list[OperatingPoint]:
    """The points of `SCALES`, and random ones, at the taps that the feeder has.

    Args:
        feeder: The feeder.
        num_random: Scenarios with random loads and devices; 0 leaves them out.
        seed: Their seed.
    """
    points = [_scaled(feeder, name, scale) for name, scale in SCALES.items()]
    if num_random:
        points.append(_random(feeder, num_random, seed))
    return points


def points_at_other_taps(feeder: Feeder) -> list[tuple[Feeder, OperatingPoint]]:
    """Low voltage (taps neutral, 1.5 times the load) and high (taps at 12, half the load).

    A tap that a regulator does not have is replaced by its nearest one.
    Without regulators the first is at the feeder's own taps and the second is
    left out.

    Args:
        feeder: The feeder.

    Returns:
        Each point with the feeder at its taps.

    Raises:
        GradmapError: If the feeder's circuit cannot be compiled again.
    """
    if not len(feeder.regulators):
        return [(feeder, _scaled(feeder, "low voltage", 1.5))]
    low, high = _at_taps(feeder, 0), _at_taps(feeder, _HIGH_TAP)
    return [(low, _scaled(low, "low voltage", 1.5)), (high, _scaled(high, "high voltage", 0.5))]


def _at_taps(feeder: Feeder, tap: int) -> Feeder:
    """The feeder with all regulators at one tap, or at the nearest that they have."""
    regulators = feeder.regulators
    taps = np.clip(tap, regulators.tap_min, regulators.tap_max)
    moved = reload_feeder(feeder, dict(zip(regulators.control, taps.tolist(), strict=True)))
    # The circuit's file knows other taps, not other loads.
    return dataclasses.replace(moved, terminals=feeder.terminals)


def _scaled(feeder: Feeder, name: str, scale: float) -> OperatingPoint:
    """The nominal load times a factor, devices at zero."""
    idle = np.zeros(len(feeder.terminals))
    p_kw = np.concatenate([scale * feeder.terminals.p_kw, idle])
    q_kvar = np.concatenate([scale * feeder.terminals.q_kvar, idle])
    return OperatingPoint(name, p_kw[None], q_kvar[None])


def _random(feeder: Feeder, num_scenarios: int, seed: int) -> OperatingPoint:
    """Random loads and devices, the devices with a common lean to either side."""
    rng = np.random.default_rng(seed)
    t = feeder.terminals
    size = (num_scenarios, len(t))
    # A load of zero still gets devices: those of a typical terminal.
    p_size = np.maximum(t.p_kw, t.p_kw.mean()) if len(t) else t.p_kw
    load = rng.uniform(0.1, 1.5, size)
    lean = rng.uniform(-1.0, 1.0, (num_scenarios, 1))
    p_device = p_size * (lean + rng.uniform(-1.0, 1.0, size))
    q_device = 0.5 * p_size * rng.uniform(-1.0, 1.0, size)
    return OperatingPoint(
        "random",
        np.concatenate([load * t.p_kw, p_device], axis=1),
        np.concatenate([load * t.q_kvar, q_device], axis=1),
    )

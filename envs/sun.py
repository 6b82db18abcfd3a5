"""The sun as photovoltaic inverters of a task have it: one for the whole feeder."""

from __future__ import annotations

import numpy as np

from gradmap.envs.scenarios.model import Float32Array, ScenarioSet


def highest_sun_kw(scenarios: ScenarioSet) -> float:
    """Photovoltaic generation of all roofs in the sunniest step of the training days, kW.

    Args:
        scenarios: The days, under stress or not: training days are never.
    """
    train = scenarios.days("train")
    return float(scenarios.pv_kw[train].sum(-1).max()) if len(train) else 0.0


def sun_pu(scenarios: ScenarioSet) -> Float32Array:
    """Generation of all roofs over `highest_sun_kw`, at most 1; 0 without roofs. `[day, time]`

    Args:
        scenarios: The days.
    """
    highest, total = highest_sun_kw(scenarios), scenarios.pv_kw.sum(-1)
    share: Float32Array = np.minimum(total / highest, 1.0) if highest > 0 else 0.0 * total
    return share

"""Where fixed regulators stand for ordinary days.

A circuit's own taps are those of its rated load, at which a regulator boosts
most; on an ordinary day, with half of it and some sun, they push the far end
above the band. The published task has the same pattern of taps at about a
third of the boost, chosen by hand; this is the same choice, made by search.
"""

from __future__ import annotations

import numpy as np
import torch

from gradmap.envs.config import TaskConfig
from gradmap.envs.constraints import Limits, monitored_nodes, violations
from gradmap.envs.scenarios.build import build_scenarios
from gradmap.envs.scenarios.model import ScenarioSet
from gradmap.feeders.catalog import reload_feeder
from gradmap.feeders.model import Feeder
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import solve_power_flow

SHARES = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
"""Shares of the circuit's own taps that are tried."""

STEPS = (8, 4, 2, 1)
"""Positions by which a bank is moved, one after the other."""

GOOD_PU = 1e-7
"""Mean depth outside the band below which the search ends."""

_NUM_DAYS = 12  # training days, spread over the year
_EVERY = 4  # of their steps


def day_taps(feeder: Feeder, config: TaskConfig) -> dict[str, int] | None:
    """Finds the taps at which base load and sun alone leave the band least.

    First shares of the circuit's own taps; if none keeps the band, every bank
    of regulators is moved as a whole, down and up, in ever smaller steps.

    Args:
        feeder: The feeder at the taps of its circuit.
        config: The task, for its band and days.

    Returns:
        Position of every regulator; None if the circuit has none. Of choices
        that are as good, the first: nearest the circuit.
    """
    search = _Search(feeder, config)
    if not search.own:
        return None
    best = search.own
    for share in SHARES:
        best = search.better(best, {name: round(share * tap) for name, tap in search.own.items()})
    for step in STEPS:
        for bank in search.banks:
            for change in (-step, step):
                moved = {name: best[name] + change for name in bank}
                best = search.better(best, {**best, **moved})
    return best


class _Search:
    """Tries taps of a feeder; none twice.

    Args:
        feeder: The feeder.
        config: The task.
    """

    def __init__(self, feeder: Feeder, config: TaskConfig) -> None:
        self._feeder, self._config = feeder, config
        self._scenarios = build_scenarios(feeder, config.scenarios)
        regulators = feeder.regulators
        self.own = dict(zip(regulators.control, map(int, regulators.tap), strict=True))
        ends = zip(regulators.tap_min, regulators.tap_max, strict=True)
        self._ends = dict(zip(regulators.control, ends, strict=True))
        buses = dict(zip(regulators.control, regulators.bus, strict=True))
        self.banks = [
            [name for name, at in buses.items() if at == bus]
            for bus in dict.fromkeys(buses.values())
        ]
        self._depth: dict[tuple[tuple[str, int], ...], float] = {}

    def better(self, best: dict[str, int], other: dict[str, int]) -> dict[str, int]:
        """Returns the taps that leave the band less; `best` if it keeps it, or on a tie."""
        if self._of(best) <= GOOD_PU or not self._is_possible(other):
            return best
        return other if self._of(other) < self._of(best) else best

    def _is_possible(self, taps: dict[str, int]) -> bool:
        return all(self._ends[name][0] <= tap <= self._ends[name][1] for name, tap in taps.items())

    def _of(self, taps: dict[str, int]) -> float:
        key = tuple(taps.items())
        if key not in self._depth:
            at = self._feeder if taps == self.own else reload_feeder(self._feeder, taps)
            self._depth[key] = _mean_depth(at, self._config, self._scenarios)
        return self._depth[key]


def _mean_depth(feeder: Feeder, config: TaskConfig, scenarios: ScenarioSet) -> float:
    """Mean depth outside the band under base load and sun, p.u."""
    train = scenarios.days("train")
    days = train[np.linspace(0, len(train) - 1, min(_NUM_DAYS, len(train))).astype(int)]
    power = [
        torch.tensor(getattr(scenarios, name)[days, ::_EVERY]).flatten(0, 1)
        for name in ("base_p_kw", "base_q_kvar", "pv_kw")
    ]
    network = Network.from_feeder(feeder, devices=True)
    p_kw, q_kvar = torch.cat((power[0], -power[2]), -1), torch.cat((power[1], 0 * power[2]), -1)
    with torch.no_grad():
        flow = solve_power_flow(network, p_kw, q_kvar)
    limits = Limits(config.vmin_pu, config.vmax_pu, monitored_nodes(network))
    found = violations(flow, limits)
    # A step without a solution is as bad as one that is at nothing.
    outside = (found.over_pu + found.under_pu).nan_to_num(nan=1.0)
    return float(outside.mean())

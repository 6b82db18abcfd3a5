"""Where fixed regulators stand for ordinary days.

A circuit's own taps are those of its rated load, at which a regulator boosts
most; on an ordinary day, with half of it and some sun, they push the far end
above the band. The published task has the same pattern of taps at about a
third of the boost, chosen by hand; this is the same choice, made by search.
Where voltages move more between night and evening than the band is wide no
fixed taps will do, and regulators had better be alive.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import torch
from torch import Tensor

from gradmap.envs.config import TaskConfig
from gradmap.envs.constraints import Limits, monitored_nodes, violations
from gradmap.envs.scenarios.build import build_scenarios
from gradmap.envs.scenarios.model import ScenarioSet
from gradmap.feeders.catalog import reload_feeder
from gradmap.feeders.model import Feeder
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.regulation import Regulation
from gradmap.feeders.powerflow.solve import PowerFlow, solve_power_flow

SHARES = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
"""Shares of the circuit's own taps that are tried."""

STEPS = (8, 4, 2, 1)
"""Positions by which a bank is moved, one after the other."""

GOOD_PU = 1e-7
"""Mean depth outside the band below which the search ends."""

_NUM_DAYS = 12  # training days, spread over the year
_EVERY = 4  # of their steps


@dataclasses.dataclass(frozen=True)
class DayTaps:
    """Where a feeder's regulators stand on ordinary days, and what that leaves to wish for.

    Attributes:
        taps: Position of every regulator by its control's name; None if there
            are none.
        depth_pu: How far base load and sun are outside the band at these
            taps, mean over nodes and steps, p.u.; 0 if there are none.
        is_better_alive: Whether they leave the band, and leave it less where
            the controls act in every step.
    """

    taps: dict[str, int] | None
    depth_pu: float
    is_better_alive: bool


def day_taps(feeder: Feeder, config: TaskConfig) -> DayTaps:
    """Finds the taps at which base load and sun alone leave the band least.

    First shares of the circuit's own taps; if none keeps the band, every bank
    of regulators is moved as a whole, down and up, in ever smaller steps. If
    there are no such taps either, the feeder is tried with its regulators
    alive, provided that its network can take taps of each scenario's own.

    Args:
        feeder: The feeder at the taps of its circuit.
        config: The task, for its band and days.

    Returns:
        The taps. Of choices that are as good, the first: nearest the circuit.
    """
    search = _Search(feeder, config)
    if not search.own:
        return DayTaps(None, 0.0, is_better_alive=False)
    best = search.own
    for share in SHARES:
        best = search.better(best, {name: round(share * tap) for name, tap in search.own.items()})
    for step in STEPS:
        for bank in search.banks:
            for change in (-step, step):
                moved = {name: best[name] + change for name in bank}
                best = search.better(best, {**best, **moved})
    depth = search.depth_pu(best)
    return DayTaps(best, depth, depth > GOOD_PU and search.alive_depth_pu() < depth)


class _Search:
    """Tries taps of a feeder; none twice.

    Args:
        feeder: The feeder.
        config: The task.
    """

    def __init__(self, feeder: Feeder, config: TaskConfig) -> None:
        self._feeder, self._config = feeder, config
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
        if self.own:
            self._p_kw, self._q_kvar, self._hour = _powers(
                build_scenarios(feeder, config.scenarios)
            )
            self._network = Network.from_feeder(feeder, devices=True)

    def better(self, best: dict[str, int], other: dict[str, int]) -> dict[str, int]:
        """Returns the taps that leave the band less; `best` if it keeps it, or on a tie."""
        if self.depth_pu(best) <= GOOD_PU or not self._is_possible(other):
            return best
        return other if self.depth_pu(other) < self.depth_pu(best) else best

    def _is_possible(self, taps: dict[str, int]) -> bool:
        return all(self._ends[name][0] <= tap <= self._ends[name][1] for name, tap in taps.items())

    def depth_pu(self, taps: dict[str, int]) -> float:
        """Mean depth outside the band at taps, p.u."""
        key = tuple(taps.items())
        if key not in self._depth:
            self._depth[key] = self._at(taps)
        return self._depth[key]

    @torch.no_grad()
    def _at(self, taps: dict[str, int]) -> float:
        network, given = self._network, None
        if taps != self.own:
            given = torch.tensor(list(taps.values()))
            if not _can_move(network, given):
                network, given = self._read_at(taps), None
        flow = solve_power_flow(network, self._p_kw, self._q_kvar, taps=given)
        return self._depth_of(flow)

    def _read_at(self, taps: dict[str, int]) -> Network:
        return Network.from_feeder(reload_feeder(self._feeder, taps), devices=True)

    def _depth_of(self, flow: PowerFlow) -> float:
        limits = Limits(self._config.vmin_pu, self._config.vmax_pu, self._monitored)
        found = violations(flow, limits)
        # A step without a solution is as bad as one that is at nothing.
        outside = (found.over_pu + found.under_pu).nan_to_num(nan=1.0)
        return float(outside.mean())

    @functools.cached_property
    def _monitored(self) -> Tensor:
        return monitored_nodes(self._network)

    def alive_depth_pu(self) -> float:
        """The same with the controls acting in every step; infinite where they cannot."""
        controls = self._feeder.controls.regulator
        if self._network.taps is None or all(controls.held):
            return math.inf
        rule = Regulation(self._network)
        taps = capacitors = None
        depths = []
        for step in range(self._p_kw.shape[1]):
            settled = rule.settle(
                self._p_kw[:, step],
                self._q_kvar[:, step],
                taps,
                capacitors,
                hour=self._hour[:, step],
            )
            taps, capacitors = settled.taps, settled.capacitors
            depths.append(self._depth_of(settled.flow))
        return sum(depths) / len(depths)


def _powers(scenarios: ScenarioSet) -> tuple[Tensor, Tensor, Tensor]:
    """Base load and sun at the network's ports, kW and kvar, `[day, step, port]`, and the hour."""
    train = scenarios.days("train")
    days = train[np.linspace(0, len(train) - 1, min(_NUM_DAYS, len(train))).astype(int)]
    p_kw, q_kvar, pv_kw = (
        torch.tensor(getattr(scenarios, name)[days, ::_EVERY])
        for name in ("base_p_kw", "base_q_kvar", "pv_kw")
    )
    hour = scenarios.dt_hours * _EVERY * torch.arange(p_kw.shape[1])
    return (
        torch.cat((p_kw, -pv_kw), -1),
        torch.cat((q_kvar, torch.zeros_like(pv_kw)), -1),
        hour.expand(len(days), -1),
    )


def _can_move(network: Network, taps: Tensor) -> bool:
    """Whether a network can be solved at taps other than those that it was read at."""
    if network.taps is None:
        return False
    moving = set(network.feeder.controls.adjustable.element.tolist())
    wanted = (taps.numpy() != network.feeder.regulators.tap).nonzero()[0]
    return moving.issuperset(wanted.tolist())

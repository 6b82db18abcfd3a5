"""What to change in a task that does not bind, or whose base load is outside the limits alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch

from gradmap.baselines.idle import IdlePolicy
from gradmap.envs.config import TaskConfig
from gradmap.envs.core import Core
from gradmap.envs.fleet import build_agents
from gradmap.envs.policy import Policy
from gradmap.envs.scenarios.build import build_scenarios
from gradmap.envs.sites import load_kw
from gradmap.experiments.compare_table import BINDS_PCT, SOLVABLE_PCT
from gradmap.experiments.evaluate import evaluate
from gradmap.feeders.errors import GradmapError

DIFFICULTIES = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 24.0, 32.0)
"""Difficulties that are tried, those above a task's own."""

LOAD_SHARES = (0.8, 0.6, 0.4)
"""Shares of a task's base load that are tried."""

BAND_STEP_PU = 0.005
"""A band that is proposed ends on a multiple of it."""


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """Selfish devices at a difficulty.

    Attributes:
        difficulty: Rated power of all devices over peak load.
        node_step_violation_pct: Node-steps outside the band, %.
        thermal_overload_step_pct: Steps with an overloaded branch, %.
        solver_failures: Steps without a power flow.
    """

    difficulty: float
    node_step_violation_pct: float
    thermal_overload_step_pct: float
    solver_failures: float


@dataclasses.dataclass(frozen=True)
class BaseLoad:
    """Base load and sun alone, every device idle.

    Attributes:
        settings: Keys of the task and their values, as one writes them; empty
            for the task as it is.
        node_step_violation_pct: Node-steps outside the task's band, %.
        lowest_pu: Lowest voltage of a monitored node, p.u.
        highest_pu: Highest.
        thermal_overload_step_pct: Steps with an overloaded branch, %.
    """

    settings: dict[str, float | str]
    node_step_violation_pct: float
    lowest_pu: float
    highest_pu: float
    thermal_overload_step_pct: float

    @property
    def keeps_band(self) -> bool:
        """Whether it leaves perfect foresight nothing to mend."""
        return self.node_step_violation_pct <= SOLVABLE_PCT


def own_difficulty(core: Core) -> float:
    """Difficulty that a task has, whether it says so or gives sizes.

    Args:
        core: The task.

    Returns:
        Rated power of all devices over peak load, what it would be from 50
        agents up; NaN without load.
    """
    if core.config.difficulty is not None:
        return core.config.difficulty
    rated_kw = sum(float(cast(Any, fleet).p_max_kw.sum()) for fleet in core.fleets)
    peak_kw = core.config.scenarios.base_load_scale * float(load_kw(core.feeder).sum())
    return rated_kw / (peak_kw * core.config.crowding) if peak_kw > 0 else math.nan


def climb(core: Core, selfish: Policy, days: torch.Tensor) -> list[Difficulty]:
    """Plays selfish devices at rising difficulties, until the task binds.

    They are those trained on the task itself: what is cheapest for a device by
    itself does not depend on its size, so they need no new training.

    Args:
        core: The task.
        selfish: Selfish devices, trained on it.
        days: Days to play. `[day]`

    Returns:
        What was tried, in order; the last one binds, or has steps without a
        power flow, or is the end of `DIFFICULTIES`. Nothing if a file or
        the circuit says how large devices are, or there is no load to
        measure them by.
    """
    own = own_difficulty(core)
    config = core.config
    has_sizes = config.placement.csv is not None or (config.hand_over and not config.difficulty)
    if has_sizes or math.isnan(own):
        return []
    found: list[Difficulty] = []
    for difficulty in (each for each in DIFFICULTIES if each > own):
        harder = _again(core, dataclasses.replace(config, difficulty=difficulty))
        metrics = evaluate(harder, selfish, days).metrics
        names = ("node_step_violation_pct", "thermal_overload_step_pct", "solver_failures")
        found.append(Difficulty(difficulty, *(metrics[name] for name in names)))
        if found[-1].node_step_violation_pct >= BINDS_PCT or found[-1].solver_failures > 0:
            break
    return found


def base_loads(core: Core, days: torch.Tensor) -> list[BaseLoad]:
    """Plays base load alone, as it is and changed in one way or two, until one keeps the band.

    Args:
        core: The task.
        days: Days to play. `[day]`

    Returns:
        The task as it is first, then what was tried: taps alive, then less
        load, then both.
    """
    found = [_alone(core, days, {})]
    for settings in _changes(core):
        if found[-1].keeps_band:
            break
        try:
            changed = _again(core, _with(core.config, settings))
        except GradmapError:  # nothing in the feeder can be regulated
            continue
        found.append(_alone(changed, days, settings))
    return found


def proposed_band(found: BaseLoad, config: TaskConfig) -> dict[str, float]:
    """Limits of the voltage that base load alone keeps, no narrower than the task's.

    Args:
        found: Base load.
        config: The task.

    Returns:
        `vmin_pu` and `vmax_pu`, only those that must change.
    """
    low = math.floor(found.lowest_pu / BAND_STEP_PU) * BAND_STEP_PU
    high = math.ceil(found.highest_pu / BAND_STEP_PU) * BAND_STEP_PU
    band = {}
    if low < config.vmin_pu:
        band["vmin_pu"] = round(low, 3)
    if high > config.vmax_pu:
        band["vmax_pu"] = round(high, 3)
    return band


def _changes(core: Core) -> Iterator[dict[str, float | str]]:
    """Settings to try, the gentlest first."""
    loads: list[dict[str, float | str]] = [
        {"scenarios.base_load_scale": round(share * core.config.scenarios.base_load_scale, 3)}
        for share in LOAD_SHARES
    ]
    alive: dict[str, float | str] = {"regulation": "quasi-static"}
    can_move = core.config.regulation == "fixed" and core.network.taps is not None
    if can_move:
        yield alive
    yield from loads
    if can_move:
        yield from ({**alive, **load} for load in loads)


def _with(config: TaskConfig, settings: dict[str, float | str]) -> TaskConfig:
    own: dict[str, Any] = dict(settings)
    scale = own.pop("scenarios.base_load_scale", config.scenarios.base_load_scale)
    scenarios = dataclasses.replace(config.scenarios, base_load_scale=scale)
    return dataclasses.replace(config, scenarios=scenarios, **own)


def _again(core: Core, config: TaskConfig) -> Core:
    """The same task with other settings; feeder and, if it can be, days are not read again."""
    is_same = config.scenarios == core.config.scenarios
    return Core(
        config,
        core.feeder,
        core.scenarios if is_same else build_scenarios(core.feeder, config.scenarios),
        build_agents(config, core.feeder),
        batch_size=core.batch_size,
        device=core.device,
        refill_usd_per_kwh=core.refill_usd_per_kwh,
    )


def _alone(core: Core, days: torch.Tensor, settings: dict[str, float | str]) -> BaseLoad:
    found = evaluate(core, IdlePolicy(core), days)
    v_pu = found.v_pu[np.isfinite(found.v_pu)]
    return BaseLoad(
        settings,
        found.metrics["node_step_violation_pct"],
        float(v_pu.min(initial=math.inf)),
        float(v_pu.max(initial=-math.inf)),
        found.metrics["thermal_overload_step_pct"],
    )

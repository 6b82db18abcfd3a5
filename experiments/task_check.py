"""Whether a task binds and can be solved: what devices do alone, and what foresight can."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, cast

import torch

from gradmap.algorithms.trainer import Trainer
from gradmap.baselines.foresight import PerfectForesight
from gradmap.baselines.foresight_config import ForesightConfig
from gradmap.baselines.idle import IdlePolicy
from gradmap.envs.catalog import check_name, make
from gradmap.envs.config import TaskConfig
from gradmap.envs.core import Core
from gradmap.envs.policy import Policy
from gradmap.experiments.assembly import resolve_device
from gradmap.experiments.compare_table import BINDS_PCT, SOLVABLE_PCT
from gradmap.experiments.evaluate import evaluate, pick_days
from gradmap.experiments.judged import REFERENCE
from gradmap.experiments.registry import METHODS

COLUMNS = {
    "cost_usd_per_day": "cost, $/day",
    "node_step_violation_pct": "node-steps in violation, %",
    "node_step_over_pct": "above, %",
    "node_step_under_pct": "below, %",
    "violation_max_pu": "largest, p.u.",
    "thermal_overload_step_pct": "steps with overload, %",
    "solver_failures": "failed steps",
}
"""Quantities of a check, and their headings."""


@dataclasses.dataclass(frozen=True)
class CheckBudget:
    """How much a check may take.

    Attributes:
        num_days: Test days, spread evenly over those there are.
        selfish_iterations: Outer iterations of the selfish devices.
        foresight_rounds: Convex problems of perfect foresight for each day;
            fewer where a day is at its optimum before.
    """

    num_days: int = 4
    selfish_iterations: int = 40
    foresight_rounds: int = 10


def check_task(
    task: TaskConfig, budget: CheckBudget, device: str = "auto", seed: int = 0
) -> dict[str, Any]:
    """Plays a task's test days with devices idle, selfish, and with perfect foresight.

    Args:
        task: The task.
        budget: How much to spend.
        device: `auto`, `cpu` or `cuda`.
        seed: Seed of the selfish learners.

    Returns:
        What JSON can hold: `task`, `feeder`, `num_agents`, `flexible_kw` and
        `peak_kw` (rated power of all devices, largest base load of any step),
        `days`, `methods` (figures of `COLUMNS` by method, and seconds),
        `binds`, `is_solvable`, and `advice`, phrases.

    Raises:
        GradmapError: If the task cannot be made or has no test days.
    """
    check_name(task)
    core = make(task, device=resolve_device(device))
    days = pick_days(core, "test", budget.num_days)
    found: dict[str, dict[str, float]] = {}
    policies: dict[str, Callable[[], Policy]] = {
        "idle": lambda: IdlePolicy(core),
        "selfish": lambda: _selfish(core, budget, seed),
        REFERENCE: lambda: _foresight(core, budget, days),
    }
    for name, build in policies.items():
        started = time.monotonic()
        metrics = evaluate(core, build(), days).metrics
        figures = {column: metrics[column] for column in COLUMNS}
        found[name] = {**figures, "seconds": time.monotonic() - started}
    return _verdict(core, days, found)


def _selfish(core: Core, budget: CheckBudget, seed: int) -> Policy:
    spec = METHODS["selfish"]
    trainer = cast(Trainer, spec.build(core, spec.defaults, seed))
    for iteration in range(budget.selfish_iterations):
        trainer.iterate(iteration / budget.selfish_iterations)
    return trainer.policy()


def _foresight(core: Core, budget: CheckBudget, days: torch.Tensor) -> Policy:
    solver = PerfectForesight(core, ForesightConfig(), days=days)
    most = budget.foresight_rounds * len(days)
    while solver.counters.iterations < most and not solver.is_done:
        solver.iterate(solver.counters.iterations / most)
    return solver.policy()


def _verdict(core: Core, days: torch.Tensor, found: dict[str, dict[str, float]]) -> dict[str, Any]:
    share = {name: figures["node_step_violation_pct"] for name, figures in found.items()}
    binds = share["selfish"] >= BINDS_PCT
    is_solvable = share[REFERENCE] <= SOLVABLE_PCT
    peak_kw = float(core.scenarios.base_p_kw.astype("float64").sum(-1).max())
    return {
        "task": core.config.name,
        "feeder": core.config.feeder,
        "num_agents": core.num_agents,
        "flexible_kw": float(sum(cast(Any, fleet).p_max_kw.sum() for fleet in core.fleets)),
        "peak_kw": peak_kw,
        "days": [core.scenarios.date[day] for day in days.tolist()],
        "methods": found,
        "binds": binds,
        "is_solvable": is_solvable,
        "advice": _advice(found, binds, is_solvable),
    }


def _advice(found: dict[str, dict[str, float]], binds: bool, is_solvable: bool) -> list[str]:
    """What to change, a phrase each."""
    said = []
    if not binds:
        said.append("raise task.difficulty, or task.scenarios.base_load_scale")
    if not is_solvable:
        idle = found["idle"]["node_step_violation_pct"]
        if idle > SOLVABLE_PCT:
            said.append(
                f"base load alone leaves the band at {idle:.2f} % of node-steps: other task.taps, "
                "a lower task.scenarios.base_load_scale or less task.scenarios.pv_penetration, "
                "or a wider band"
            )
        said.append("more rounds of foresight (--rounds) may keep the limits; so may more agents")
    if max(each["solver_failures"] for each in found.values()) > 0:
        said.append("power flows fail: the devices are too large for the feeder, lower difficulty")
    return said

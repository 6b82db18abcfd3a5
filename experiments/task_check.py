"""Whether a task binds and can be solved: what devices do alone, and what foresight can."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch

from gradmap.algorithms.trainer import Trainer
from gradmap.baselines.dispatch.sensitivity import refuse_free_reactive
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
from gradmap.experiments.task_search import (
    BaseLoad,
    Difficulty,
    base_loads,
    climb,
    own_difficulty,
    proposed_band,
)

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

ALIVE_COLUMNS = {"tap_operations_per_day": "tap moves a day"}
"""Those that come after them where taps are alive."""


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
    foresight_rounds: int = 20


def _silent(line: str) -> None:
    """Says nothing."""


def check_task(
    task: TaskConfig,
    budget: CheckBudget,
    device: str = "auto",
    seed: int = 0,
    say: Callable[[str], None] = _silent,
) -> dict[str, Any]:
    """Plays a task's test days with devices idle, selfish, and with perfect foresight.

    Args:
        task: The task.
        budget: How much to spend.
        device: `auto`, `cpu` or `cuda`.
        seed: Seed of the selfish learners.
        say: Told what comes next, a line each.

    Returns:
        What JSON can hold: `task`, `feeder`, `num_agents`, `difficulty`,
        `regulation`, `vmin_pu` and `vmax_pu`, `flexible_kw` and `peak_kw`
        (rated power of all devices, largest base load of any step), `days`,
        `methods` (figures of `COLUMNS` and `ALIVE_COLUMNS` by method, and seconds), `binds`,
        `is_solvable`, `difficulties` (what was tried if it does not bind),
        `base_loads` (likewise if base load alone is why it was not solved),
        and `advice`, phrases.

    Raises:
        GradmapError: If the task cannot be made, has no test days, or leaves
            reactive power to the agents, for which there is no foresight.
    """
    check_name(task)
    core = make(task, device=resolve_device(device))
    refuse_free_reactive(core)  # before the others have played, not after
    days = pick_days(core, "test", budget.num_days)
    policies: dict[str, Callable[[], Policy]] = {
        "idle": lambda: IdlePolicy(core),
        "selfish": lambda: _selfish(core, budget, seed),
        REFERENCE: lambda: _foresight(core, budget, days),
    }
    found: dict[str, dict[str, float]] = {}
    made: dict[str, Policy] = {}
    for name, build in policies.items():
        say(f"{name}: {len(days)} days")
        started = time.monotonic()
        made[name] = build()
        metrics = evaluate(core, made[name], days).metrics
        names = (name for name in (*COLUMNS, *ALIVE_COLUMNS) if name in metrics)
        figures = {column: metrics[column] for column in names}
        found[name] = {**figures, "seconds": time.monotonic() - started}
    share = {name: figures["node_step_violation_pct"] for name, figures in found.items()}
    binds = share["selfish"] >= BINDS_PCT
    is_solvable = share[REFERENCE] <= SOLVABLE_PCT
    is_loaded = not is_solvable and share["idle"] > SOLVABLE_PCT
    if is_loaded or not binds:
        say("looking for what to change")
    loads = base_loads(core, days) if is_loaded else []
    higher = [] if binds else climb(core, made["selfish"], days)
    return {
        **_facts(core),
        "days": [core.scenarios.date[day] for day in days.tolist()],
        "methods": found,
        "binds": binds,
        "is_solvable": is_solvable,
        "difficulties": [dataclasses.asdict(each) for each in higher],
        "base_loads": [dataclasses.asdict(each) for each in loads],
        "advice": [
            *([] if binds else _harder(higher)),
            *([] if is_solvable else _easier(core.config, found, loads)),
            *_warnings(found),
        ],
    }


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


def _facts(core: Core) -> dict[str, Any]:
    """What the task is."""
    difficulty = own_difficulty(core)
    return {
        "task": core.config.name,
        "feeder": core.config.feeder,
        "num_agents": core.num_agents,
        "difficulty": difficulty,
        "regulation": core.config.regulation,
        "vmin_pu": core.config.vmin_pu,
        "vmax_pu": core.config.vmax_pu,
        "flexible_kw": float(sum(cast(Any, fleet).p_max_kw.sum() for fleet in core.fleets)),
        "peak_kw": float(core.scenarios.base_p_kw.astype("float64").sum(-1).max()),
    }


def _harder(tried: list[Difficulty]) -> list[str]:
    """What to change so that the task binds, a phrase each."""
    if not tried:
        return ["raise the sizes of the devices, or task.scenarios.base_load_scale"]
    last = tried[-1]
    what = (
        f"at task.difficulty {last.difficulty:g} selfish devices violate at "
        f"{last.node_step_violation_pct:.1f} % of node-steps"
    )
    if last.node_step_violation_pct >= BINDS_PCT and not last.solver_failures:
        return [f"{what}, which binds: set task.difficulty {last.difficulty:g}"]
    if last.solver_failures:
        return [
            f"no difficulty binds: at {last.difficulty:g} power flows fail. Give a narrower band "
            "(task.vmin_pu, task.vmax_pu), or more load (task.scenarios.base_load_scale)"
        ]
    overloaded = last.thermal_overload_step_pct
    return [
        f"{what} and overload a branch in {overloaded:.0f} % of steps: what binds here are "
        "ratings. Give a narrower band (task.vmin_pu, task.vmax_pu) if voltages are to"
    ]


def _easier(
    config: TaskConfig, found: dict[str, dict[str, float]], loads: list[BaseLoad]
) -> list[str]:
    """What to change so that the task can be solved, a phrase each."""
    if not loads:
        return [
            "more rounds of foresight (--rounds) may keep the limits; so may more agents, or a "
            "lower task.difficulty"
        ]
    now, last = loads[0], loads[-1]
    said = [
        f"base load alone leaves the band at {now.node_step_violation_pct:.2f} % of node-steps, "
        f"between {now.lowest_pu:.3f} and {now.highest_pu:.3f} p.u."
    ]
    if last.keeps_band:
        said.append(f"it keeps the band with {_words(last.settings)}")
    for each in loads:
        # Alive taps and the load as it is: the two from which a band is proposed.
        if "scenarios.base_load_scale" not in each.settings and not each.keeps_band:
            said.append(
                f"or it does with {_words({**each.settings, **proposed_band(each, config)})}"
            )
    return said


def _words(settings: Mapping[str, float | str]) -> str:
    """Settings as one types them."""
    return " and ".join(f"task.{key} {value}" for key, value in settings.items())


def _warnings(found: dict[str, dict[str, float]]) -> list[str]:
    """What else stands out, a phrase each."""
    said = []
    if found[REFERENCE]["cost_usd_per_day"] >= found["idle"]["cost_usd_per_day"]:
        said.append(
            "perfect foresight found nothing cheaper than idle devices that keeps the limits: give "
            "it more rounds (--rounds)"
        )
    overloaded = found[REFERENCE]["thermal_overload_step_pct"]
    if overloaded > 0:
        idle = found["idle"]["thermal_overload_step_pct"]
        why = (
            f"base load alone in {idle:.1f} %: the circuit's ratings, or "
            "task.scenarios.base_load_scale"
            if idle > 0
            else "base load alone in none: give it more rounds (--rounds)"
        )
        said.append(f"perfect foresight overloads a branch in {overloaded:.1f} % of steps, {why}")
    if max(each["solver_failures"] for each in found.values()) > 0:
        said.append("power flows fail: the devices are too large for the feeder, lower difficulty")
    return said

"""A made-up comparison, with all that a report can show, in no time."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradmap.envs.config import TaskConfig
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.metrics import QUANTITIES
from gradmap.experiments.registry import METHODS
from gradmap.experiments.results import Results, RunResult
from gradmap.experiments.trace import RANKS, STATE_UNITS
from gradmap.feeders.catalog import load_feeder

TASK = "ieee123-mixed-v1"
DATES = [f"2016-{month:02}-15" for month in range(1, 13, 2)]
STEPS = 48
ALL = tuple(METHODS)
REFERENCE = "perfect-foresight"


def make_results(
    out: pathlib.Path,
    methods: Sequence[str] = ("gradmap", "ippo", "selfish", "rules", REFERENCE),
    *,
    seeds: int = 1,
    tasks: Sequence[str] = (TASK,),
    splits: Sequence[str] = ("test",),
    failed: Sequence[str] = (),
    why: str = "out of memory",
    has_arrays: bool = True,
    has_traces: bool = True,
    has_bound: bool = True,
    num_agents: int = 1000,
) -> Results:
    """Makes the runs; only what a judgement keeps beside itself is written to `out`."""
    task = TaskConfig(num_agents=num_agents)
    config = CompareConfig(
        task=task,
        tasks={} if tuple(tasks) == (TASK,) else {name: {} for name in tasks},
        methods=tuple(methods),
        seeds=tuple(range(seeds)),
        splits=tuple(splits),
    )
    runs = []
    for name in tasks:
        for place, method in enumerate(methods):
            learns = METHODS[method].needs_training and method != REFERENCE
            for seed in range(seeds if learns else 1):
                folder = out / "runs" / name / method / f"seed-{seed}"
                if method in failed:
                    runs.append(RunResult(name, method, seed, f"failed: {why}", folder, {}, []))
                    continue
                own = splits[:1] if method == REFERENCE else splits
                found = {
                    split: judgement(method, place, seed, i, has_bound)
                    for i, split in enumerate(own)
                }
                if has_arrays:
                    keep_arrays(folder, splits[0], method, place, has_traces)
                rows = validations(place, seed) if learns else []
                runs.append(RunResult(name, method, seed, "done", folder, found, rows))
    facts = {"cpu": "a processor", "cores": 2, "gpu": "", "gradmap": "0.1.0", "torch": "2.13.0"}
    return Results(config, tuple(runs), {**facts, "num_days": len(DATES)})


def judgement(method: str, place: int, seed: int, split: int, has_bound: bool) -> dict[str, Any]:
    violation = {"selfish": 8.0, REFERENCE: 0.0}.get(method, 0.1 * place) * (1 + split)
    cost = -1000.0 + 150.0 * split + 90.0 * place + 5.0 * seed + 20.0 * np.arange(len(DATES))
    if method == REFERENCE:
        cost = -1100.0 + 20.0 * np.arange(len(DATES))
    days = {name: np.zeros(len(DATES)) for name in QUANTITIES}
    days["cost_usd_per_day"] = cost
    days["node_step_violation_pct"] = np.linspace(0.5, 1.5, len(DATES)) * violation
    days["violation_usd_per_day"] = 30.0 * days["node_step_violation_pct"]
    metrics = {name: float(own.mean()) for name, own in days.items()}
    engine = {"metrics": metrics, "by_day": {name: own.tolist() for name, own in days.items()}}
    found = {
        **dict.fromkeys(("train_seconds", "iterations", "env_gradients", "env_steps"), 100.0),
        "power_flow_solves": 1e5,
        "iteration": 5,
        "session": {"peak_memory_mib": 100.0},
        "dates": DATES,
        "engines": {"torch": engine, "opendss": engine},
    }
    if method == REFERENCE and has_bound:
        found["lower_bound_usd_per_day"] = (cost - 30.0).tolist()
    return found


def validations(place: int, seed: int) -> list[dict[str, Any]]:
    rows = []
    for i in range(30):
        cost = 3000.0 * np.exp(-i / (4 + place + 0.3 * seed)) - 1000.0
        metrics = {
            "cost_usd_per_day": cost,
            "violation_usd_per_day": 100.0 / (1 + i),
            "node_step_violation_pct": 5.0 / (1 + i) ** 2,
        }
        counted = {"seconds": 4.0 * i, "power_flow_solves": 3000 * i, "env_gradients": 5 * i}
        rows.append({"kind": "validation", "iteration": 5 * i, **counted, "metrics": metrics})
    return rows


def keep_arrays(
    folder: pathlib.Path, split: str, method: str, place: int, has_traces: bool
) -> None:
    feeder = load_feeder("ieee123", TaskConfig().taps)
    nodes = [feeder.node_names[i] for i in np.flatnonzero(~feeder.is_source_node)]
    lead = (len(DATES), STEPS)
    random = np.random.default_rng(place)
    hours = np.arange(STEPS) / 2.0
    swing = (0.08 if method == "selfish" else 0.03) * np.sin((hours - 9.0) / 24.0 * 2 * np.pi)
    far = np.linspace(0.0, 1.0, len(nodes))
    v_pu = 1.0 + swing[None, :, None] * far + 0.002 * random.standard_normal((*lead, len(nodes)))
    arrays: dict[str, Any] = {"v_pu_torch": v_pu.astype(np.float32), "node": np.array(nodes)}
    if method == "gradmap":
        over = np.maximum(swing, 0)[:, None] * np.maximum(far - 0.5, 0) * 4000.0
        arrays |= {"multiplier_over": over, "multiplier_under": np.zeros_like(over)}
    if has_traces:
        kinds = [kind for kind in STATE_UNITS for _ in RANKS]
        kept = (*lead, len(kinds))
        arrays |= {
            "trace_agent": np.array([f"{kind}_{i:04}" for i, kind in enumerate(kinds)]),
            "trace_kind": np.array(kinds),
            "trace_rank": np.array(RANKS * len(STATE_UNITS)),
            "trace_bus": np.array(["76"] * len(kinds)),
            "trace_comfort_degc": np.array(
                [[20.0, 23.0] if kind == "heat_pump" else [np.nan] * 2 for kind in kinds]
            ),
            "trace_state": 21.0 + random.standard_normal(kept),
            "trace_action": np.zeros(kept),
            "trace_p_kw": 5.0 * random.standard_normal(kept),
            "trace_v_pu": v_pu[..., : len(kinds)],
            "trace_base_kw": 3.0 + random.random(kept),
            "trace_pv_kw": random.random(kept),
            "trace_tariff_usd_per_kwh": 0.2 + 0.05 * random.random(lead),
            "trace_temp_outdoor_degc": np.zeros(lead) + 5.0 * np.arange(len(DATES))[:, None],
        }
    path = folder / "evaluation" / f"{split}-best.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)

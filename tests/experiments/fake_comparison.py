"""Folders of comparisons whose runs are made up."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping

from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import RunKey, run_configs
from gradmap.experiments.files import fingerprint, write_json, write_text, write_yaml
from gradmap.experiments.metrics import QUANTITIES
from gradmap.experiments.registry import METHODS
from gradmap.experiments.results import own_splits, run_folder, run_log, wanted_engines
from gradmap.experiments.runs import RunFolder

SESSION = {
    "status": "running",
    "gradmap": "0.1.0",
    "packages": {"torch": "2.13.0"},
    "hardware": {"cpu": "a chip", "cores": 2, "gpu": None},
    "peak_memory_mib": 512.0,
}
DATES = ["2016-01-01", "2016-07-01"]
Metrics = Callable[[RunKey, float], Mapping[str, float | None]]
"""What a run's judgement finds once it has gone a share of its way, 0 to 1."""


def metrics(cost: float, violation_pct: float, priced: float = 0.0) -> dict[str, float]:
    given = {
        "cost_usd_per_day": cost,
        "node_step_violation_pct": violation_pct,
        "violation_usd_per_day": priced,
    }
    return {**dict.fromkeys(QUANTITIES, 0.0), **given}


def add_run(out: pathlib.Path, config: CompareConfig, key: RunKey, found: Metrics) -> RunFolder:
    """A run that is trained and judged; a judgement every fifth of its way."""
    spec = METHODS[key.method]
    run = RunFolder.create(run_folder(out, key), run_configs(config)[key], dict(SESSION))
    for k in range(6 if spec.needs_training else 1):
        row = {
            "kind": "validation",
            "iteration": 5 * k,
            "seconds": 4.0 * k,
            "env_gradients": 5 * k,
            "env_steps": 480 * k,
            "power_flow_solves": 960 * k,
        }
        run.append_row({**row, "metrics": dict(found(key, k / 5))})
    run.end_session("finished")
    run.checkpoint("best").touch()
    for split in own_splits(config, spec):
        judge(run, config, split, found(key, 1.0))
    return run


def judge(
    run: RunFolder, config: CompareConfig, split: str, found: Mapping[str, float | None]
) -> None:
    last = run.rows()[-1]
    by_day = {name: [value] * len(DATES) for name, value in found.items()}
    whole = {"metrics": dict(found), "by_day": by_day}
    judged = {
        "method": run.config.method,
        "title": METHODS[run.config.method].title,
        "split": split,
        "checkpoint_sha256": fingerprint(run.checkpoint("best")),
        "iteration": last["iteration"],
        "iterations": last["iteration"],
        "train_seconds": last["seconds"],
        **{name: last[name] for name in ("env_gradients", "env_steps", "power_flow_solves")},
        "dates": DATES,
        "session": SESSION,
        "engines": dict.fromkeys(wanted_engines(config, split), whole),
    }
    write_json(run.path / "evaluation" / f"{split}-best.json", judged)


def make(out: pathlib.Path, config: CompareConfig, found: Metrics) -> pathlib.Path:
    """A comparison that is finished."""
    write_yaml(out / "config.yaml", config.model_dump(mode="json"))
    for key in run_configs(config):
        add_run(out, config, key, found)
    return out


def fail(out: pathlib.Path, key: RunKey, reason: str) -> None:
    """Marks a run as failed."""
    mark = run_log(out, key).with_suffix(".failed")
    mark.parent.mkdir(parents=True, exist_ok=True)
    write_text(mark, f"{reason}\n")

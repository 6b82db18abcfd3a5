"""The judgement of a run: made, kept in the run's folder, shown as a table."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from rich.table import Table

from gradmap.envs.core import Core
from gradmap.envs.scenarios.model import SPLITS
from gradmap.envs.scenarios.stress import Stress, find_stress, stress_days
from gradmap.experiments.assembly import Assembly
from gradmap.experiments.evaluate import Engine, Evaluation, Played, judge, pick_days, play
from gradmap.experiments.files import fingerprint, write_json
from gradmap.experiments.frozen import load_run
from gradmap.experiments.metrics import QUANTITIES, REGULATION_QUANTITIES
from gradmap.experiments.offline import OfflinePolicy
from gradmap.experiments.registry import method_spec
from gradmap.experiments.runs import RunFolder
from gradmap.experiments.terminal import console
from gradmap.experiments.trace import trace
from gradmap.experiments.train import COUNTED
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.files import replacing


def judge_run(
    folder: RunFolder, split: str, engines: Sequence[Engine], checkpoint: str
) -> dict[str, Any]:
    """Judges a run's policy on the days of a split.

    Args:
        folder: The run.
        split: The days: `train`, `validation`, `test` or the name of a stress.
        engines: Whose voltages and currents to judge.
        checkpoint: `best` or `latest`.

    Returns:
        The judgement, as JSON can hold it.

    Raises:
        GradmapError: If the run has no such checkpoint, there is no such
            split, or the method knows no days but its own.
    """
    stress = _find_stress(folder, split)
    name = stress.name if stress else None
    path = folder.checkpoint(checkpoint)
    # Before it is read: what replaces it meanwhile is another.
    judged = fingerprint(path) if path.is_file() else None
    loaded, meta = load_run(folder.config, path, name)
    with contextlib.closing(loaded) as assembly:
        core, spec = assembly.core, assembly.spec
        played = _play(assembly, split, stress)
        found = {engine: judge(core, played, engine) for engine in engines}
        extra = trace(core, played)
        if not spec.is_decentralised:
            # Finding them again may take minutes: `gradmap export` takes these.
            extra["action"] = played.action.astype(np.float32)
        _keep_arrays(folder, assembly, found, extra, f"{split}-{checkpoint}")
        bounds = _lower_bounds(assembly)
    return {
        **_facts(folder),
        "method": spec.name,
        "title": spec.title,
        "is_reference": spec.is_reference,
        "task": meta["task"],
        "split": split,
        "checkpoint": checkpoint,
        "checkpoint_sha256": judged,
        "iteration": meta["position"]["iteration"],
        "dates": list(next(iter(found.values())).dates),
        "vmin_pu": core.limits.vmin_pu,
        "vmax_pu": core.limits.vmax_pu,
        "quantities": _quantities(core),
        "engines": {engine: _as_json(each) for engine, each in found.items()},
        **bounds,
    }


def _quantities(core: Core) -> dict[str, str]:
    """What each quantity of a task is."""
    return QUANTITIES if core.regulation is None else {**QUANTITIES, **REGULATION_QUANTITIES}


def _lower_bounds(run: Assembly) -> dict[str, list[float]]:
    """What the reference knows of the least cost of each of its days, $."""
    find_bound = getattr(run.trainer, "lower_bound_usd", None)
    bound = None if find_bound is None else find_bound()
    return {} if bound is None else {"lower_bound_usd_per_day": bound.tolist()}


def _find_stress(folder: RunFolder, split: str) -> Stress | None:
    """The stress of a split, None for the task's own days."""
    stress = None if split in SPLITS else find_stress(split)
    if stress is not None and not method_spec(folder.config.method).can_stress:
        raise GradmapError(
            f"{folder.config.method} was computed for the days of the task as they are; it has "
            f"no actions for split {split!r}"
        )
    return stress


def _play(run: Assembly, split: str, stress: Stress | None) -> Played:
    policy, core = run.trainer.policy(), run.core
    if stress is None:
        days = pick_days(core, split)
    else:
        days = torch.tensor(stress_days(core.scenarios, stress.name), device=core.device)
        if stress.offline_share:
            policy = OfflinePolicy(policy, core, stress.offline_share)
    return play(core, policy, days, run.config.evaluation_batch)


def _facts(folder: RunFolder) -> dict[str, Any]:
    """What a run has used, and on what machine."""
    rows = folder.rows()
    last = rows[-1] if rows else {}
    return {
        "run": str(folder.path),
        "train_seconds": last.get("seconds", 0.0),
        "iterations": last.get("iteration", 0),
        **{name: last.get(name, 0) for name in COUNTED},
        "session": folder.manifest()["sessions"][-1],
    }


def keep(folder: RunFolder, judgement: dict[str, Any]) -> pathlib.Path:
    """Writes a judgement into the run's folder, and returns where.

    Args:
        folder: The run.
        judgement: From `judge_run`.
    """
    path = folder.path / "evaluation" / f"{judgement['split']}-{judgement['checkpoint']}.json"
    write_json(path, judgement)
    return path


def load_judgement(path: pathlib.Path) -> dict[str, Any]:
    """Reads a judgement that `keep` has written.

    Args:
        path: The file.

    Raises:
        GradmapError: If it is not there or damaged.
    """
    try:
        loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise GradmapError(
            f"cannot read judgement {path}: {error}; evaluate the run again"
        ) from None
    return loaded


def show(judgement: dict[str, Any]) -> None:
    """Prints a judgement: a row for each quantity, a column for each engine.

    Args:
        judgement: From `judge_run`.
    """
    engines = judgement["engines"]
    title = (
        f"{judgement['title']}: {judgement['checkpoint']} checkpoint "
        f"(iteration {judgement['iteration']}), {len(judgement['dates'])} {judgement['split']} days"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("quantity", no_wrap=True)
    for engine in engines:
        table.add_column(engine, justify="right", no_wrap=True)
    table.add_column("what it is, and per what")
    names = dict.fromkeys(name for found in engines.values() for name in found["metrics"])
    for name in names:
        cells = [number(found["metrics"].get(name)) for found in engines.values()]
        known = {**QUANTITIES, **REGULATION_QUANTITIES}
        meaning = known.get(name, "energy drawn by devices of this type, kWh per day")
        table.add_row(name, *cells, meaning)
    console().print(table)


def number(value: float | None) -> str:
    """A number with about three significant digits, `–` where there is none."""
    if value is None or value != value:
        return "–"
    if value and abs(value) < 1e-3:
        return f"{value:.2e}"
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.1 else 4
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _as_json(found: Evaluation) -> dict[str, Any]:
    by_day = {name: values.tolist() for name, values in found.by_day.items()}
    return {"metrics": found.metrics, "by_day": by_day}


def _keep_arrays(
    folder: RunFolder,
    run: Assembly,
    found: dict[Engine, Evaluation],
    extra: dict[str, Any],
    name: str,
) -> None:
    """Keeps monitored voltages, the method's prices and what else is given, for plots and study."""
    core, feeder = run.core, run.core.feeder
    monitored = core.limits.monitored.cpu().numpy()
    arrays: dict[str, Any] = {f"v_pu_{engine}": each.v_pu for engine, each in found.items()}
    for key, tensor in (run.trainer.multipliers or {}).items():
        arrays[f"multiplier_{key}"] = tensor.detach().cpu().numpy().astype(np.float32)
    arrays["node"] = np.array([feeder.node_names[index] for index in monitored])
    arrays["date"] = np.array(next(iter(found.values())).dates)
    path = folder.path / "evaluation" / f"{name}.npz"
    with replacing(path) as aside:
        np.savez_compressed(aside, **arrays, **extra)

"""Small files of a comparison's policies, from which its table can be drawn again.

    config.yaml                    the comparison
    <method>/seed-<k>/             a run each
        config.yaml                its configuration
        manifest.json              where and with what it was trained
        metrics.jsonl              its judgements in training
        policy.json, policy.npz    the best policy: halves, or bytes for actions

Nothing in them is executed: `policy.npz` is read without pickle.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import torch

from gradmap.algorithms.checkpoint import save_checkpoint
from gradmap.baselines.foresight import OpenLoopPolicy
from gradmap.experiments.assembly import Assembly
from gradmap.experiments.compare_jobs import Job, plan_jobs
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import load_compare_config, own_values, run_configs
from gradmap.experiments.evaluate import evaluate
from gradmap.experiments.files import write_json, write_text, write_yaml
from gradmap.experiments.frozen import KIND, Tensors, freeze, load_run
from gradmap.experiments.results import Results, RunResult, load_results, run_folder
from gradmap.experiments.runs import RunFolder
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.files import replacing

MARK = "from-checkpoints.txt"
"""File of a comparison's folder that says which checkpoints it was drawn from."""

COST_TOLERANCE = 1e-3
"""How far the cost of rounded actions may be from that of the actions themselves."""

_BYTE = 127.0

_LIMITS = ("node_step_violation_pct", "thermal_overload_step_pct")


def export_comparison(out: pathlib.Path, dest: pathlib.Path) -> list[RunResult]:
    """Keeps the best policies of a comparison as small files.

    Args:
        out: The comparison's folder.
        dest: Where to; what it holds of earlier exports is replaced.

    Returns:
        The runs that were left out, as they are not done.

    Raises:
        GradmapError: If nothing is done, there are several tasks, or `dest`
            holds something else.
    """
    results = load_results(out)
    done = [run for run in results.runs if run.status == "done"]
    if not done or len(results.tasks) > 1:
        raise GradmapError(
            f"{out} has {len(done)} finished runs of {len(results.tasks)} tasks; expected one "
            "task and at least one run"
        )
    if dest.exists() and any(dest.iterdir()) and not (dest / "config.yaml").is_file():
        raise GradmapError(f"{dest} holds something else than checkpoints; give another folder")
    shutil.rmtree(dest, ignore_errors=True)
    methods = tuple(dict.fromkeys(run.method for run in done))
    kept = results.config.model_copy(update={"methods": methods})
    _write_config(dest, kept)
    for run in done:
        _export_run(results, run, dest / run.method / f"seed-{run.seed}")
    return [run for run in results.runs if run.status != "done"]


def restore_comparison(source: pathlib.Path, out: pathlib.Path) -> list[Job]:
    """Lays out the folder of a comparison whose runs are trained, and not judged yet.

    Args:
        source: Folder that `export_comparison` has made.
        out: The comparison's folder; runs that it holds from the same source
            are kept.

    Returns:
        Its jobs: all that is left to do is to judge, on the days of the table.

    Raises:
        GradmapError: If there are no such files, they are damaged, or `out`
            holds another comparison.
    """
    if not (source / "config.yaml").is_file():
        raise GradmapError(
            f"{source} holds no checkpoints; they come with the repository, not with the "
            "installed package: name their folder"
        )
    mark = out / MARK
    is_other = (out / "config.yaml").exists() and not mark.exists()
    if is_other or (mark.exists() and mark.read_text("utf-8").strip() != str(source.resolve())):
        raise GradmapError(f"{out} holds another comparison; choose another --out, or delete it")
    config = load_compare_config(source / "config.yaml")
    # Actions were recorded on the days of the table alone.
    config = config.model_copy(update={"splits": config.splits[:1]})
    _write_config(out, config)
    write_text(mark, f"{source.resolve()}\n")
    for key in run_configs(config):
        slim, folder = source / key.method / f"seed-{key.seed}", run_folder(out, key)
        if slim.is_dir() and not folder.exists():
            _restore_run(slim, folder)
    return [job for job in plan_jobs(config, out, is_checked=False) if job.folder.exists()]


def _write_config(folder: pathlib.Path, config: CompareConfig) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_yaml(folder / "config.yaml", config.model_dump(mode="json"))


def _export_run(results: Results, run: RunResult, dest: pathlib.Path) -> None:
    folder = RunFolder.open(run.folder)
    dest.mkdir(parents=True)
    write_yaml(dest / "config.yaml", own_values(folder.config))
    manifest = folder.manifest()
    write_json(dest / "manifest.json", {**manifest, "sessions": manifest["sessions"][-1:]})
    rows = [json.dumps(row) + "\n" for row in folder.rows("validation")]
    write_text(dest / "metrics.jsonl", "".join(rows))
    loaded, meta = load_run(folder.config, folder.checkpoint("best"))
    with contextlib.closing(loaded) as assembly:
        tensors, about = freeze(assembly, results.config.split)
        if about[KIND] == "actions":
            tensors = _round_actions(assembly, tensors)
        else:
            tensors = {name: _halved(tensor) for name, tensor in tensors.items()}
    write_json(dest / "policy.json", {**meta, **about})
    with replacing(dest / "policy.npz") as aside, aside.open("wb") as file:
        arrays: dict[str, Any] = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        np.savez_compressed(file, **arrays)


def _round_actions(run: Assembly, tensors: Tensors) -> Tensors:
    """Rounds recorded actions as far as they keep the limits as well as they did."""
    days, action = tensors["days"], tensors["action"]
    whole = _judged(run, days, action)
    for rounded in (torch.round(action * _BYTE).to(torch.int8), action.half()):
        found = _judged(run, days, _exact(rounded))
        is_close = abs(found["cost_usd_per_day"] - whole["cost_usd_per_day"]) <= (
            COST_TOLERANCE * abs(whole["cost_usd_per_day"])
        )
        if is_close and all(found[name] <= whole[name] for name in _LIMITS):
            return {"days": days, "action": rounded}
    return {"days": days, "action": action}


def _judged(run: Assembly, days: torch.Tensor, action: torch.Tensor) -> dict[str, float]:
    policy = OpenLoopPolicy(days, action)
    return evaluate(run.core, policy, days, run.config.evaluation_batch).metrics


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    """In float16, where that can hold it."""
    half = tensor.half() if tensor.is_floating_point() else tensor
    return half if bool(torch.isfinite(half).all()) else tensor


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    """What the rounded values stand for, in float32."""
    if tensor.dtype == torch.int8:
        return tensor.float() / _BYTE
    return tensor.float() if tensor.is_floating_point() else tensor


def _restore_run(slim: pathlib.Path, folder: pathlib.Path) -> None:
    """Makes a run's folder, whole or not at all."""
    tensors, meta = _read_policy(slim)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}-new")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        (aside / "checkpoints").mkdir(parents=True)
        for name in ("config.yaml", "manifest.json", "metrics.jsonl"):
            shutil.copyfile(slim / name, aside / name)
        save_checkpoint(aside / "checkpoints" / "best.pt", tensors, meta)
        aside.rename(folder)
    except OSError as error:
        raise GradmapError(f"cannot lay {slim} out in {folder}: {error.strerror}") from None


def _read_policy(slim: pathlib.Path) -> tuple[Tensors, dict[str, Any]]:
    try:
        meta: dict[str, Any] = json.loads((slim / "policy.json").read_text("utf-8"))
        with np.load(slim / "policy.npz", allow_pickle=False) as kept:
            tensors = {name: _exact(torch.from_numpy(kept[name])) for name in kept.files}
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise GradmapError(f"{slim} holds no policy that can be read ({reason})") from None
    return tensors, meta

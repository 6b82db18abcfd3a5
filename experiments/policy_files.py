"""Small files of a comparison's policies, from which its table can be drawn again.

    config.yaml                    the comparison
    <method>/seed-<k>/             a run each
        config.yaml                its configuration
        manifest.json              where and with what it was trained
        metrics.jsonl              its judgements in training
        figures.json               what the comparison found on the days of the table
        policy.json, policy.npz    the best policy, rounded as far as its figures allow

Nothing in them is executed: `policy.npz` is read without pickle.
`gradmap.experiments.policy_rounding` says how numbers lie in it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import hashlib
import json
import lzma
import multiprocessing
import pathlib
import shutil
import zipfile
from typing import Any

import numpy as np

from gradmap.algorithms.checkpoint import save_checkpoint
from gradmap.experiments.compare_jobs import Job, plan_jobs
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import load_compare_config, own_values, run_configs
from gradmap.experiments.evaluate import pick_days
from gradmap.experiments.files import fingerprint, write_json, write_text, write_yaml
from gradmap.experiments.frozen import Tensors, freeze, load_run
from gradmap.experiments.judgement import load_judgement, number
from gradmap.experiments.manifest import num_cores
from gradmap.experiments.policy_rounding import SHOWN, Arrays, fewest_bits, unpack_all
from gradmap.experiments.results import Results, RunResult, load_results, run_folder
from gradmap.experiments.runs import RunFolder
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.files import replacing

MARK = "from-checkpoints.txt"
"""File of a comparison's folder that says which checkpoints it was drawn from."""

RUNS_A_PROCESS = 4
"""Runs that are worth a process of their own, which takes seconds to start."""

_UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, lzma.LZMAError)


def export_comparison(out: pathlib.Path, dest: pathlib.Path) -> list[RunResult]:
    """Keeps the best policies of a comparison as small files, and prints a line for each.

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
    _export_runs(done, results.config.split, dest)
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
            f"{source} holds no checkpoints; give a folder that `gradmap export` has made, or "
            "none, for those of the quick comparison"
        )
    mark, own = out / MARK, f"sha256 {_fingerprint(source)}"
    is_other = (out / "config.yaml").exists() and not mark.exists()
    if is_other or (mark.exists() and mark.read_text("utf-8").splitlines()[-1:] != [own]):
        raise GradmapError(f"{out} holds another comparison; choose another --out, or delete it")
    config = load_compare_config(source / "config.yaml")
    # Actions were recorded on the days of the table alone.
    config = config.model_copy(update={"splits": config.splits[:1]})
    _write_config(out, config)
    write_text(mark, f"{source.resolve()}\n{own}\n")
    for key in run_configs(config):
        slim, folder = source / key.method / f"seed-{key.seed}", run_folder(out, key)
        if slim.is_dir() and not folder.exists():
            _restore_run(slim, folder)
    return [job for job in plan_jobs(config, out, is_checked=False) if job.folder.exists()]


def moved_figures(source: pathlib.Path, results: Results) -> list[str]:
    """Figures that are not, to the digits shown, those of the comparison that was exported.

    They may move a little where another processor or another version of torch
    rounds otherwise.

    Args:
        source: Folder that `export_comparison` has made.
        results: The comparison, judged anew.

    Returns:
        A phrase for each.

    Raises:
        GradmapError: If its figures cannot be read.
    """
    moved = []
    for run in results.runs:
        path = source / run.method / f"seed-{run.seed}" / "figures.json"
        judged = run.judgements.get(results.config.split)
        if judged is None or not path.parent.is_dir():
            continue
        found = judged["engines"]["torch"]["metrics"]
        for name, was in load_judgement(path)["metrics"].items():
            if number(found.get(name)) != number(was):
                phrase = f"{name} {number(found.get(name))}, was {number(was)}"
                moved.append(f"{run.method}, seed {run.seed}: {phrase}")
    return moved


def _fingerprint(source: pathlib.Path) -> str:
    """Digest of all that a folder holds: a renewed one is another."""
    digest = hashlib.sha256()
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(source).as_posix()} {fingerprint(file)}\n".encode())
    return digest.hexdigest()


def _write_config(folder: pathlib.Path, config: CompareConfig) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_yaml(folder / "config.yaml", config.model_dump(mode="json"))


def _export_runs(runs: list[RunResult], split: str, dest: pathlib.Path) -> None:
    """Exports runs, several at a time where they are many."""
    export = functools.partial(_export_run, split, dest)
    workers = min(num_cores() or 1, -(-len(runs) // RUNS_A_PROCESS))
    if workers == 1:
        for run in runs:
            print(export(run), flush=True)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
        for line in pool.map(export, runs):
            print(line, flush=True)


def _export_run(split: str, root: pathlib.Path, run: RunResult) -> str:
    """Exports a run, and says in how many bits."""
    folder, dest = RunFolder.open(run.folder), root / run.method / f"seed-{run.seed}"
    dest.mkdir(parents=True)
    write_yaml(dest / "config.yaml", own_values(folder.config))
    manifest = folder.manifest()
    write_json(dest / "manifest.json", {**manifest, "sessions": manifest["sessions"][-1:]})
    rows = [json.dumps(row) + "\n" for row in folder.rows("validation")]
    write_text(dest / "metrics.jsonl", "".join(rows))
    loaded, meta = load_run(folder.config, folder.checkpoint("best"))
    with contextlib.closing(loaded) as assembly:
        judged = folder.path / "evaluation" / f"{split}-best.npz"
        tensors, about = freeze(assembly, split, judged)
        days = pick_days(assembly.core, split)
        arrays, words, is_same = fewest_bits(assembly, tensors, about, days, run.judgements[split])
    write_json(dest / "figures.json", _figures(run.judgements[split]))
    write_json(dest / "policy.json", {**meta, **about})
    _write_arrays(dest / "policy.npz", arrays)
    size = (dest / "policy.npz").stat().st_size / 2**20
    line = f"{run.method}, seed {run.seed}: {words}, {size:.2f} MiB"
    if is_same:
        return line
    return f"{line}; figures are no longer those of {judged.with_suffix('.json')}: judge it anew"


def _figures(judgement: dict[str, Any]) -> dict[str, Any]:
    """What the tables show of a judgement, and of its days."""
    found = judgement["engines"]["torch"]
    return {
        "dates": judgement["dates"],
        "metrics": {name: found["metrics"][name] for name in SHOWN},
        "by_day": {name: found["by_day"][name] for name in SHOWN},
    }


def _write_arrays(path: pathlib.Path, arrays: Arrays) -> None:
    """As `numpy.savez_compressed`, but smaller; `numpy.load` reads it."""
    with replacing(path) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_LZMA) as kept:
        for name, array in arrays.items():
            with kept.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


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
            tensors = unpack_all({name: kept[name] for name in kept.files})
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:120]
        raise GradmapError(f"{slim} holds no policy that can be read ({reason})") from None
    return tensors, meta

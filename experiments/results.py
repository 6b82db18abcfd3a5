"""What a comparison has found so far, read from its folder.

    config.yaml                            the comparison
    runs/<task>/<method>/seed-<k>/         a run's folder each
    logs/<task>/<method>/seed-<k>.log      what its processes printed
    logs/<task>/<method>/seed-<k>.failed   why it failed, if it did

Tables, figures and the report read comparisons here alone; nothing is
written, and others may write meanwhile.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterable
from typing import Any

from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import RunKey, load_compare_config, run_configs
from gradmap.experiments.files import fingerprint
from gradmap.experiments.metrics import QUANTITIES
from gradmap.experiments.registry import METHODS, MethodSpec
from gradmap.experiments.runs import RunFolder, read_rows
from gradmap.feeders.errors import GradmapError

ENGINES = ("torch", "opendss")
"""Engines that a policy can be judged by, in the order of a judgement."""


@dataclasses.dataclass(frozen=True)
class RunResult:
    """A run of the comparison.

    Attributes:
        task: Name of its task in the comparison.
        method: Its method.
        seed: Its seed.
        status: `done`, `failed: why`, `waiting`, `training`, `stopped` or
            `judging`; only `done` has all its judgements.
        folder: Its folder, which need not exist yet.
        judgements: By split, what `gradmap evaluate` kept of the best
            checkpoint; those that are missing or of an older version are not
            among them.
        rows: Rows of its metrics, of the kinds `train` and `validation`.
    """

    task: str
    method: str
    seed: int
    status: str
    folder: pathlib.Path
    judgements: dict[str, dict[str, Any]]
    rows: list[dict[str, Any]]

    def validation(self) -> list[dict[str, Any]]:
        """Its judgements in training."""
        return [row for row in self.rows if row["kind"] == "validation"]


@dataclasses.dataclass(frozen=True)
class Results:
    """A comparison.

    Attributes:
        config: Its configuration.
        runs: Its runs: tasks, then methods in the table's order, then seeds.
        facts: Hardware, versions and number of days, for the reader: `cpu`,
            `cores`, `gpu`, `gradmap`, `torch`, `num_days`.
    """

    config: CompareConfig
    runs: tuple[RunResult, ...]
    facts: dict[str, Any]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(dict.fromkeys(run.task for run in self.runs))

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, in the table's order."""
        return tuple(dict.fromkeys(run.method for run in self.runs))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds."""
        return self.config.seeds

    def of(self, task: str, method: str) -> tuple[RunResult, ...]:
        """Runs of a method on a task, a seed each.

        Args:
            task: Name of the task.
            method: Name of the method.
        """
        return tuple(run for run in self.runs if (run.task, run.method) == (task, method))


def load_results(out: pathlib.Path) -> Results:
    """Reads a comparison's folder.

    Args:
        out: The folder.

    Raises:
        GradmapError: If it holds no comparison, or files of it are damaged.
    """
    if not (out / "config.yaml").is_file():
        raise GradmapError(
            f"{out} is no comparison: it holds no config.yaml; give a folder that "
            "`gradmap compare` has made"
        )
    config = load_compare_config(out / "config.yaml")
    runs = tuple(_load_run(out, config, key) for key in run_configs(config))
    return Results(config, runs, _facts(runs))


def run_folder(out: pathlib.Path, key: RunKey) -> pathlib.Path:
    """Folder of a run of a comparison.

    Args:
        out: The comparison's folder.
        key: The run.
    """
    return out / "runs" / str(key)


def run_log(out: pathlib.Path, key: RunKey) -> pathlib.Path:
    """File that a run's processes print to; beside it lies `.failed`, if it failed.

    Args:
        out: The comparison's folder.
        key: The run.
    """
    return out / "logs" / f"{key}.log"


def own_splits(config: CompareConfig, spec: MethodSpec) -> tuple[str, ...]:
    """Splits that a method is judged on.

    Args:
        config: The comparison.
        spec: The method.
    """
    return config.splits if spec.can_stress and not spec.is_slow else config.splits[:1]


def wanted_engines(config: CompareConfig, split: str) -> tuple[str, ...]:
    """Engines that judge a split: OpenDSS the first alone, and where it is asked for.

    Args:
        config: The comparison.
        split: The split.
    """
    return ENGINES if config.opendss and split == config.split else ENGINES[:1]


def read_judgement(
    folder: pathlib.Path, split: str, engines: Iterable[str]
) -> dict[str, Any] | None:
    """Reads the judgement of a run's best checkpoint.

    Args:
        folder: The run's folder.
        split: The days.
        engines: Engines that must have judged it.

    Returns:
        The judgement; None if it is not there, of another checkpoint than
        there is now, or from a version that knew fewer quantities.

    Raises:
        GradmapError: If the file is damaged.
    """
    path = folder / "evaluation" / f"{split}-best.json"
    best = folder / "checkpoints" / "best.pt"
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if found.get("checkpoint_sha256") != fingerprint(best):
            return None
        judged = found["engines"]
        is_whole = all(
            e in judged and QUANTITIES.keys() <= judged[e]["metrics"].keys() for e in engines
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GradmapError(f"cannot read {path}: {error}; delete it and compare again") from None
    return found if is_whole else None


def _load_run(out: pathlib.Path, config: CompareConfig, key: RunKey) -> RunResult:
    folder, failed = run_folder(out, key), run_log(out, key).with_suffix(".failed")
    splits = own_splits(config, METHODS[key.method])
    found = {s: read_judgement(folder, s, wanted_engines(config, s)) for s in splits}
    judgements = {split: each for split, each in found.items() if each is not None}
    if failed.exists():
        status = f"failed: {failed.read_text('utf-8').strip()}"
    elif not folder.exists():
        status = "waiting"
    else:
        trained = RunFolder.open(folder).status
        status = {"finished": "judging", "running": "training"}.get(trained, "stopped")
        if status == "judging" and len(judgements) == len(splits):
            status = "done"
    return RunResult(*key, status, folder, judgements, read_rows(folder))


def _facts(runs: Iterable[RunResult]) -> dict[str, Any]:
    """Where runs were made on several machines or by several versions, all of them."""
    judged = [each for run in runs for each in run.judgements.values()]
    sessions = [each["session"] for each in judged]

    def named(values: Iterable[Any]) -> str:
        return " or ".join(dict.fromkeys(str(value) for value in values if value is not None))

    facts: dict[str, Any] = {
        name: named(session["hardware"].get(name) for session in sessions)
        for name in ("cpu", "cores", "gpu")
    }
    facts["gradmap"] = named(session.get("gradmap") for session in sessions)
    facts["torch"] = named(session.get("packages", {}).get("torch") for session in sessions)
    return {**facts, "num_days": len(judged[0]["dates"]) if judged else 0}

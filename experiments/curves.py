"""Reads what several seeds of one comparison have found.

A folder of `make learning` holds a comparison for each seed, `seed-0`,
`seed-1` and so on, which differ in the seed alone.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from gradmap.experiments.compare_jobs import Job
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import differences, load_compare_config, run_configs
from gradmap.experiments.judgement import load_judgement
from gradmap.experiments.registry import METHODS
from gradmap.experiments.runs import RunFolder
from gradmap.experiments.seeds import Row
from gradmap.feeders.errors import GradmapError

_FREE = ("seed", "checkpoint_seconds")
"""Settings in which two seeds may differ; threads and device change what a second is worth."""


@dataclasses.dataclass(frozen=True)
class Learning:
    """What the seeds of a comparison have found so far.

    Attributes:
        config: The comparison, with the first seed there is.
        rows: Validation rows of finished runs, by method and seed.
        judgements: Their judgements, likewise.
        missing: What is not there, a phrase each.
    """

    config: CompareConfig
    rows: dict[str, dict[int, list[Row]]]
    judgements: dict[str, dict[int, Row]]
    missing: tuple[str, ...]


def read_learning(folder: pathlib.Path, num_seeds: int) -> Learning:
    """Reads the seeds of a comparison.

    Args:
        folder: It holds a comparison for each seed: `seed-0`, `seed-1`, ...
        num_seeds: How many are expected, from 0 on.

    Raises:
        GradmapError: If there are no figures at all, two seeds differ in a
            setting, or rows lack the price of violations.
    """
    configs: dict[int, CompareConfig] = {}
    missing = []
    for seed in range(num_seeds):
        file = folder / f"seed-{seed}" / "config.yaml"
        if file.is_file():
            configs[seed] = load_compare_config(file)
        else:
            missing.append(f"seed {seed}: not run")
    if not configs:
        raise GradmapError(
            f"{folder} holds none of seed-0 to seed-{num_seeds - 1}, the comparisons that "
            "`make learning` makes; run it, or give its folder"
        )
    first = configs[min(configs)]
    rows: dict[str, dict[int, list[Row]]] = {name: {} for name in run_configs(first)}
    judgements: dict[str, dict[int, Row]] = {name: {} for name in rows}
    for seed, config in configs.items():
        _refuse_other(folder, seed, config, first)
        for job in _jobs(folder / f"seed-{seed}", config):
            method, title = job.config.method, METHODS[job.config.method].title
            if not job.is_trained():
                missing.append(f"{title}, seed {seed}: not trained to the end")
            elif not job.is_judged():
                missing.append(f"{title}, seed {seed}: not judged by this version; compare again")
            else:
                rows[method][seed] = _validation_rows(job)
                judgements[method][seed] = load_judgement(job.judgement)
    _refuse_other_runs(folder, judgements)
    if not any(judgements.values()):
        raise GradmapError(f"{folder} has no figures yet: {'; '.join(missing)}")
    return Learning(first, rows, judgements, tuple(missing))


def _jobs(folder: pathlib.Path, config: CompareConfig) -> Iterator[Job]:
    for name, run in run_configs(config).items():
        yield Job(run, folder / "runs" / name, folder / "log", config.split, "torch")


def _refuse_other(
    folder: pathlib.Path, seed: int, config: CompareConfig, first: CompareConfig
) -> None:
    if config.seed != seed:
        raise GradmapError(
            f"{folder / f'seed-{seed}'} holds seed {config.seed}; give each seed its own folder"
        )
    changed = differences(first.model_dump(mode="json"), config.model_dump(mode="json"))
    _raise_changed(folder, [name for name in changed if not name.startswith(_FREE)], seed)


def _refuse_other_runs(folder: pathlib.Path, found: Mapping[str, Mapping[int, Row]]) -> None:
    """A default may have changed between two seeds: each run says what it was trained with."""
    for method, seeds in found.items():
        paths = {seed: folder / f"seed-{seed}" / "runs" / method for seed in seeds}
        dumped = {
            s: RunFolder.open(path).config.model_dump(mode="json") for s, path in paths.items()
        }
        for seed, config in dumped.items():
            changed = differences(dumped[min(dumped)], config)
            names = [f"{method}: {name}" for name in changed if not name.startswith(_FREE)]
            _raise_changed(folder, names, seed)


def _raise_changed(folder: pathlib.Path, names: Sequence[str], seed: int) -> None:
    if names:
        raise GradmapError(
            f"{folder}: seed {seed} differs from the first in {', '.join(names)}; "
            "train one of them anew with `gradmap compare --fresh`"
        )


def _validation_rows(job: Job) -> list[Row]:
    rows: list[Row] = [*RunFolder.open(job.folder).rows("validation")]
    if any("violation_usd_per_day" not in row["metrics"] for row in rows):
        raise GradmapError(
            f"{job.folder} was judged in training without violation_usd_per_day, by an older "
            "version; train it anew with `gradmap compare --fresh`"
        )
    return rows

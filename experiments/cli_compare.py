"""`gradmap compare`."""

from __future__ import annotations

import dataclasses
import importlib.resources
import logging
import pathlib
import shlex
from collections.abc import Sequence
from typing import Annotated, Literal

from tyro.conf import arg

from gradmap.experiments.arguments import parse, take_feeder, take_option
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import load_compare_config, run_configs
from gradmap.experiments.signals import EXIT_CODE
from gradmap.experiments.terminal import console
from gradmap.feeders.errors import GradmapError

DESCRIPTION = """\
Trains methods on the same tasks with the same seeds and budget, judges each on
days it has not seen, and writes tables, plots and a report. A name may stand
first in the place of --config: `gradmap compare study`. Runs that are finished
are kept, so that a comparison that was stopped goes on where it was."""

FAILED_CODE = 1
"""Exit code where a run has no figures."""

DEFAULT = "quick"
"""The comparison that is made where none is named."""


def checkpoints(name: str = DEFAULT) -> pathlib.Path:
    """Folder of the policies of a comparison that come with the package, if they do.

    Args:
        name: The comparison.
    """
    return (
        pathlib.Path(str(importlib.resources.files("gradmap.experiments"))) / "checkpoints" / name
    )


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of `gradmap compare`.

    Attributes:
        config: YAML file of settings, or the name of a bundled one.
        feeder: Feeder to compare on, in place of the task's: a name of
            `gradmap feeders`, or the path of a circuit's master .dss file.
        out: Folder of the comparison; results/CONFIG if not given, with the
            task's name behind it where a feeder is named.
        fresh: Train anew: delete the runs that the folder holds.
        retry_failed: Try the runs again that have failed.
        engine: Where the runs go: processes on this machine, or tasks on a
            Ray cluster whose nodes share the folder.
        ray_address: Ray cluster to join, such as `auto`; none for what
            RAY_ADDRESS says, or else for a private one on this machine.
        from_checkpoints: Train nothing: judge the policies that `gradmap
            export` has kept in this folder; if it is not named, those that
            come with the package (of the quick comparison).
        plots: Whether to draw plots and report.
        settings: The comparison.
    """

    config: str = DEFAULT
    feeder: str | None = None
    out: pathlib.Path | None = None
    fresh: bool = False
    retry_failed: bool = False
    engine: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    from_checkpoints: pathlib.Path | None = None
    plots: bool = True
    settings: Annotated[CompareConfig, arg(name="")] = CompareConfig()


def run(command: str, words: Sequence[str]) -> int:
    """Compares methods.

    Args:
        command: `compare`.
        words: What follows it.

    Returns:
        0; 1 if a run has no figures; 130 if it was asked to stop.
    """
    arguments = _arguments(list(words))
    settings, source = arguments.settings, arguments.from_checkpoints
    out = arguments.out or pathlib.Path("results") / (
        _folder(arguments) if source is None else f"{source.name}-checkpoints"
    )
    # Here, not above: help and faults on the command line need no torch.
    from gradmap.experiments import compare

    engine = compare.load_engine(arguments.engine, arguments.ray_address)
    if source is None:
        jobs = compare.prepare(settings, out, arguments.fresh, arguments.retry_failed)
    else:
        from gradmap.experiments.policy_files import restore_comparison

        jobs = restore_comparison(source, out)
    workers = compare.num_workers(settings, arguments.engine, len(jobs))
    if not compare.train_and_judge(jobs, workers, engine):
        line = shlex.join(["gradmap", command, *(w for w in words if w != "--fresh")])
        print(f"stopped, every run saved in {out / 'runs'}; continue with: {line}")
        return EXIT_CODE
    _report(out, arguments.plots)
    if source is not None:
        _say_moved(source, out)
    if all(job.state == "done" for job in jobs):
        return 0
    if any(job.state == "failed" for job in jobs):
        print("some runs have failed; try them again with --retry-failed")
    return FAILED_CODE


def _arguments(words: list[str]) -> Arguments:
    """Reads the command line in two passes: what the defaults are, then all."""
    first = words.pop(0) if words and not words[0].startswith("-") else None
    option = take_option(words, "--config")
    if first is not None and option is not None:
        raise GradmapError(f"gradmap compare: {first} and --config {option}: name one of them")
    config = first or option or DEFAULT
    words = _name_checkpoints(words, pathlib.Path(config).stem)
    feeder, task = take_feeder(words), take_option(words, "--task.name")
    settings = load_compare_config(config, feeder, task)
    default = Arguments(config=config, feeder=feeder, settings=settings)
    parsed = parse(Arguments, words, "gradmap compare", DESCRIPTION, default)
    run_configs(parsed.settings)  # overrides may name unknown methods
    return parsed


def _folder(arguments: Arguments) -> str:
    """Name of the folder where none is given."""
    stem = pathlib.Path(arguments.config).stem
    name, own = arguments.settings.task.name, load_compare_config(arguments.config).task.name
    return stem if arguments.feeder is None and name == own else f"{stem}-{name}"


def _name_checkpoints(words: list[str], name: str) -> list[str]:
    """Puts the package's own after `--from-checkpoints` where no folder follows it."""
    option = "--from-checkpoints"
    if option in words:
        after = words.index(option) + 1
        if after == len(words) or words[after].startswith("-"):
            return [*words[:after], str(checkpoints(name)), *words[after:]]
    return words


def _say_moved(source: pathlib.Path, out: pathlib.Path) -> None:
    """Says whether the figures are those of the comparison that the policies are of."""
    from gradmap.experiments.policy_files import moved_figures
    from gradmap.experiments.results import load_results

    moved = moved_figures(source, load_results(out))
    for phrase in moved:
        print(phrase)
    if not moved:
        print("every policy's figures are those that it was exported with, to the digits shown")


def _report(out: pathlib.Path, has_plots: bool) -> None:
    """Writes tables, plots and report from what is on disk."""
    from gradmap.experiments.compare_markdown import markdown
    from gradmap.experiments.compare_report import write_report
    from gradmap.experiments.compare_table import make_report
    from gradmap.experiments.results import load_results

    results = load_results(out)
    reports = [make_report(results, task) for task in results.tasks]
    write_report(reports, results, out)
    for report in reports:
        console().print(markdown(report), markup=False, soft_wrap=True)
    if has_plots:
        # The first plot on a machine builds a cache of fonts: nobody has to read of it.
        logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
        from gradmap.experiments.plots import draw_all

        for report in reports:
            draw_all(report, results, out if len(reports) == 1 else out / report.task)
        from gradmap.experiments.html_report import write_html

        print(f"report: {write_html(results, out)}")
    print(f"tables{' and plots' if has_plots else ''}: {out}")

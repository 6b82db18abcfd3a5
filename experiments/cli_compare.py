"""`gradmap compare`."""

from __future__ import annotations

import dataclasses
import pathlib
import shlex
from collections.abc import Sequence
from typing import Annotated

from tyro.conf import arg

from gradmap.experiments.arguments import parse, take_option
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import load_compare_config, run_configs
from gradmap.experiments.signals import EXIT_CODE
from gradmap.experiments.terminal import console

DESCRIPTION = """\
Trains every method on the same task for the same time, judges each on days it
has not seen, and writes tables and plots. Runs that are finished are kept, so
that a comparison that was stopped goes on where it was."""

FAILED_CODE = 1
"""Exit code where a method has no figures."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of `gradmap compare`.

    Attributes:
        config: YAML file of settings, or the name of a bundled one.
        out: Folder of the comparison.
        fresh: Train anew: delete the runs that the folder holds.
        plots: Whether to draw the plots.
        settings: The comparison.
    """

    config: str = "compare"
    out: pathlib.Path = pathlib.Path("results/compare")
    fresh: bool = False
    plots: bool = True
    settings: Annotated[CompareConfig, arg(name="")] = CompareConfig()


def run(command: str, words: Sequence[str]) -> int:
    """Compares methods.

    Args:
        command: `compare`.
        words: What follows it.

    Returns:
        0; 1 if a method has no figures; 130 if it was asked to stop.
    """
    config = take_option(words, "--config") or "compare"
    default = Arguments(config=config, settings=load_compare_config(config))
    arguments = parse(Arguments, words, "gradmap compare", DESCRIPTION, default)
    settings, out = arguments.settings, arguments.out
    run_configs(settings)  # overrides may name unknown methods
    # Here, not above: help and faults on the command line need no torch.
    from gradmap.experiments import compare
    from gradmap.experiments.compare_report import markdown, write_report

    jobs = compare.prepare(settings, out, arguments.fresh)
    if not compare.train_and_judge(jobs, settings.workers):
        line = shlex.join(["gradmap", command, *(w for w in words if w != "--fresh")])
        print(f"stopped, every run saved in {out / 'runs'}; continue with: {line}")
        return EXIT_CODE
    report = compare.make_report(settings, jobs)
    write_report(report, out)
    console().print(markdown(report), markup=False, soft_wrap=True)
    if arguments.plots:
        from gradmap.experiments.plots import draw_all

        draw_all(report, jobs, out)
    print(f"tables and plots in {out}")
    return 0 if all(job.state == "done" for job in jobs) else FAILED_CODE

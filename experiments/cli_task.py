"""`gradmap task check CONFIG`."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from rich import box
from rich.markup import escape
from rich.table import Table
from tyro.conf import arg

from gradmap.envs.config import TaskConfig
from gradmap.experiments.arguments import parse, take_feeder, take_option
from gradmap.experiments.config_load import load_run_config
from gradmap.experiments.files import finite, write_json
from gradmap.experiments.terminal import console
from gradmap.feeders.errors import GradmapError, raise_faults

USAGE = """\
usage: gradmap task check [CONFIG] [--feeder NAME|PATH] [--json FILE] [--task.KEY VALUE ...]

check     play a task's test days with devices idle, selfish, and with perfect
          foresight, and say whether the task binds and can be solved

CONFIG is a YAML file or the name of a bundled configuration, of which the task
counts; `gradmap task check --help` lists the options."""

DESCRIPTION = """\
Tells whether a task binds (selfish devices violate at 5 % of node-steps or more)
and can be solved (perfect foresight violates at 0.05 % or less), from a few test
days, and if not, what to change to what value. The exit code is 1 if it does not
bind or was not solved."""

FAILED_CODE = 1
"""Exit code where the task does not bind, or was not solved."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of `gradmap task check`.

    Attributes:
        config: YAML file of settings, or the name of a bundled one.
        feeder: Feeder of the task, in place of the file's: a name of `gradmap
            feeders`, or the path of a circuit's master .dss file.
        json: File to write the figures to; - for the screen, alone.
        days: Test days.
        iterations: Outer iterations of the selfish devices.
        rounds: Rounds of perfect foresight for each day at most.
        seed: Seed of the selfish learners.
        threads: Threads of torch.
        device: `auto` (the GPU when there is one), `cpu` or `cuda`.
        task: The task.
    """

    config: str | None = None
    feeder: str | None = None
    json: pathlib.Path | None = None
    days: int = 4
    iterations: int = 40
    rounds: int = 20
    seed: int = 0
    threads: int = 1
    device: str = "auto"
    task: Annotated[TaskConfig, arg(name="task")] = TaskConfig()

    def __post_init__(self) -> None:
        names = ("days", "iterations", "rounds", "threads")
        raise_faults(
            "gradmap task check",
            [
                f"{name} is {getattr(self, name)}, expected 1 or more"
                for name in names
                if getattr(self, name) < 1
            ],
        )


def run(command: str, words: Sequence[str]) -> int:
    """Checks a task.

    Args:
        command: `task`.
        words: What follows it.

    Returns:
        0; 1 if the task does not bind or was not solved.

    Raises:
        GradmapError: If a word or the task cannot be used.
    """
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if words else 2
    if words[0] != "check":
        raise GradmapError(f"gradmap task: unknown {words[0]}; expected check")
    arguments = _arguments(list(words[1:]))
    # Here, not above: help and faults on the command line need no torch.
    import torch

    from gradmap.experiments.task_check import CheckBudget, check_task

    torch.set_num_threads(arguments.threads)
    budget = CheckBudget(arguments.days, arguments.iterations, arguments.rounds)
    found = check_task(arguments.task, budget, arguments.device, arguments.seed, _say)
    if str(arguments.json) == "-":
        print(json.dumps(finite(found), indent=2, allow_nan=False))
    else:
        _show(found)
        if arguments.json is not None:
            write_json(arguments.json, found)
    return 0 if found["binds"] and found["is_solvable"] else FAILED_CODE


def _arguments(words: list[str]) -> Arguments:
    """Reads the command line in two passes: what the defaults are, then all."""
    first = words.pop(0) if words and not words[0].startswith("-") else None
    option = take_option(words, "--config")
    if first is not None and option is not None:
        raise GradmapError(f"gradmap task check: {first} and --config {option}: name one of them")
    feeder, name = take_feeder(words), take_option(words, "--task.name")
    task = load_run_config("selfish", first or option, feeder, name).task
    default = Arguments(config=first or option, feeder=feeder, task=task)
    return parse(Arguments, words, "gradmap task check", DESCRIPTION, default)


def _say(line: str) -> None:
    """Tells a waiting user what is done next, beside the output."""
    print(f"task check: {line}", file=sys.stderr, flush=True)


def _show(found: Mapping[str, Any]) -> None:
    """Prints the table and what it says."""
    from gradmap.experiments.task_check import ALIVE_COLUMNS, COLUMNS

    output = console()
    share = found["flexible_kw"] / found["peak_kw"] if found["peak_kw"] > 0 else float("nan")
    output.print(
        f"{escape(found['task'])} on {escape(found['feeder'])}: {found['num_agents']:,} agents, "
        f"{found['flexible_kw']:,.0f} kW flexible, {share:.2f} of the highest base load "
        f"({found['peak_kw']:,.0f} kW); {len(found['days'])} test days"
    )
    output.print(
        f"difficulty {found['difficulty']:.3g}, {found['regulation']} regulation, "
        f"band {found['vmin_pu']:g} to {found['vmax_pu']:g} p.u."
    )
    heads = {**COLUMNS, **(ALIVE_COLUMNS if found["regulation"] != "fixed" else {})}
    table = Table("devices", *heads.values(), "seconds", box=box.SIMPLE)
    for name, figures in found["methods"].items():
        cells = (f"{figures[key]:,.4g}" for key in (*heads, "seconds"))
        table.add_row(name, *cells)
    output.print(table)
    if found["difficulties"]:
        output.print(_difficulties(found["difficulties"]))
    yes = {True: "yes", False: "no"}
    output.print(f"binds: {yes[found['binds']]}    can be solved: {yes[found['is_solvable']]}")
    for phrase in found["advice"]:
        output.print(f"- {escape(phrase)}")


def _difficulties(tried: Sequence[Mapping[str, float]]) -> Table:
    """What selfish devices do at other difficulties."""
    heads = ("selfish at difficulty", "node-steps in violation, %", "steps with overload, %")
    table = Table(*heads, box=box.SIMPLE)
    for each in tried:
        shares = (each["node_step_violation_pct"], each["thermal_overload_step_pct"])
        table.add_row(f"{each['difficulty']:g}", *(f"{share:,.4g}" for share in shares))
    return table

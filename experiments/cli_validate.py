"""`gradmap validate [NAME]`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from rich import box
from rich.table import Table
from tyro.conf import Positional, arg

from gradmap.experiments.arguments import parse
from gradmap.experiments.files import write_json
from gradmap.experiments.terminal import console

if TYPE_CHECKING:
    from gradmap.feeders.validate import ValidationReport

DESCRIPTION = """\
Holds the power flow to OpenDSS, at frozen taps, node by node. The exit code
is 1 if a case is past the tolerance."""

FAILED_CODE = 1
"""Exit code past the tolerance."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of `gradmap validate`.

    Attributes:
        name: Name of the feeder; `gradmap feeders` lists them.
        json: File to write the report to.
        num_random: Number of random injections.
        seed: Seed of the random injections.
        tolerance_pu: Largest difference in voltage that passes, p.u.
    """

    name: Positional[str] = "ieee123"
    json: pathlib.Path | None = None
    num_random: Annotated[int, arg(name="random")] = 50
    seed: int = 0
    tolerance_pu: float = 1e-6


def run(command: str, words: Sequence[str]) -> int:
    """Validates a feeder.

    Args:
        command: `validate`.
        words: What follows it.

    Returns:
        0, or 1 if a case is past the tolerance.
    """
    arguments = parse(Arguments, words, "gradmap validate", DESCRIPTION)
    # Here, not above: help and faults on the command line need no torch.
    from gradmap.feeders.validate import validate_feeder

    report = validate_feeder(
        arguments.name, arguments.num_random, arguments.seed, arguments.tolerance_pu
    )
    output = console()
    output.print(table(report))
    if arguments.json is not None:
        write_json(arguments.json, report.to_dict())
    verdict = "every case is within" if report.passed else "NOT every case is within"
    output.print(f"{report.feeder}: {verdict} {report.tolerance_pu:g} p.u. of OpenDSS")
    return 0 if report.passed else FAILED_CODE


def table(report: ValidationReport) -> Table:
    """The report as a table.

    Args:
        report: The report.
    """
    made = Table(title=f"{report.feeder} against OpenDSS", title_justify="left", box=box.SIMPLE)
    made.add_column("case", no_wrap=True)
    headings = ("flows", "|dV| p.u.", "node", "|dI| A", "dloss kW", "iter", "outside", "")
    for heading in headings:
        made.add_column(heading, justify="right", no_wrap=True)
    made.caption = (
        "largest difference over flows of node voltage, branch current and losses; the most "
        "iterations; the most terminals with a voltage outside their load's own range"
    )
    for row in report.rows:
        is_good = row.converged and row.max_error_pu <= report.tolerance_pu
        verdict = "[green]ok[/]" if is_good else "[bold red]FAILED[/]"
        made.add_row(
            row.case,
            str(row.num_scenarios),
            f"{row.max_error_pu:.1e}",
            row.worst_node,
            f"{row.max_current_error_a:.1e}",
            f"{row.max_loss_error_kw:.1e}",
            str(row.iterations),
            str(row.num_outside),
            verdict if row.converged else "[bold red]NO SOLUTION[/]",
        )
    return made

"""`gradmap validate [NAME|PATH ...]`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from rich import box
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional, arg

from gradmap.experiments.arguments import parse
from gradmap.experiments.files import write_json
from gradmap.experiments.terminal import console

if TYPE_CHECKING:
    from gradmap.feeders.validate import ValidationReport

DESCRIPTION = """\
Holds the power flow to OpenDSS, at frozen taps, node by node, at eight operating
points, and writes report.md, report.json and voltages.png. The exit code is 1 if
a case is past the tolerance."""

FAILED_CODE = 1
"""Exit code past the tolerance."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of `gradmap validate`.

    Attributes:
        feeders: Names of feeders (`gradmap feeders` lists them) or master
            files of circuits; all bundled feeders if none is given.
        out: Folder of the report.
        json: Another file to write the figures to.
        num_random: Number of random injections.
        seed: Seed of the random injections.
        tolerance_pu: Largest difference in voltage that passes, p.u.
        on_unsupported: What becomes of a circuit's elements that are not
            supported: an error that names them, or the constant current that
            they draw in OpenDSS's solution.
    """

    feeders: Positional[tuple[str, ...]] = ()
    out: pathlib.Path = pathlib.Path("results/validate")
    json: pathlib.Path | None = None
    num_random: Annotated[int, arg(name="random")] = 50
    seed: int = 0
    tolerance_pu: float = 1e-6
    on_unsupported: Literal["raise", "freeze"] = "raise"


def run(command: str, words: Sequence[str]) -> int:
    """Validates feeders.

    Args:
        command: `validate`.
        words: What follows it.

    Returns:
        0, or 1 if a case is past the tolerance.
    """
    arguments = parse(Arguments, words, "gradmap validate", DESCRIPTION)
    # Here, not above: help and faults on the command line need no torch.
    from gradmap.experiments import validate_report
    from gradmap.feeders.catalog import list_feeders, load_feeder
    from gradmap.feeders.validate import validate_feeder

    names = dict.fromkeys(arguments.feeders or list_feeders())
    # All are read before the first is compared: a fault comes at once.
    feeders = {name: load_feeder(name, None, arguments.on_unsupported) for name in names}
    output = console()
    reports = {}
    for name, feeder in feeders.items():
        reports[name] = validate_feeder(
            feeder, arguments.num_random, arguments.seed, arguments.tolerance_pu
        )
        output.print(table(name, reports[name]))
        output.print(escape(f"{name}: {validate_report.verdict(reports[name])}\n"))
    if arguments.json is not None:
        write_json(arguments.json, validate_report.summary(reports))
    page, *_ = validate_report.write(reports, arguments.out)
    output.print(escape(f"report in {page}"))
    return 0 if all(report.passed for report in reports.values()) else FAILED_CODE


def table(name: str, report: ValidationReport) -> Table:
    """The report as a table.

    Args:
        name: Name or path of the feeder.
        report: The report.
    """
    sizes = f"{report.num_nodes:,} nodes, {report.num_terminals:,} terminals"
    title = escape(f"{name} against OpenDSS: {sizes}")
    made = Table(title=title, title_justify="left", box=box.SIMPLE)
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
            escape(row.worst_node),
            f"{row.max_current_error_a:.1e}",
            f"{row.max_loss_error_kw:.1e}",
            str(row.iterations),
            str(row.num_outside),
            verdict if row.converged else "[bold red]NO SOLUTION[/]",
        )
    return made

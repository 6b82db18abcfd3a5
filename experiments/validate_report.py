"""What `gradmap validate` leaves behind: Markdown, JSON and a picture."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping
from typing import Any

from gradmap.experiments.compare_markdown import grid
from gradmap.experiments.files import write_json, write_text
from gradmap.feeders.validate import ValidationReport, ValidationRow

_HEAD = (
    "operating point",
    "power flows",
    "largest voltage difference, p.u.",
    "at node",
    "of a branch current, A",
    "of the losses, kW",
    "iterations",
    "loads outside their range",
)


def summary(reports: Mapping[str, ValidationReport]) -> dict[str, Any]:
    """All reports as plain values.

    Args:
        reports: A validation by the feeder's name or path.

    Returns:
        `passed`, and under `feeders` each report by its name.
    """
    return {
        "passed": all(report.passed for report in reports.values()),
        "feeders": {name: report.to_dict() for name, report in reports.items()},
    }


def markdown(reports: Mapping[str, ValidationReport]) -> str:
    """The reports as a page of Markdown.

    Args:
        reports: A validation by the feeder's name or path.
    """
    parts = [
        "# Our power flow against OpenDSS",
        "The same powers at the same taps, both solved to 1e-10 p.u. Differences are those of "
        "complex node voltages; largest over all power flows of an operating point.",
        "![Our voltages against OpenDSS's](voltages.png)",
    ]
    for name, report in reports.items():
        sizes = f"{report.num_nodes:,} nodes, {report.num_terminals:,} terminals"
        body = [_cells(row, report.tolerance_pu) for row in report.rows]
        parts += [f"## {name}", f"{sizes}. {verdict(report)}", grid(list(_HEAD), body)]
    return "\n\n".join(parts) + "\n"


def verdict(report: ValidationReport) -> str:
    """One sentence: whether every operating point is within the tolerance."""
    every = "Every operating point is" if report.passed else "NOT every operating point is"
    return f"{every} within {report.tolerance_pu:g} p.u. of OpenDSS."


def write(reports: Mapping[str, ValidationReport], out: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """Writes `report.md`, `report.json` and `voltages.png`.

    Args:
        reports: A validation by the feeder's name or path.
        out: The folder.

    Returns:
        The three files.
    """
    from gradmap.experiments.plot_validation import voltages_against_opendss

    page, values = out / "report.md", out / "report.json"
    write_text(page, markdown(reports))
    write_json(values, summary(reports))
    return page, values, voltages_against_opendss(reports, out / "voltages.png")


def _cells(row: ValidationRow, tolerance_pu: float) -> list[str]:
    error = f"{row.max_error_pu:.1e}" if math.isfinite(row.max_error_pu) else "no solution"
    is_good = row.converged and row.max_error_pu <= tolerance_pu
    return [
        row.case,
        str(row.num_scenarios),
        error if is_good else f"**{error}**",
        row.worst_node.replace("|", "\\|"),
        f"{row.max_current_error_a:.1e}",
        f"{row.max_loss_error_kw:.1e}",
        str(row.iterations),
        str(row.num_outside),
    ]

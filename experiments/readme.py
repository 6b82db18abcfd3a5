"""Puts measured tables into README.md, between its markers.

    python -m gradmap.experiments.readme

`make readme` runs it. A table lies between `<!-- NAME:begin -->` and
`<!-- NAME:end -->`; what stands there is replaced, so that no figure of the
page is typed by hand.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from gradmap.experiments.arguments import parse
from gradmap.experiments.compare_markdown import (
    calibration_lines,
    failure_lines,
    grid,
    main_table,
    race_tables,
    setting,
    stress_table,
)
from gradmap.experiments.compare_table import Report
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.files import write_text
from gradmap.experiments.target import race_from_json
from gradmap.feeders.errors import GradmapError

DESCRIPTION = """\
Puts the tables of `gradmap compare` and `gradmap validate` into a page,
between its markers. A report that is not there leaves its tables as they are."""

COLUMNS = (
    "title",
    "cost_usd_per_day",
    "optimality_gap_pct",
    "node_step_violation_pct",
    "opendss_node_step_violation_pct",
    "step_violation_pct",
    "violation_max_pu",
    "discomfort_kh",
    "train_seconds",
    "env_gradients",
    "power_flow_solves",
)
"""Columns of the page's main table; `results/quick/table.csv` has all."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of `python -m gradmap.experiments.readme`.

    Attributes:
        page: The page.
        compare: `table.json` of a comparison.
        speed: The same of a race over several seeds, `make speed`.
        validate: What `gradmap validate --json` wrote.
    """

    page: pathlib.Path = pathlib.Path("README.md")
    compare: pathlib.Path = pathlib.Path("results/quick/table.json")
    speed: pathlib.Path = pathlib.Path("results/speed/table.json")
    validate: pathlib.Path = pathlib.Path("results/validate.json")


def run(words: Sequence[str]) -> int:
    """Fills a page.

    Args:
        words: The command line.

    Returns:
        0.

    Raises:
        GradmapError: If the page or a report cannot be used; the page is then
            as it was.
    """
    arguments = parse(Arguments, words, "gradmap.experiments.readme", DESCRIPTION)
    blocks: dict[str, str] = {}
    if arguments.compare.exists():
        blocks |= compare_blocks(read_report(arguments.compare))
    else:
        print(f"{arguments.compare} is not there (make compare writes it): its tables stay")
    if arguments.speed.exists():
        blocks["target"] = speed_block(read_report(arguments.speed))
    else:
        print(f"{arguments.speed} is not there (make speed writes it): its tables stay")
    if arguments.validate.exists():
        blocks["validate"] = validate_block(_read(arguments.validate))
    else:
        print(f"{arguments.validate} is not there (gradmap validate --json): its table stays")
    page = arguments.page
    if not page.is_file():
        raise GradmapError(f"no page at {page}; run this in the repository's root")
    write_text(page, fill(page.read_text("utf-8"), blocks))
    print(f"{page}: {', '.join(blocks) or 'nothing'} filled")
    return 0


def fill(page: str, blocks: Mapping[str, str]) -> str:
    """Replaces what stands between markers.

    Args:
        page: The page's text.
        blocks: New text by the marker's name.

    Returns:
        The new page.

    Raises:
        GradmapError: If a marker is not there exactly once; names all.
    """
    faults = []
    for name, text in blocks.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if len(pattern.findall(page)) != 1 or page.count(begin) != 1:
            faults.append(f"{begin} ... {end}")
            continue
        new = f"{begin}\n\n{text.strip()}\n\n{end}"
        # A function: a backslash in the text is not an escape of the pattern.
        page = pattern.sub(lambda _, new=new: new, page)  # type: ignore[misc]
    if faults:
        raise GradmapError(f"the page must have each of these once: {', '.join(faults)}")
    return page


def read_report(path: pathlib.Path) -> Report:
    """Reads the `table.json` of a comparison.

    Args:
        path: The file.

    Raises:
        GradmapError: If it is no such file.
    """
    found = _read(path)
    try:
        (task, own), *others = found["tasks"].items()
        if others:
            raise ValueError(f"{len(others) + 1} tasks, and the page has room for one")
        return Report(
            task,
            own["num_agents"],
            CompareConfig.model_validate(found["config"]),
            own["rows"],
            own["stress"],
            [race_from_json(each) for each in own["time_to_target"]],
            found["facts"],
        )
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise GradmapError(f"{path} is no comparison's table ({reason}); compare again") from None


def compare_blocks(report: Report) -> dict[str, str]:
    """The tables of a comparison by marker: `compare` and `stress`.

    Args:
        report: What was found.
    """
    main = [
        f"{report.task_line()}. {setting(report)}",
        main_table(report.rows, COLUMNS),
        *calibration_lines(report.rows),
        *failure_lines(report.rows),
    ]
    stress = {"stress": stress_table(report)} if report.stress else {}
    return {"compare": "\n\n".join(main), **stress}


def speed_block(report: Report) -> str:
    """The tables of a race to the validation target.

    Args:
        report: What was found.
    """
    return f"{report.task_line()}. {setting(report)}\n\n{race_tables(report.races)}"


def validate_block(report: Mapping[str, Any]) -> str:
    """The validation table: operating points by feeders.

    Args:
        report: What `gradmap validate --json` wrote.

    Raises:
        GradmapError: If it is not by feeders, as reports of older versions are not.
    """
    if "feeders" not in report:
        raise GradmapError(
            "found a validation report without feeders, expected one of this version; write it "
            "again: gradmap validate --json results/validate.json"
        )
    feeders = report["feeders"]
    found: dict[str, dict[str, str]] = {}
    flows: dict[str, int] = {}
    for name, feeder in feeders.items():
        for row in feeder["rows"]:
            error = row["max_error_pu"]
            found.setdefault(row["case"], {})[name] = (
                "no solution" if error is None else f"{error:.1e}"
            )
            flows[row["case"]] = row["num_scenarios"]
    body = [
        [case, str(flows[case]), *(errors.get(name, "–") for name in feeders)]
        for case, errors in found.items()
    ]
    verdict = "Every case is" if report["passed"] else "NOT every case is"
    (tolerance_pu,) = {feeder["tolerance_pu"] for feeder in feeders.values()}
    return (
        grid(["case", "power flows", *feeders], body)
        + "\n\nLargest difference of a complex node voltage, p.u., over all nodes and power flows. "
        + f"{verdict} within {tolerance_pu:g} p.u. of OpenDSS."
    )


def _read(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise GradmapError(f"cannot read {path} ({error}); make it anew") from None


if __name__ == "__main__":
    try:
        sys.exit(run(sys.argv[1:]))
    except GradmapError as error:
        print(f"gradmap: error: {error}", file=sys.stderr)
        sys.exit(2)

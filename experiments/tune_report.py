"""The tables of searches: among the repository's own, and in the documentation."""

from __future__ import annotations

import csv
import pathlib
import shutil
from collections.abc import Mapping, Sequence

from gradmap.experiments.files import write_text
from gradmap.experiments.judgement import number
from gradmap.experiments.readme import fill
from gradmap.experiments.registry import METHODS
from gradmap.experiments.tune_results import FACTS, as_number, markdown_grid, setting_names
from gradmap.feeders.errors import GradmapError

ROOT = pathlib.Path(__file__).resolve().parents[1]

PUBLISHED = pathlib.Path(__file__).resolve().parent / "tuning"
"""Tables of the searches that the repository holds, a file a method."""

Row = Mapping[str, str]


def check_checkout() -> None:
    """Refuses to publish from an installed package.

    Raises:
        GradmapError: If this is none of a checkout's files.
    """
    if not (ROOT / "setup.cfg").is_file():
        raise GradmapError(
            "--publish writes into the repository, and this package is installed without one; "
            "run it in a checkout"
        )


def publish(out: pathlib.Path, methods: Sequence[str], to: pathlib.Path = PUBLISHED) -> None:
    """Puts the tables of a search among the repository's own.

    Args:
        out: Folder of the search.
        methods: Its methods.
        to: Folder of the tables.

    Raises:
        GradmapError: If a table is not there.
    """
    to.mkdir(exist_ok=True)
    for method in methods:
        read_trials(out / method)
        shutil.copyfile(out / method / "trials.csv", to / f"{method}.csv")
    print(f"published in {to}: {', '.join(methods)}")


def read_trials(path: pathlib.Path) -> tuple[str, list[Row]]:
    """Reads the table of a method.

    Args:
        path: `METHOD.csv`, or a folder METHOD that holds a `trials.csv`.

    Returns:
        The method, and a row for each trial.

    Raises:
        GradmapError: If it is not there, or no table of trials.
    """
    file = path / "trials.csv" if path.is_dir() else path
    method = path.name if path.is_dir() else path.stem
    try:
        with file.open(encoding="utf-8", newline="") as text:
            rows: list[Row] = [dict(row) for row in csv.DictReader(text)]
    except (OSError, UnicodeDecodeError) as error:
        raise GradmapError(f"cannot read {file}: {error}; tune again") from None
    missing = [name for name in FACTS if not rows or name not in rows[0]]
    if missing or method not in METHODS:
        raise GradmapError(
            f"{file} is no table of trials of a method, "
            f"{', '.join(missing) or method} expected; tune again"
        )
    return method, rows


def fill_page(page: pathlib.Path, tables: pathlib.Path = PUBLISHED) -> int:
    """Puts the summary of the repository's tables into a page, between its markers `tuning`.

    Args:
        page: The page.
        tables: Folder of the tables.

    Returns:
        0.

    Raises:
        GradmapError: If the page or a table cannot be used; the page is then
            as it was.
    """
    found = [tables / f"{method}.csv" for method in METHODS]
    found = [path for path in found if path.is_file()]
    if not found:
        raise GradmapError(f"no tables in {tables}; gradmap tune all --publish writes them")
    if not page.is_file():
        raise GradmapError(f"no page at {page}; run this in the repository's root")
    text = summary([read_trials(path) for path in found])
    write_text(page, fill(page.read_text("utf-8"), {"tuning": text}))
    print(f"{page}: {len(found)} methods filled")
    return 0


def summary(found: Sequence[tuple[str, Sequence[Row]]]) -> str:
    """Defaults and best trial of each method as a markdown table.

    Args:
        found: Methods and their trials, from `read_trials`.
    """
    head = [
        "method",
        "trials",
        "defaults, priced cost, $ per day",
        "best, priced cost, $ per day",
        "cost, $ per day",
        "node-steps in violation, %",
        "what the best changes",
    ]
    lines = [f"{_terms(rows)}." for _, rows in found]
    same = list(dict.fromkeys(lines))
    note = same[0] if len(same) == 1 else "The searches are not alike, and do not compare."
    return f"{note}\n\n" + markdown_grid(head, [_line(*each) for each in found])


def _terms(rows: Sequence[Row]) -> str:
    """What all trials of a method had in common."""
    first = rows[0]
    return (
        f"{len(rows)} trials of each method, {int(first['agents']):,} agents, {first['budget']} "
        f"a trial, seed {first['seed']}"
    )


def _line(method: str, rows: Sequence[Row]) -> list[str]:
    done = [row for row in rows if row["status"] == "done"]
    failed = sum(row["status"] == "failed" for row in rows)
    count = f"{len(rows)}" + (f", {failed} failed" if failed else "")
    start = number(as_number(rows[0]["score_usd_per_day"]))
    best = min(done, key=lambda row: float(row["score_usd_per_day"]), default=None)
    if best is None:
        return [METHODS[method].title, count, start, *["–"] * 4]
    figures = [number(float(best[name])) for name in FACTS[3:6]]
    changed = [
        f"`{name}` {best[name]}" for name in setting_names(best) if best[name] != rows[0][name]
    ]
    return [METHODS[method].title, count, start, *figures, ", ".join(changed) or "nothing"]

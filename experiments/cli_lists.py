"""`gradmap methods` and `gradmap feeders`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from gradmap.experiments.arguments import parse
from gradmap.experiments.cli_feeder import put_json
from gradmap.experiments.registry import METHODS, MethodSpec
from gradmap.experiments.terminal import console


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of `gradmap methods` and `gradmap feeders`.

    Attributes:
        json: File to write the list to; - for the screen, alone.
    """

    json: pathlib.Path | None = None


def run(command: str, words: Sequence[str]) -> int:
    """Lists methods or feeders.

    Args:
        command: `methods` or `feeders`.
        words: What follows it.
    """
    arguments = parse(Arguments, words, f"gradmap {command}", f"Lists the {command}.")
    if arguments.json is not None:
        rows = method_rows() if command == "methods" else feeder_rows()
        put_json({command: rows}, arguments.json)
    if str(arguments.json) != "-":
        console().print(methods() if command == "methods" else feeders())
    return 0


def method_rows() -> list[dict[str, Any]]:
    """The methods as plain values."""
    return [
        {
            "name": spec.name,
            "title": spec.title,
            "needs_training": spec.needs_training,
            "needs": None if spec.extra is None else spec.extra.name,
            "summary": spec.summary,
        }
        for spec in METHODS.values()
    ]


def methods() -> Table:
    """A table of the methods."""
    table = Table("method", "title", "learns", "needs", "what it is")
    for spec in METHODS.values():
        learns = "yes" if spec.needs_training else "no"
        table.add_row(
            spec.name,
            spec.title,
            "test days" if spec.is_reference else learns,
            _needs(spec),
            spec.summary,
        )
    return table


def _needs(spec: MethodSpec) -> str:
    if spec.extra is None:
        return ""
    if spec.extra.is_installed():
        return spec.extra.title
    # A backslash: rich would read the extra as a style.
    return f"{spec.extra.title}, missing: pip install 'gradmap\\[{spec.extra.name}]'"


def feeder_rows() -> list[dict[str, Any]]:
    """The bundled feeders and their sizes as plain values."""
    from gradmap.feeders.catalog import feeder_summary, list_feeders, load_feeder
    from gradmap.feeders.describe import feeder_sizes

    rows = []
    for name in list_feeders():
        feeder = load_feeder(name)
        load_kw = float(feeder.terminals.p_kw.sum())
        rows.append(
            {"name": name, **feeder_sizes(feeder), "load_kw": load_kw, "what": feeder_summary(name)}
        )
    return rows


def feeders() -> Table:
    """A table of the feeders."""
    from gradmap.feeders.synthetic_feeder import FORM

    headings = ("feeder", "buses", "nodes", "loads", "terminals", "branches", "regulators")
    table = Table(*headings, "load kW", "what it is")
    for row in feeder_rows():
        name, what, load_kw = row.pop("name"), row.pop("what"), row.pop("load_kw")
        table.add_row(name, *map(str, row.values()), f"{load_kw:,.0f}", what)
    table.caption = (
        f"besides: {FORM} (any size and seed), and the master file of any OpenDSS circuit, *.dss"
    )
    return table

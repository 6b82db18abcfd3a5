"""`gradmap methods` and `gradmap feeders`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rich.table import Table

from gradmap.experiments.arguments import parse
from gradmap.experiments.registry import METHODS, MethodSpec
from gradmap.experiments.terminal import console


@dataclasses.dataclass(frozen=True)
class Arguments:
    """No arguments."""


def run(command: str, words: Sequence[str]) -> int:
    """Lists methods or feeders.

    Args:
        command: `methods` or `feeders`.
        words: What follows it.
    """
    parse(Arguments, words, f"gradmap {command}", f"Lists the {command}.")
    table = methods() if command == "methods" else feeders()
    console().print(table)
    return 0


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


def feeders() -> Table:
    """A table of the feeders."""
    from gradmap.feeders.catalog import list_feeders, load_feeder

    table = Table("feeder", "buses", "nodes", "load terminals", "load kW", "branches", "regulators")
    for name in list_feeders():
        feeder = load_feeder(name)
        counts = (
            len(feeder.bus_names),
            feeder.num_nodes,
            len(feeder.terminals),
            round(float(feeder.terminals.p_kw.sum())),
            len(feeder.branches),
            len(feeder.regulators),
        )
        table.add_row(name, *map(str, counts))
    return table

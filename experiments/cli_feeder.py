"""`gradmap feeder describe NAME|PATH` and `gradmap feeder plot NAME|PATH`."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from gradmap.experiments.arguments import parse
from gradmap.experiments.files import finite, write_json
from gradmap.experiments.terminal import console
from gradmap.feeders.errors import GradmapError

if TYPE_CHECKING:
    from gradmap.feeders.describe import FeederDescription

USAGE = """\
usage: gradmap feeder describe NAME|PATH [--json FILE]
       gradmap feeder plot NAME|PATH [--out FILE.png]

describe  print elements, ratings, base voltages, load, regulators, warnings
plot      draw the plan, lines by loading and buses by voltage, and every
          voltage against the distance from the source

NAME is one that `gradmap feeders` lists, or synthetic:num_buses=1000,seed=0;
PATH is the master file of an OpenDSS circuit, *.dss."""


@dataclasses.dataclass(frozen=True)
class DescribeArguments:
    """Arguments of `gradmap feeder describe`.

    Attributes:
        feeder: Name of a feeder (`gradmap feeders` lists them), or the master
            file of a circuit, *.dss.
        json: File to write the description to; - for the screen, alone.
    """

    feeder: Positional[str]
    json: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class PlotArguments:
    """Arguments of `gradmap feeder plot`.

    Attributes:
        feeder: Name of a feeder (`gradmap feeders` lists them), or the master
            file of a circuit, *.dss.
        out: File of the picture; its suffix says the format. The feeder's
            name and .png by default.
    """

    feeder: Positional[str]
    out: pathlib.Path | None = None


def run(command: str, words: Sequence[str]) -> int:
    """Describes or draws a feeder.

    Args:
        command: `feeder`.
        words: What follows it.

    Returns:
        0.

    Raises:
        GradmapError: If a word or the feeder cannot be used.
    """
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if words else 2
    if words[0] == "describe":
        return _describe(words[1:])
    if words[0] == "plot":
        return _plot(words[1:])
    raise GradmapError(f"gradmap feeder: unknown {words[0]}, expected describe or plot")


def put_json(value: Any, path: pathlib.Path) -> None:
    """Writes plain values as JSON, whole or not at all.

    Args:
        value: The values.
        path: The file; `-` for standard output.
    """
    if str(path) != "-":
        write_json(path, value)
        return
    json.dump(finite(value), sys.stdout, indent=2, allow_nan=False)
    print()


def _describe(words: Sequence[str]) -> int:
    text = "Prints what a feeder holds, how it stands at its nominal load, and what to watch."
    arguments = parse(DescribeArguments, words, "gradmap feeder describe", text)
    # Here, not above: help needs no OpenDSS. What is not supported becomes a warning.
    from gradmap.feeders.catalog import load_feeder
    from gradmap.feeders.describe import describe_feeder

    description = describe_feeder(load_feeder(arguments.feeder, on_unsupported="freeze"))
    if arguments.json is not None:
        put_json(description.to_dict(), arguments.json)
    if str(arguments.json) != "-":
        output = console()
        output.print(facts_table(description))
        if description.regulators:
            output.print(regulator_table(description))
        for warning in description.warnings:
            output.print(f"[yellow]warning:[/] {escape(warning)}")
    return 0


def _plot(words: Sequence[str]) -> int:
    text = "Draws a feeder at its nominal load, as OpenDSS solves it."
    arguments = parse(PlotArguments, words, "gradmap feeder plot", text)
    from gradmap.experiments.plot_feeder_map import plot_feeder
    from gradmap.feeders.catalog import load_feeder

    feeder = load_feeder(arguments.feeder, on_unsupported="freeze")
    out = arguments.out or pathlib.Path(f"{pathlib.PurePath(feeder.name).name}.png")
    if out.suffix not in (".png", ".pdf", ".svg"):
        raise GradmapError(f"--out is {out}, expected a file that ends in .png, .pdf or .svg")
    print(f"drawn in {plot_feeder(feeder, out)}")
    return 0


def facts_table(description: FeederDescription) -> Table:
    """The description as a table of one fact a row, regulators and warnings left out.

    Args:
        description: The description.
    """
    d = description
    made = Table(title=escape(f"{d.name} ({d.origin})"), title_justify="left", box=box.SIMPLE)
    made.add_column("")
    made.add_column("", overflow="fold")
    made.show_header = False

    def put(fact: str, text: str) -> None:
        made.add_row(fact, escape(text))  # buses are named as the circuit's author liked

    put("size", _listed({name: f"{size:,}" for name, size in d.sizes.items()}))
    put("elements", _listed({name: f"{count:,}" for name, count in d.elements.items()}))
    put("base voltages", ", ".join(f"{kv} kV: {n:,}" for kv, n in d.buses_by_kv.items()))
    put("lines", f"{d.length_km:.2f} km, farthest bus {d.farthest_km:.2f} km from the source")
    put(
        "load", f"{d.load_kw:,.0f} kW, {d.load_kvar:,.0f} kvar; {d.delta_kw:,.0f} kW between phases"
    )
    put("load by law", _listed({law: f"{kw:,.0f} kW" for law, kw in d.kw_by_law.items()}))
    if d.generation_kw:
        put("generation", f"{d.generation_kw:,.0f} kW")
    put("capacitors", f"{d.capacitor_kvar:,.0f} kvar")
    ratings = {kind: f"{low:,.0f} to {high:,.0f} A" for kind, (low, high) in d.ratings_a.items()}
    put("ratings", _listed(ratings))
    if d.nominal is not None:
        n = d.nominal
        put(
            "at nominal load",
            f"{n.v_min_pu:.4f} p.u. ({n.v_min_node}) to {n.v_max_pu:.4f} p.u. ({n.v_max_node}); "
            f"source {n.source_kw:,.0f} kW, losses {n.losses_kw:,.1f} kW",
        )
        if math.isfinite(n.max_loading):
            most = f"{100 * n.max_loading:.0f} % of the rating, {n.max_loading_branch}"
            put("largest loading", most)
    return made


def regulator_table(description: FeederDescription) -> Table:
    """The regulators and their settings.

    Args:
        description: The description.
    """
    made = Table("regulator", "bus", box=box.SIMPLE)
    for heading in ("tap", "range", "set point V", "band V", "PT ratio"):
        made.add_column(heading, justify="right")
    for r in description.regulators:
        ends = f"{r['tap_min']} to {r['tap_max']}"
        values = (f"{r['vreg_v']:g}", f"{r['band_v']:g}", f"{r['pt_ratio']:g}")
        made.add_row(escape(r["control"]), escape(r["bus"]), str(r["tap"]), ends, *values)
    return made


def _listed(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())

"""Writes the figures over seeds: `curves.csv`, `curves.json` and `curves.md`."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradmap.experiments.compare_markdown import grid, setting, with_interval
from gradmap.experiments.curves import Learning
from gradmap.experiments.files import write_json, write_text
from gradmap.experiments.metrics import OVERLOAD_USD, VOLTAGE_USD_PER_PU
from gradmap.experiments.registry import METHODS
from gradmap.experiments.seeds import FIGURES, PRICED, figure
from gradmap.experiments.statistics import stratified_bootstrap

BASE = "rules"
"""The method that the others are to beat."""

COLUMNS = (
    "method",
    "title",
    "num_seeds",
    *(f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")),
    "beats_rules",
    "beats_rules_of",
    "train_seconds",
    "power_flow_solves",
)
"""Columns of `curves.csv`."""

_HEAD = (
    "method",
    "seeds",
    "cost, $/day",
    "node-steps in violation, %",
    "cost plus priced violations, $/day",
    "beats rules",
)


def table_rows(found: Learning) -> list[dict[str, Any]]:
    """Test figures of each method that has any, drawn together over its seeds.

    Args:
        found: What the seeds have found.

    Returns:
        A row a method: each of `FIGURES`, with `_low` and `_high` the ends of
        its interval; `seeds`; `beats_rules`, seeds with less cost plus priced
        violations than the rules, of `beats_rules_of`; training seconds and
        power flows, mean over seeds.
    """
    values = {
        method: {
            name: {s: figure(j["engines"]["torch"]["metrics"], name) for s, j in own.items()}
            for name in FIGURES
        }
        for method, own in found.judgements.items()
    }
    base = values.get(BASE, {}).get(PRICED, {})
    rows = []
    for method, own in found.judgements.items():
        if not own:
            continue
        row: dict[str, Any] = {"method": method, "title": METHODS[method].title, "seeds": list(own)}
        for name in FIGURES:
            each = list(values[method][name].values())
            drawn = stratified_bootstrap(np.array(each)[:, None])  # days already drawn together
            row[name], row[f"{name}_low"], row[f"{name}_high"] = drawn.value, drawn.low, drawn.high
            row[f"{name}_by_seed"] = each
        # The rules have no randomness, and run for the first seed alone.
        level = next(iter(base.values()), None) if method != BASE else None
        row["beats_rules"] = row["beats_rules_of"] = 0
        if level is not None:
            priced = values[method][PRICED].values()
            row["beats_rules"] = sum(value < level for value in priced)
            row["beats_rules_of"] = len(priced)
        for name in ("train_seconds", "power_flow_solves"):
            row[name] = float(np.mean([judgement[name] for judgement in own.values()]))
        rows.append(row)
    return rows


def write_curves(found: Learning, out: pathlib.Path) -> None:
    """Writes the tables.

    Args:
        found: What the seeds have found.
        out: Folder.
    """
    rows = table_rows(found)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows([{**row, "num_seeds": len(row["seeds"])} for row in rows])
    write_text(out / "curves.csv", text.getvalue())
    whole = {
        "rows": rows,
        "missing": found.missing,
        "facts": found.report.facts,
        "config": found.report.config.model_dump(mode="json"),
    }
    write_json(out / "curves.json", whole)
    write_text(out / "curves.md", f"# {found.report.task_line()}\n\n{markdown(found)}\n")


def markdown(found: Learning) -> str:
    """Setting, table and what is missing, in Markdown.

    Args:
        found: What the seeds have found.
    """
    body = [_cells(row) for row in table_rows(found)]
    parts = [
        f"{found.report.task_line()}. {setting(found.report)}",
        grid(_HEAD, body),
        "Interquartile mean over the seeds (the mean of fewer than four) and its 95 % bootstrap "
        f"interval. Priced violations: $ {VOLTAGE_USD_PER_PU:g} per p.u., node and step and "
        f"$ {OVERLOAD_USD:g} per rating, branch and step, whatever a method learnt with. Beats "
        "rules: seeds with less cost plus priced violations than the rules.",
    ]
    if found.missing:
        parts.append("\n".join(["Missing:", "", *(f"- {what}" for what in found.missing)]))
    return "\n\n".join(parts)


def _cells(row: Mapping[str, Any]) -> list[str]:
    of = row["beats_rules_of"]
    return [
        row["title"],
        str(len(row["seeds"])),
        *(with_interval(row[n], row[f"{n}_low"], row[f"{n}_high"]) for n in FIGURES),
        f"{row['beats_rules']} of {of}" if of else "–",
    ]

"""A comparison's table for a paper: LaTeX with booktabs, intervals beside the figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gradmap.experiments.compare_table import SOLVABLE_PCT
from gradmap.experiments.judgement import number
from gradmap.experiments.progress import duration

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}

_COLUMNS = (
    ("cost_usd_per_day", "cost, $ per day"),
    ("optimality_gap_pct", "gap, %"),
    ("node_step_violation_pct", "violations, %"),
    ("opendss_node_step_violation_pct", "by OpenDSS, %"),
    ("train_seconds", "training"),
    ("env_gradients", "gradients"),
    ("power_flow_solves", "power flows"),
)


def latex_table(
    rows: Sequence[Mapping[str, Any]],
    caption: str = "Methods on the test days, with 95 % intervals.",
    label: str = "tab:comparison",
) -> str:
    r"""Sets a table's rows; needs `\usepackage{booktabs}`.

    Families of methods are set apart. A row without figures says why. A gap
    that more than `SOLVABLE_PCT` of node-steps in violation have bought has
    an asterisk. Columns that no row fills are left out.

    Args:
        rows: From `gradmap.experiments.summary.summarise_results`.
        caption: The caption, plain text.
        label: The label, as LaTeX takes it.

    Returns:
        A `table` environment.
    """
    columns = [(name, head) for name, head in _COLUMNS if any(_known(row, name) for row in rows)]
    head = " & ".join(["method", *(escape(title) for _, title in columns)])
    body: list[str] = []
    family = rows[0].get("family") if rows else None
    for row in rows:
        if row.get("family") != family:
            family = row.get("family")
            body.append(r"\addlinespace")
        body.append(_line(row, [name for name, _ in columns]))
    gap = (
        f"cost above perfect foresight's to that above the lower bound; * more than {SOLVABLE_PCT}"
    )
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(caption)}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
            r"\toprule",
            rf"{head} \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
            rf"\footnotesize gap: {escape(f'{gap} % of node-steps in violation.')}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Writes text so that LaTeX sets it as it stands.

    Args:
        text: Plain text.
    """
    return "".join(_ESCAPES.get(letter, letter) for letter in text)


def _line(row: Mapping[str, Any], names: Sequence[str]) -> str:
    title = escape(str(row["title"]))
    if not _known(row, "cost_usd_per_day"):
        why = escape(str(row.get("status") or "no figures"))
        return rf"{title} & \multicolumn{{{max(len(names), 1)}}}{{l}}{{{why}}} \\"
    return " & ".join([title, *(_cell(row, name) for name in names)]) + r" \\"


def _cell(row: Mapping[str, Any], name: str) -> str:
    if not _known(row, name):
        return "--"
    if name == "train_seconds":
        return escape(duration(row[name]))
    if name == "optimality_gap_pct":
        mark = "*" if (row.get("node_step_violation_pct") or 0.0) > SOLVABLE_PCT else ""
        high = "optimality_gap_high_pct"
        return (
            _number(row[name]) + (f" to {_number(row[high])}" if _known(row, high) else "") + mark
        )
    low, high = f"{name}_low", f"{name}_high"
    if _known(row, low) and _known(row, high):
        return f"{_number(row[name])} [{_number(row[low])}, {_number(row[high])}]"
    return _number(row[name])


def _number(value: float) -> str:
    """A number with a true minus, and a comma that leaves no gap."""
    return number(value).replace("-", "$-$")


def _known(row: Mapping[str, Any], name: str) -> bool:
    value = row.get(name)
    return isinstance(value, (int, float)) and math.isfinite(value)

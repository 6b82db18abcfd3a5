"""The table for a paper."""

from __future__ import annotations

import re
from typing import Any

from gradmap.experiments.latex import escape, latex_table


def row(method: str, family: str = "gradient", **figures: Any) -> dict[str, Any]:
    return {"method": method, "title": method, "family": family, "status": "done", **figures}


ROWS = [
    row(
        "one_& two",
        cost_usd_per_day=-1234.5,
        cost_usd_per_day_low=-1300.0,
        cost_usd_per_day_high=-1200.0,
        node_step_violation_pct=0.01,
        optimality_gap_pct=1.25,
        optimality_gap_high_pct=3.5,
        train_seconds=120.0,
    ),
    row("broken", cost_usd_per_day=None, status="failed: 50 % of {it}"),
    row(
        "loud", "control", cost_usd_per_day=1.0, node_step_violation_pct=5.0, optimality_gap_pct=-9
    ),
]


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.endswith(r"\\")]


def test_every_row_has_as_many_cells_as_the_head() -> None:
    head, *body = lines(latex_table(ROWS))
    cells = len(re.split(r"(?<!\\)&", head))
    for line in body:
        spans = sum(int(span) - 1 for span in re.findall(r"multicolumn\{(\d+)\}", line))
        assert len(re.split(r"(?<!\\)&", line)) + spans == cells, line
    columns = re.search(r"\\begin\{tabular\}\{(l(r+))\}", latex_table(ROWS))
    assert columns is not None
    assert len(columns[1]) == cells


def test_environments_and_braces_close() -> None:
    text = latex_table(ROWS)
    assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text)[::-1]
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert [text.count(rf"\{rule}") for rule in ("toprule", "midrule", "bottomrule")] == [1, 1, 1]


def test_figures_stand_with_their_intervals() -> None:
    text = latex_table(ROWS)
    assert "$-$1,234 [$-$1,300, $-$1,200]" in text or "$-$1,235 [$-$1,300, $-$1,200]" in text
    assert "1.25 to 3.5 " in text
    assert "$-$9*" in text


def test_text_is_escaped_and_failures_say_why() -> None:
    text = latex_table(ROWS)
    assert r"one\_\& two" in text
    assert r"failed: 50 \% of \{it\}" in text
    assert escape("a\\b^~#$") == r"a\textbackslash{}b\textasciicircum{}\textasciitilde{}\#\$"


def test_families_are_apart_and_empty_columns_left_out() -> None:
    text = latex_table(ROWS)
    assert text.count(r"\addlinespace") == 1
    assert "OpenDSS" not in text
    assert "gradients" not in text


def test_a_table_of_nothing_is_still_a_table() -> None:
    assert r"\begin{tabular}{l}" in latex_table([])

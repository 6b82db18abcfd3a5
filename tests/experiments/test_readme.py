"""Measured tables go into the page between its markers, and nothing else moves."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from gradmap.experiments import readme
from gradmap.experiments.compare_report import Report, write_report
from gradmap.experiments.compare_table import COLUMNS
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.target import race
from gradmap.feeders.errors import GradmapError

PAGE = """\
# A page

<!-- compare:begin -->
old
<!-- compare:end -->
between
<!-- target:begin --><!-- target:end -->
<!-- validate:begin -->
<!-- validate:end -->
the end
"""
VALIDATION = {
    "tolerance_pu": 1e-6,
    "passed": False,
    "rows": [
        {"case": "light", "num_scenarios": 1, "max_error_pu": 1.7e-9, "iterations": 9,
         "num_outside": 43},
        {"case": "heavy", "num_scenarios": 1, "max_error_pu": None, "iterations": 500,
         "num_outside": 0},
    ],
}  # fmt: skip


@pytest.fixture
def report() -> Report:
    row: dict[str, Any] = dict.fromkeys(COLUMNS, 0.0)
    row |= {"method": "gradmap", "title": "GradMAP", "status": "done", "cost_usd_per_day": -91.5}
    judged = {
        "iteration": 10,
        "seconds": 20.0,
        "env_gradients": 10,
        "power_flow_solves": 7680,
        "metrics": {"cost_usd_per_day": -91.5, "node_step_violation_pct": 0.1},
    }
    facts = {
        "num_days": 24, "cpu": r"a chip \1", "cores": 2, "gpu": None, "gradmap": "0.1.0",
        "torch": "2.13.0",
    }  # fmt: skip
    races = [race({"gradmap": [judged], "ss-primal-dual": []}, 0.5, 5.0)]
    return Report(CompareConfig(), [row], races, facts)


def test_a_page_is_filled(report: Report, tmp_path: pathlib.Path) -> None:
    write_report(report, tmp_path)
    validation, page = tmp_path / "validate.json", tmp_path / "page.md"
    validation.write_text(json.dumps(VALIDATION))
    page.write_text(PAGE)
    words = ["--page", str(page), "--compare", str(tmp_path / "table.json")]
    words += ["--validate", str(validation)]
    assert readme.run(words) == 0
    text = page.read_text()
    assert text.startswith("# A page\n\n<!-- compare:begin -->\n\n1,000 agents, seed 0. 24 test")
    assert text.endswith("<!-- validate:end -->\nthe end\n")
    assert "old" not in text
    for part in (r"on a chip \1, 2 cores", "-91.5", "not reached"):
        assert part in text
    for part in ("1.7e-09", "no solution", "NOT every case"):
        assert part in text
    assert readme.run(words) == 0
    assert page.read_text() == text


def test_reports_that_are_not_there_leave_the_page(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, nowhere = tmp_path / "page.md", str(tmp_path / "nowhere.json")
    page.write_text(PAGE)
    assert readme.run(["--page", str(page), "--compare", nowhere, "--validate", nowhere]) == 0
    assert page.read_text() == PAGE
    assert "make compare writes it" in capsys.readouterr().out


def test_a_marker_must_be_there_once() -> None:
    with pytest.raises(GradmapError, match=r"<!-- target:begin --> .* <!-- other:begin -->"):
        readme.fill(PAGE + "<!-- target:begin -->", {"target": "x", "other": "y", "compare": "z"})


@pytest.mark.parametrize("text", ["{", "{}", '{"rows": [], "time_to_target": [{}]}'])
def test_a_foreign_report_is_refused(text: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(GradmapError, match=r"table\.json"):
        readme.read_report(path)

"""Measured tables go into the page between its markers, and nothing else moves."""

from __future__ import annotations

import json
import pathlib
import types

import pytest

from gradmap.experiments import readme
from gradmap.experiments.compare_report import write_report
from gradmap.experiments.compare_table import make_report
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import RunKey
from gradmap.experiments.results import Results, load_results
from gradmap.feeders.errors import GradmapError

PAGE = """\
# A page

<!-- compare:begin -->
old
<!-- compare:end -->
between
<!-- target:begin --><!-- target:end -->
<!-- stress:begin --><!-- stress:end -->
<!-- validate:begin -->
<!-- validate:end -->
the end
"""
VALIDATION = {
    "passed": False,
    "feeders": {
        "one": {
            "tolerance_pu": 1e-6,
            "rows": [
                {"case": "light", "num_scenarios": 1, "max_error_pu": 1.7e-9},
                {"case": "high voltage", "num_scenarios": 1, "max_error_pu": 1e-8},
            ],
        },
        "two": {
            "tolerance_pu": 1e-6,
            "rows": [{"case": "light", "num_scenarios": 1, "max_error_pu": None}],
        },
    },
}  # fmt: skip


@pytest.fixture
def results(tmp_path: pathlib.Path, fake_comparison: types.ModuleType) -> Results:
    """GradMAP comes to the target, the self-supervised method does not."""

    def found(key: RunKey, share: float) -> dict[str, float]:
        cost = -91.5 + (100.0 if key.method != "gradmap" else 0.0)
        return fake_comparison.metrics(cost, 0.1)  # type: ignore[no-any-return]

    config = CompareConfig(methods=("gradmap", "ss-primal-dual"), splits=("test", "offline"))
    return load_results(fake_comparison.make(tmp_path / "out", config, found))


def test_a_page_is_filled(results: Results, tmp_path: pathlib.Path) -> None:
    results.facts["cpu"] = r"a chip \1"
    write_report([make_report(results, "ieee123-mixed-v1")], results, tmp_path)
    validation, page = tmp_path / "validate.json", tmp_path / "page.md"
    validation.write_text(json.dumps(VALIDATION))
    page.write_text(PAGE)
    words = ["--page", str(page), "--compare", str(tmp_path / "table.json")]
    words += ["--validate", str(validation), "--speed", str(tmp_path / "table.json")]
    assert readme.run(words) == 0
    text = page.read_text()
    assert text.startswith("# A page\n\n<!-- compare:begin -->\n\nieee123-mixed-v1: 1,000 agents")
    assert text.endswith("<!-- validate:end -->\nthe end\n")
    assert "old" not in text
    for part in (r"on a chip \1, 2 cores", "-91.5", "0 of 1", "≥ "):
        assert part in text
    for part in (
        *("| case ", "|     one |         two |", "1.7e-09 | no solution |"),
        *("1.0e-08 |           – |", "NOT every case is within 1e-06 p.u."),
    ):
        assert part in text
    assert readme.run(words) == 0
    assert page.read_text() == text


def test_reports_that_are_not_there_leave_the_page(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, nowhere = tmp_path / "page.md", str(tmp_path / "nowhere.json")
    page.write_text(PAGE)
    words = [w for key in ("compare", "speed", "validate") for w in (f"--{key}", nowhere)]
    assert readme.run(["--page", str(page), *words]) == 0
    assert page.read_text() == PAGE
    told = capsys.readouterr().out
    assert "make compare writes it" in told
    assert "make speed writes it" in told


def test_a_marker_must_be_there_once() -> None:
    with pytest.raises(GradmapError, match=r"<!-- target:begin --> .* <!-- other:begin -->"):
        readme.fill(PAGE + "<!-- target:begin -->", {"target": "x", "other": "y", "compare": "z"})


@pytest.mark.parametrize("text", ["{", "{}", '{"tasks": {"a": {"rows": []}}}'])
def test_a_foreign_report_is_refused(text: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(GradmapError, match=r"table\.json"):
        readme.read_report(path)

"""`gradmap validate`: several feeders, the exit code, and what it writes."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest

from gradmap.experiments import cli, validate_report
from gradmap.experiments.plot_validation import _worst_points
from gradmap.feeders import validate
from gradmap.feeders.catalog import list_feeders, locate
from gradmap.feeders.model import Feeder
from gradmap.feeders.validate import CaseVoltages, ValidationReport, ValidationRow


def fake_report(feeder: Feeder, error: float) -> ValidationReport:
    row = ValidationRow("nominal", 1, error, "1.1", 0.0, 0.0, 5, 0, error == error)
    v_pu = np.ones((1, 3)) + 0j
    return ValidationReport(
        feeder.name, 1e-6, (row,), 3, 2, (CaseVoltages("nominal", v_pu + error, v_pu),)
    )


@pytest.mark.parametrize(("error", "code"), [(1e-9, 0), (1e-5, 1), (float("nan"), 1)])
def test_it_fails_past_the_tolerance(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    error: float,
    code: int,
) -> None:
    calls = []

    def fake(feeder: Feeder, *arguments: object) -> ValidationReport:
        calls.append((feeder.name, *arguments))
        return fake_report(feeder, error if feeder.name == "ieee34" else 0.0)

    monkeypatch.setattr(validate, "validate_feeder", fake)
    file, out = tmp_path / "more.json", tmp_path / "out"
    words = ["validate", "ieee13", "ieee34", "--random", "3", "--json", str(file)]
    assert cli.main([*words, "--out", str(out)]) == code
    assert calls == [("ieee13", 3, 0, 1e-6), ("ieee34", 3, 0, 1e-6)]
    report = json.loads(file.read_text())
    assert report["passed"] is (code == 0)
    assert report["feeders"]["ieee13"]["passed"] is True
    assert report["feeders"]["ieee34"]["passed"] is (code == 0)
    assert json.loads((out / "report.json").read_text()) == report
    said = capsys.readouterr().out
    assert "ieee13 against OpenDSS: 3 nodes, 2 terminals" in said
    assert "ieee13: Every operating point is within 1e-06 p.u. of OpenDSS." in said
    page = (out / "report.md").read_text()
    assert ("NOT every operating point" in page) is (code == 1)
    assert ("**no solution**" in page) is (error != error)
    assert (out / "voltages.png").stat().st_size > 10_000


def test_every_bundled_feeder_unless_some_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    names = []

    def fake(feeder: Feeder, *arguments: object) -> ValidationReport:
        names.append(feeder.name)
        return fake_report(feeder, 0.0)

    monkeypatch.setattr(validate, "validate_feeder", fake)
    assert cli.main(["validate", "--out", str(tmp_path)]) == 0
    assert names == list(list_feeders()) == ["ieee13", "ieee34", "ieee37", "ieee123"]


def test_a_circuit_of_ones_own(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locate("ieee13") as path:
        words = ["validate", str(path), "--random", "2", "--out", str(tmp_path)]
        assert cli.main(words) == 0
        assert f"{path} against OpenDSS: 41 nodes" in capsys.readouterr().out.replace("\n", " ")
        report = json.loads((tmp_path / "report.json").read_text())
        assert list(report["feeders"]) == [str(path)]
    rows = report["feeders"][str(path)]["rows"]
    assert len(rows) == 8
    assert max(row["max_error_pu"] for row in rows) < 1e-7


def test_elements_that_are_not_supported(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locate("ieee13") as path:
        shutil.copytree(path.parent, tmp_path / "mine")
    loads = tmp_path / "mine" / "loads.dss"
    loads.write_text(
        loads.read_text() + "New Generator.odd Bus1=680.1 Phases=1 kV=2.4 kW=9 Model=3\n"
    )
    words = ["validate", str(tmp_path / "mine" / "Master.dss"), "--random", "2"]
    words += ["--out", str(tmp_path / "out")]
    assert cli.main(words) == 2
    assert "generator.odd" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert cli.main([*words, "--on-unsupported", "freeze"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    (feeder,) = report["feeders"].values()
    assert len(feeder["rows"]) == 8
    assert cli.main(["feeder", "describe", str(tmp_path / "mine" / "Master.dss")]) == 0
    assert "generator.odd" in capsys.readouterr().out


def test_of_many_power_flows_the_worst_is_drawn() -> None:
    theirs = np.array([[1.0, 1.0], [1.1, 1.1], [np.nan, np.nan]]) + 0j
    ours = theirs + np.array([[1e-9, 3e-9], [2e-9, 1e-9], [0.0, 0.0]])
    mine, other, error = _worst_points(CaseVoltages("random", ours, theirs))
    assert other.tolist() == [1.1, 1.0]
    assert error == pytest.approx([2e-9, 3e-9], rel=1e-6)
    assert mine == pytest.approx(other + error, abs=1e-12)
    nothing = CaseVoltages("heavy", theirs[2:], theirs[2:])
    assert all(not len(part) for part in _worst_points(nothing))


def test_the_page_names_every_feeder() -> None:
    v_pu = np.ones((1, 3)) + 0j
    row = ValidationRow("light", 7, 2e-9, "a.2", 1e-6, 2e-6, 9, 4, True)
    report = ValidationReport("x", 1e-6, (row,), 1234, 56, (CaseVoltages("light", v_pu, v_pu),))
    page = validate_report.markdown({"x": report, "mine/Master.dss": report})
    assert "## mine/Master.dss\n\n1,234 nodes, 56 terminals. Every operating point" in page
    assert page.count("2.0e-09") == 2

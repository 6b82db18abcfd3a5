"""`gradmap feeders`, `gradmap feeder describe` and `gradmap feeder plot`."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest
from matplotlib.image import imread

from gradmap.experiments import cli
from gradmap.experiments.plot_feeder_layout import lay_out
from gradmap.experiments.plot_feeder_map import plot_feeder
from gradmap.feeders.catalog import list_feeders, load_feeder, locate
from gradmap.feeders.circuit_facts import read_facts
from gradmap.feeders.dss import read_feeder
from gradmap.feeders.model import Feeder


@pytest.fixture
def bare_ieee13(tmp_path: pathlib.Path) -> pathlib.Path:
    """IEEE 13 without coordinates."""
    with locate("ieee13") as path:
        shutil.copytree(path.parent, tmp_path / "bare")
    master = tmp_path / "bare" / "Master.dss"
    text = master.read_text().replace("BusCoords bus_coordinates.csv", "")
    master.write_text(text)
    return master


def test_the_list_of_feeders(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["feeders"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in list_feeders())
    assert "synthetic:num_buses=1000,seed=0" in said
    assert cli.main(["feeders", "--json", "-"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["feeders"]}
    assert tuple(rows) == list_feeders()
    assert rows["ieee34"] == {
        "name": "ieee34",
        "buses": 37,
        "nodes": 95,
        "loads": 68,
        "terminals": 78,
        "branches": 40,
        "regulators": 6,
        "load_kw": 1769.0,
        "what": "IEEE 34-node: 24.9 kV, long, lightly loaded",
    }


def test_methods_as_json(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "methods.json"
    assert cli.main(["methods", "--json", str(file)]) == 0
    assert "gradmap" in {row["name"] for row in json.loads(file.read_text())["methods"]}


def test_describe(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    file = tmp_path / "described.json"
    assert cli.main(["feeder", "describe", "ieee13", "--json", str(file)]) == 0
    said = capsys.readouterr().out
    for part in (
        *("ieee13 (ieee13)", "buses 16, nodes 41, loads 15", "115 kV: 1, 4.16 kV: 14"),
        *("3,466 kW, 2,102 kvar", "line 165 to 730 A", "-16 to 16"),
        *("118 % of the rating, transformer.xfm1", "warning: above its rating"),
    ):
        assert part in said
    assert json.loads(file.read_text())["elements"]["capacitor"] == 2


def test_describe_a_file_as_json(
    bare_ieee13: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["feeder", "describe", str(bare_ieee13), "--json", "-"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["origin"] == str(bare_ieee13)
    assert "no bus has coordinates: drawn as a tree" in described["warnings"]


@pytest.mark.parametrize("name", ["ieee13", "ieee37", "synthetic:num_buses=40,seed=3"])
def test_plot(name: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "drawn.png"
    assert cli.main(["feeder", "plot", name, "--out", str(file)]) == 0
    assert str(file) in capsys.readouterr().out.replace("\n", "")
    picture = imread(file)
    assert picture.shape[1] > 1500
    # Something is drawn on either half.
    for half in (picture[:, : picture.shape[1] // 2], picture[:, picture.shape[1] // 2 :]):
        assert (half[..., :3].min(axis=-1) < 0.9).mean() > 0.005


def test_a_feeder_without_coordinates_is_a_tree(bare_ieee13: pathlib.Path) -> None:
    feeder = read_feeder(bare_ieee13)
    layout = lay_out(feeder, read_facts(feeder))
    assert not layout.is_plan
    assert set(layout.place) == set(feeder.bus_names)
    assert layout.place["sourcebus"][0] == 0.0
    assert layout.place["632"][0] == 3.0  # sourcebus, 650, rg60, 632
    assert len(set(layout.place.values())) == len(feeder.bus_names)
    assert plot_feeder(feeder, bare_ieee13.parent / "tree.png").stat().st_size > 20_000


def test_a_bus_without_coordinates_stands_with_its_neighbour() -> None:
    feeder = load_feeder("ieee123")
    layout = lay_out(feeder, read_facts(feeder))
    assert layout.is_plan
    assert layout.place["300_open"] == layout.place["151"]
    assert layout.place["149"] == (300.0, 1500.0)


WANTED = "name of a feeder (`gradmap feeders` lists them), or the master file of a circuit, *.dss;"


def test_words_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, fault in (
        (["feeder", "draw", "ieee13"], "unknown draw, expected describe or plot"),
        (["feeder", "describe"], f"expected after `gradmap feeder describe`: {WANTED}"),
        (["feeder", "plot"], f"expected after `gradmap feeder plot`: {WANTED}"),
        (["feeder", "plot", "--out", "x.png"], f"expected after `gradmap feeder plot`: {WANTED}"),
        (["feeder", "plot", "ieee13", "--out"], "--out has no value; --help lists"),
        (["feeder", "plot", "ieee13", "--out", "x.txt"], "ends in .png, .pdf or .svg"),
        (["feeder", "plot", "ieee124"], "did you mean 'ieee123'?"),
        (["feeder", "describe", "nowhere/Master.dss"], "no such file"),
    ):
        assert cli.main(words) == 2
        assert fault in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert cli.main(["feeder"]) == 2
    assert cli.main(["feeder", "--help"]) == 0


@pytest.mark.parametrize("command", [["feeder", "describe"], ["feeder", "plot"], ["validate"]])
def test_files_that_are_no_circuit(
    command: list[str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Sub").mkdir()
    (tmp_path / "Sub" / "Lines.dss").write_text("! nothing\n")
    for name, data, fault in (
        ("empty.dss", b"", "empty.dss: defines no circuit; expected `New Circuit.<name>`"),
        ("zeros.dss", b"\x7fELF\0\0\1", "zeros.dss: holds zero bytes, expected a text file"),
        ("bytes.dss", b"PK\3\4\x80\xff\n", "bytes.dss, line 1 is refused: `PK??"),
        ("text.dss", b"Dear all,\n", "text.dss, line 1 is refused: `Dear` is unknown to OpenDSS"),
        ("case.dss", b"Redirect sub/lines.dss\n", "Lines.dss': upper and lower case differ"),
        ("Sub", None, "Sub: is a folder; expected the master file of an OpenDSS circuit: one of"),
        ("sub/lines.dss", None, "no such file; expected the master file of an OpenDSS circuit; th"),
        ("nosuch", None, "a circuit of your own is named by its master file"),
    ):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        assert cli.main([*command, name if name == "nosuch" else str(tmp_path / name)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("gradmap: error: ")
        assert said.count("\n") == 1
        assert said[:-1].isprintable()
        assert fault in said


def test_what_has_no_solution_cannot_be_drawn(
    bare_ieee13: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradmap.experiments import plot_feeder_map
    from gradmap.feeders.dss_replay import ReplaySolution
    from gradmap.feeders.errors import GradmapError

    def nothing(feeder: Feeder) -> ReplaySolution:
        nan = np.full(feeder.num_nodes, np.nan, dtype=np.complex128)
        return ReplaySolution(nan, False, 2000, np.nan, np.nan, nan)

    monkeypatch.setattr(plot_feeder_map, "solve_nominal", nothing)
    with pytest.raises(GradmapError, match="no solution at its nominal load"):
        plot_feeder(load_feeder("ieee13"), bare_ieee13.parent / "x.png")


def test_names_are_no_markup(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither rich nor matplotlib nor Markdown reads what a circuit's author called things."""
    bus = "[/b]$x_{|"
    master = tmp_path / "Master.dss"
    master.write_text(
        'New "Circuit.[bold]$m_{" Bus1=a.1.2.3 BasekV=12.47\n'
        f'New Line.l1 Bus1=a.1.2.3 Bus2="{bus}.1.2.3" Length=1 Units=km\n'
        f'New "Load.[/d]" Bus1="{bus}.1.2.3" kV=12.47 kW=900\n'
        "Set VoltageBases=[12.47]\nCalcVoltageBases\n"
    )
    assert cli.main(["feeder", "describe", str(master)]) == 0
    assert bus in capsys.readouterr().out
    assert cli.main(["feeder", "plot", str(master), "--out", str(tmp_path / "x.png")]) == 0
    words = ["validate", str(master), "--random", "1", "--out", str(tmp_path / "report")]
    assert cli.main(words) == 0
    assert bus in capsys.readouterr().out
    page = (tmp_path / "report" / "report.md").read_text()
    rows = [line for line in page.splitlines() if "nominal" in line]
    assert [row.replace("\\|", "").count("|") for row in rows] == [9]

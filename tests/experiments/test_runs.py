"""The run's folder: whole or not there, and never overwritten."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from gradmap.experiments.config import RunConfig
from gradmap.experiments.files import write_json
from gradmap.experiments.manifest import describe_session
from gradmap.experiments.runs import RunFolder, read_rows
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.files import replacing


def session() -> dict[str, Any]:
    return describe_session("gradmap train x", 1, "cpu")


def test_a_run_says_where_it_comes_from(tmp_path: pathlib.Path) -> None:
    config = RunConfig(method="selfish", seed=4)
    folder = RunFolder.create(tmp_path / "deep" / "run", config, session())
    assert RunFolder.open(folder.path).config == config
    manifest = folder.manifest()
    assert (manifest["method"], manifest["seed"]) == ("selfish", 4)
    (only,) = manifest["sessions"]
    assert only["command"] == "gradmap train x"
    assert only["status"] == folder.status == "running"
    assert only["packages"]["torch"]
    assert only["hardware"]["cores"] >= 1
    assert only["hardware"]["memory_gib"] > 0
    folder.end_session("finished", iteration=3)
    assert folder.status == "finished"
    assert folder.manifest()["sessions"][0]["iteration"] == 3
    assert [p.name for p in folder.path.parent.iterdir()] == ["run"]  # nothing left aside


@pytest.mark.parametrize("is_file", [False, True])
def test_what_is_there_is_not_overwritten(tmp_path: pathlib.Path, is_file: bool) -> None:
    path = tmp_path / "run"
    if is_file:
        path.write_text("mine")
    else:
        path.mkdir()
        (path / "mine").touch()
    with pytest.raises(GradmapError, match=r"not empty.*--resume"):
        RunFolder.create(path, RunConfig(), session())
    assert [p.name for p in tmp_path.rglob("*")] == (["run"] if is_file else ["run", "mine"])


def test_an_empty_folder_is_taken(tmp_path: pathlib.Path) -> None:
    (tmp_path / "run").mkdir()
    RunFolder.create(tmp_path / "run", RunConfig(), session())


def test_a_folder_that_is_no_run_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(GradmapError, match="no run"):
        RunFolder.open(tmp_path)


def test_two_processes_do_not_share_a_run(tmp_path: pathlib.Path) -> None:
    folder = RunFolder.create(tmp_path / "run", RunConfig(), session())
    with folder.locked(), pytest.raises(GradmapError, match="another process"), folder.locked():
        pass
    with folder.locked():
        pass


def test_rows_are_cut_at_the_checkpoint(tmp_path: pathlib.Path) -> None:
    folder = RunFolder.create(tmp_path / "run", RunConfig(), session())
    for iteration in range(5):
        folder.append_row({"kind": "train", "iteration": iteration, "metrics": {"x": 0.1}})
    folder.append_row({"kind": "validation", "iteration": 4, "metrics": {"x": float("nan")}})
    assert folder.rows("validation")[0]["metrics"]["x"] is None  # JSON knows no NaN
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "iter')  # killed while writing
    assert len(read_rows(folder.path)) == 6
    folder.truncate_rows(2)
    assert [row["iteration"] for row in folder.rows()] == [0, 1, 2]
    text = (folder.path / "metrics.jsonl").read_text()
    assert all(json.loads(line) for line in text.splitlines())


def test_a_file_is_whole_or_as_it_was(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": float("inf")})
    assert json.loads(path.read_text()) == {"a": None}

    def fail() -> None:
        with replacing(path) as aside:
            aside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert json.loads(path.read_text()) == {"a": None}
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(GradmapError, match="cannot write"):
        write_json(path / "below a file.json", {})

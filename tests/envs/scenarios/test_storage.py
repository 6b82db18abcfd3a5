from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
import pytest

from gradmap.envs.scenarios.model import PER_STEP, PER_TERMINAL, ScenarioSet
from gradmap.envs.scenarios.storage import load_scenarios, save_scenarios
from gradmap.feeders.errors import GradmapError


@pytest.fixture
def saved(small: dict[str, Any], tmp_path: pathlib.Path) -> pathlib.Path:
    small["base_p_kw"] = np.random.default_rng(0).random((3, 4, 2))
    path = tmp_path / "days.npz"
    save_scenarios(ScenarioSet(**small), path)
    return path


def test_round_trip(scenarios: ScenarioSet, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "days.npz"
    path.write_text("an old file")
    save_scenarios(scenarios, str(path))
    assert os.listdir(tmp_path) == ["days.npz"]
    back = load_scenarios(path)
    for name in PER_TERMINAL + PER_STEP:
        np.testing.assert_array_equal(getattr(back, name), getattr(scenarios, name))
    for name in ("date", "split", "dt_hours", "terminal_names"):
        assert getattr(back, name) == getattr(scenarios, name)
    assert type(back.date[0]) is str


def test_set_without_days(saved: pathlib.Path) -> None:
    empty = load_scenarios(saved).subset([])
    save_scenarios(empty, saved)
    assert load_scenarios(saved).num_days == 0


def test_missing_file(small: dict[str, Any], tmp_path: pathlib.Path) -> None:
    with pytest.raises(GradmapError, match="no such scenario file"):
        load_scenarios(tmp_path / "none.npz")
    (tmp_path / "file").touch()
    with pytest.raises(GradmapError, match="cannot write"):
        save_scenarios(ScenarioSet(**small), tmp_path / "file" / "folder.npz")


def test_every_cut_is_noticed(saved: pathlib.Path) -> None:
    whole = saved.read_bytes()
    for length in range(0, len(whole), 97):
        saved.write_bytes(whole[:length])
        with pytest.raises(GradmapError, match=r"days\.npz: "):
            load_scenarios(saved)


def test_a_flipped_byte_is_noticed_or_harmless(saved: pathlib.Path) -> None:
    whole, good = saved.read_bytes(), load_scenarios(saved)
    noticed = 0
    for place in range(0, len(whole), 23):
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            back = load_scenarios(saved)
        except GradmapError:
            noticed += 1
        else:
            np.testing.assert_array_equal(back.base_p_kw, good.base_p_kw)
            assert back.date == good.date
    assert noticed > 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": np.array("gradmap-scenarios-0")}, "not a scenario file of this version"),
        ({"pv_kw": None}, r"missing \['pv_kw'\]"),
        ({"pv_kw": np.full((3, 4, 2), -1.0)}, "pv_kw is negative"),
        ({"pv_kw": np.array([["a"]])}, "could not convert"),
        ({"dt_hours": np.zeros(3)}, "days.npz"),
        ({"date": np.array(5)}, "days.npz"),
        ({"extra": np.zeros(3)}, "not a scenario file of this version"),
    ],
)
def test_contents_that_do_not_fit(
    saved: pathlib.Path, change: dict[str, Any], message: str
) -> None:
    with np.load(saved) as archive:
        arrays = {**archive, **change}
    np.savez(saved, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(GradmapError, match=message):
        load_scenarios(saved)


def test_pickles_are_refused(saved: pathlib.Path) -> None:
    np.savez(saved, date=np.array([{"a": 1}], dtype=object))
    with pytest.raises(GradmapError, match="damaged or not an npz"):
        load_scenarios(saved)
    with saved.open("wb") as file:
        np.save(file, np.zeros(3))  # an npy file, not an archive
    with pytest.raises(GradmapError, match="damaged or not an npz"):
        load_scenarios(saved)


def test_a_failed_write_leaves_the_old_file(
    saved: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    good, before = load_scenarios(saved), saved.read_bytes()
    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(GradmapError, match="disk full"):
        save_scenarios(good, saved)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == ["days.npz"]

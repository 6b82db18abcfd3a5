from __future__ import annotations

import importlib.util
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from gradmap.envs.scenarios import profiles
from gradmap.feeders.errors import GradmapError

NAME = "simbench-*-year-*.npz"


@pytest.fixture
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    monkeypatch.setenv("GRADMAP_CACHE", str(tmp_path / "cache"))
    profiles._cached_year.cache_clear()
    yield tmp_path / "cache"
    profiles._cached_year.cache_clear()


def test_year() -> None:
    year = profiles.load_year()
    assert year.load.shape == (364, 96, 18)
    assert year.solar.shape == (364, 96, 8)
    np.testing.assert_allclose(year.load.max(axis=(0, 1)), 1.0, atol=1e-6)
    assert 0.55 < year.solar.max() < 0.65
    assert not year.load.flags.writeable
    # Spot checks against the source: 1 January 2016, 00:00 and 00:15.
    assert year.load[0, 1, profiles.LOADS.index("G1-A")] == np.float32(0.026333)
    assert year.day[0].isoformat() == year.date[0] == "2016-01-01"


def test_cache_is_written_read_and_rebuilt(
    cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = profiles.load_year()
    (path,) = cache.glob(NAME)
    assert list(cache.iterdir()) == [path]
    with monkeypatch.context() as patch:
        patch.setattr(profiles, "_parse_year", lambda folder: pytest.fail("the cache is not used"))
        profiles._cached_year.cache_clear()
        again = profiles.load_year()
    np.testing.assert_array_equal(first.load, again.load)
    assert again.date == first.date
    for wreck in (b"", path.read_bytes()[: path.stat().st_size // 2]):
        path.write_bytes(wreck)
        monkeypatch.setattr(profiles, "_parse_year", lambda folder: first)
        profiles._cached_year.cache_clear()
        assert profiles.load_year() is first
        assert path.stat().st_size > 100_000


def test_cache_of_another_layout_is_rebuilt(
    cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = profiles.load_year()
    (path,) = cache.glob(NAME)
    np.savez(path, date=np.array(first.date), load=first.load[:, :, :3], solar=first.solar)
    monkeypatch.setattr(profiles, "_parse_year", lambda folder: first)
    profiles._cached_year.cache_clear()
    assert profiles.load_year() is first


def test_a_cache_that_cannot_be_written_is_done_without(
    cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = profiles.load_year()
    cache.rename(cache.with_name("moved"))
    cache.write_text("a file where the folder should be")
    monkeypatch.setattr(profiles, "_parse_year", lambda folder: first)
    profiles._cached_year.cache_clear()
    assert profiles.load_year() is first
    assert profiles.load_year() is first


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADMAP_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert profiles.cache_folder() == pathlib.Path("/a")
    monkeypatch.delenv("GRADMAP_CACHE")
    assert profiles.cache_folder() == pathlib.Path("/b/gradmap")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert profiles.cache_folder() == pathlib.Path("/c/.cache/gradmap")


def test_simbench_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(GradmapError, match=r"pip install simbench.*load_scenarios"):
        profiles.load_year()


def test_files_that_do_not_fit(tmp_path: pathlib.Path) -> None:
    with pytest.raises(GradmapError, match="cannot read the profiles"):
        profiles._parse_year(tmp_path)
    (tmp_path / "LoadProfile.csv").write_text("time;H0-A_pload\n01.01.2016 00:00;0.1\n")
    with pytest.raises(GradmapError, match="cannot read the profiles"):
        profiles._parse_year(tmp_path)
    path = tmp_path / "gap.csv"
    path.write_text("time;PV1\n01.01.2016 00:00;\n")
    with pytest.raises(GradmapError, match="gaps or negative"):
        profiles._parse_profiles(path, ["PV1"])


def test_neither_simbench_nor_torch_is_imported() -> None:
    code = (
        "import sys; from gradmap.envs.scenarios.build import load_year; load_year(); "
        "print(*{'simbench', 'pandapower', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr

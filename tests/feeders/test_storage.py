"""A feeder's file: what comes back, and what a bad file is told."""

from __future__ import annotations

import dataclasses
import os
import zipfile

import numpy as np
import pytest
import scipy.sparse as sp

from gradmap.feeders.dss import read_feeder
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.plants import Plants
from gradmap.feeders.storage import load_feeder_file, save_feeder


def assert_same(a, b):
    assert type(a) is type(b)
    if dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name))
    elif sp.issparse(a):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert (a != b).nnz == 0
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


@pytest.fixture
def saved(ieee123, tmp_path):
    path = tmp_path / "feeder.npz"
    save_feeder(ieee123, path)
    return path


def rewrite(path, **changes):
    """Writes a file anew with arrays replaced, or dropped where `None`."""
    with np.load(path) as archive:
        arrays = dict(archive)
    for name, value in changes.items():
        if value is None:
            del arrays[name]
        else:
            arrays[name] = value
    np.savez(path, **arrays)


def test_round_trip(ieee123, saved):
    assert_same(load_feeder_file(saved), ieee123)


def test_round_trip_of_a_feeder_with_nothing_in_it(write_circuit, tmp_path):
    feeder = read_feeder(write_circuit(""))
    save_feeder(feeder, tmp_path / "bare.npz")
    assert_same(load_feeder_file(tmp_path / "bare.npz"), feeder)


def test_a_file_of_the_version_before_has_no_ratings_of_plants(ieee123, saved):
    with np.load(saved) as archive:
        newer = {name: None for name in archive.files if name.startswith("plants.")}
    assert len(newer) == len(dataclasses.fields(Plants))
    rewrite(saved, version=np.array(3), **newer)
    assert_same(load_feeder_file(saved), ieee123)


def test_ratings_of_plants_are_kept(write_circuit, tmp_path):
    feeder = read_feeder(
        write_circuit(
            "New Storage.s Bus1=b.1.2.3 kV=0.4 kWrated=30 kWhrated=50 kWhstored=20 %reserve=10 "
            "%EffCharge=95 %EffDischarge=92 kVA=33\n"
            "New PVSystem.p Bus1=b.1 Phases=1 kV=0.2309 kVA=20 Pmpp=30 %Pmpp=80 Irradiance=0.5\n"
            "New Generator.g Bus1=b.1.2.3 kV=0.4 kW=30 kVA=40\n"
            "New Generator.off Bus1=b.1.2.3 kV=0.4 kW=9 Enabled=No\n"
        )
    )
    save_feeder(feeder, tmp_path / "plants.npz")
    plants = load_feeder_file(tmp_path / "plants.npz").plants
    assert_same(plants, feeder.plants)
    rows = dict(zip(plants.name, zip(*vars(plants).values(), strict=True), strict=True))
    assert rows["generator.g"][1:] == ("generator", 30.0, 40.0, 0.0, 0.0, 0.0, 1.0, 1.0)
    assert rows["pvsystem.p"][1:] == ("pvsystem", 24.0, 20.0, 0.0, 0.0, 0.0, 1.0, 1.0)
    expected = (30.0, 33.0, 50.0, 20.0, 5.0, 0.95, 0.92)
    assert rows["storage.s"][1] == "storage"
    assert rows["storage.s"][2:] == pytest.approx(expected)
    assert len(plants) == 3


def test_what_is_loaded_is_read_only(saved):
    feeder = load_feeder_file(saved)
    with pytest.raises(ValueError, match="read-only"):
        feeder.terminals.p_kw[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        feeder.y_siemens.data[0] = 1.0


def test_saving_replaces_the_file_and_leaves_nothing_else(ieee123, saved):
    saved.write_bytes(b"old")
    save_feeder(ieee123, saved)
    assert [path.name for path in saved.parent.iterdir()] == ["feeder.npz"]
    load_feeder_file(saved)


def test_a_failed_write_keeps_the_old_file(ieee123, saved, monkeypatch):
    old = saved.read_bytes()

    def fail(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(GradmapError, match=r"cannot write .*: No space left"):
        save_feeder(ieee123, saved)
    assert saved.read_bytes() == old
    assert [path.name for path in saved.parent.iterdir()] == ["feeder.npz"]


def test_a_folder_that_is_not_there(ieee123, tmp_path):
    save_feeder(ieee123, tmp_path / "made" / "feeder.npz")
    with pytest.raises(GradmapError, match="cannot write"):
        save_feeder(ieee123, tmp_path / "made" / "feeder.npz" / "feeder.npz")
    with pytest.raises(GradmapError, match="no such file"):
        load_feeder_file(tmp_path / "absent.npz")


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_off(saved, keep):
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(GradmapError, match=r"feeder\.npz: "):
        load_feeder_file(saved)


def test_a_flipped_byte(saved):
    with zipfile.ZipFile(saved) as archive:
        start = archive.getinfo("y_siemens.data.npy").header_offset
    data = bytearray(saved.read_bytes())
    data[start + 1000] ^= 0xFF
    saved.write_bytes(data)
    with pytest.raises(GradmapError, match=r"feeder\.npz: "):
        load_feeder_file(saved)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x93NUMPY\x01\x00v\x00{"])
def test_other_files(tmp_path, content):
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(GradmapError, match="not a feeder's archive"):
        load_feeder_file(path)


def test_a_single_array_and_a_pickle(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(GradmapError, match="holds a single array"):
        load_feeder_file(tmp_path / "array.npy")
    np.savez(tmp_path / "pickle.npz", format=np.array([{"a": 1}], dtype=object))
    with pytest.raises(GradmapError, match="not a feeder's archive"):
        load_feeder_file(tmp_path / "pickle.npz")


def test_another_format_or_version(saved):
    rewrite(saved, version=np.array(1))
    with pytest.raises(GradmapError, match="version 1, expected 4: save the feeder again"):
        load_feeder_file(saved)
    rewrite(saved, format=np.array("gradmap-policy"))
    with pytest.raises(GradmapError, match="format is 'gradmap-policy', expected"):
        load_feeder_file(saved)
    rewrite(saved, format=None)
    with pytest.raises(GradmapError, match="format is 'none'"):
        load_feeder_file(saved)


FAULTS = {
    "missing": (
        {"name": None, "terminals.p_kw": None, "y_siemens.indptr": None},
        ["name is missing", "terminals.p_kw is missing", "y_siemens.indptr is missing"],
    ),
    "unknown": ({"extra": np.zeros(1)}, ["extra is unknown"]),
    "types and ranks": (
        {
            "terminals.p_kw": np.zeros(95, dtype=np.int64),
            "node_names": np.array("150.1"),
            "is_source_node": np.zeros(278),
        },
        [
            "terminals.p_kw is int64, expected numbers",
            "node_names has 0 axes, expected 1",
            "is_source_node is float64, expected true/false",
        ],
    ),
    "shapes": (
        {
            "terminals.p_kw": np.zeros(94),
            "bus_xy": np.zeros((132, 3)),
            "y_siemens.indptr": np.zeros(5, dtype=np.int32),
        },
        [
            "terminals.p_kw has shape (94,), expected (95,)",
            "bus_xy has shape (132, 3), expected (132, 2)",
            "y_siemens is no 278 by 278 sparse matrix",
        ],
    ),
    "values": (
        {
            "node_kv_base": np.full(278, np.nan),
            "terminals.node_from": np.full(95, 278),
            "terminals.node_to": np.full(95, -2),
            "terminals.model": np.full(95, 9),
        },
        [
            "node_kv_base holds a value that is not finite",
            "terminals.node_from goes from 278 to 278, expected 0 to 277",
            "terminals.node_to goes from -2 to -2, expected -1 to 277",
            "terminals.model holds [9], expected [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 17]",
        ],
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_every_fault_is_named(case, saved):
    changes, messages = FAULTS[case]
    rewrite(saved, **changes)
    with pytest.raises(GradmapError) as error:
        load_feeder_file(saved)
    text = str(error.value)
    assert text.startswith(f"{saved}: ")
    assert [message for message in messages if message not in text] == []
    assert "\n" not in text


def test_indices_out_of_a_sparse_matrix(saved):
    with np.load(saved) as archive:
        indices = archive["branches.current_siemens.indices"].copy()
    indices[0] = 278
    rewrite(saved, **{"branches.current_siemens.indices": indices})
    with pytest.raises(GradmapError, match=r"branches\.current_siemens is no \d+ by 278 sparse"):
        load_feeder_file(saved)

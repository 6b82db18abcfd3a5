"""Checkpoints: whole or not at all, and nothing in a file is ever executed."""

from __future__ import annotations

import os
import pathlib
import pickle
import zipfile

import pytest
import torch

from gradmap.algorithms.checkpoint import FORMAT, load_checkpoint, save_checkpoint
from gradmap.feeders.errors import GradmapError

TENSORS = {
    "weight": torch.arange(6.0).reshape(2, 3),
    "count": torch.tensor(7),
    "random": torch.Generator().manual_seed(1).get_state(),
    "price": torch.full((2,), 1.5, dtype=torch.float64),
}
META = {"task": "ieee123-mixed-v1", "seconds": 1.5, "nested": {"list": [1, 2]}}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run" / "last.ckpt"
    save_checkpoint(path, TENSORS, META)
    return path


def refused(path, match, task=None):
    with pytest.raises(GradmapError, match=match) as caught:
        load_checkpoint(path, task)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_what_is_saved_comes_back(path):
    tensors, meta = load_checkpoint(path, "ieee123-mixed-v1")
    assert meta == META
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert torch.equal(tensors[name], value)
        assert tensors[name].dtype == value.dtype
    assert load_checkpoint(path)[1] == META


def test_gradients_are_left_behind(tmp_path):
    save_checkpoint(tmp_path / "a", {"x": torch.ones(2, requires_grad=True) * 2}, META)
    assert not load_checkpoint(tmp_path / "a")[0]["x"].requires_grad


def test_no_other_file_is_left(path):
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


def test_a_save_that_fails_leaves_the_old_checkpoint(path):
    with pytest.raises(TypeError):
        save_checkpoint(path, TENSORS, {"task": object()})
    assert load_checkpoint(path)[1] == META
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


def test_a_save_that_is_killed_leaves_the_old_checkpoint(path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {}, {"task": "other"})
    assert load_checkpoint(path)[1] == META
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


def test_a_second_save_replaces_the_first(path):
    save_checkpoint(path, {"x": torch.zeros(1)}, {"task": "b"})
    tensors, meta = load_checkpoint(path, "b")
    assert tensors.keys() == {"x"}
    assert meta == {"task": "b"}


def test_a_missing_checkpoint_is_named(tmp_path):
    refused(tmp_path / "none.ckpt", "no checkpoint at")
    refused(tmp_path, "no checkpoint at")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path, "is damaged or no checkpoint")


def test_flipped_bytes_are_refused_or_harmless(path):
    """Torch's archive has check sums over each record."""
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        record = next(entry for entry in archive.infolist() if entry.filename.endswith(".pkl"))
    whole[record.header_offset + 60 : record.header_offset + 160] = b"\xff" * 100
    path.write_bytes(whole)
    refused(path, "is damaged or no checkpoint")


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", b"\x80\x05", b"{}", b"PK\x03\x04 and no zip", bytes(1000)],
)
def test_any_other_file_is_refused(tmp_path, content):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    refused(path, "is damaged or no checkpoint")


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, mark: pathlib.Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return pathlib.Path.touch, (self.mark,)


@pytest.mark.parametrize("how", ["torch", "torch_inside", "torch_legacy", "pickle"])
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path, how):
    mark, path = tmp_path / "executed", tmp_path / "evil.ckpt"
    if how == "torch":
        torch.save(Evil(mark), path)
    elif how == "torch_inside":
        torch.save({"format": FORMAT, "meta": "{}", "tensors": {"x": Evil(mark)}}, path)
    elif how == "torch_legacy":
        torch.save(Evil(mark), path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(Evil(mark)))
    pickle.loads(pickle.dumps(Evil(tmp_path / "control")))
    assert (tmp_path / "control").exists()  # it would have worked
    refused(path, "is damaged or no checkpoint")
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        {"weight": torch.zeros(3)},
        {"format": FORMAT},
        {"format": FORMAT, "meta": "{", "tensors": {}},
        {"format": FORMAT, "meta": "[1]", "tensors": {}},
        {"format": FORMAT, "meta": "{}", "tensors": 3},
        [1, 2],
    ],
)
def test_a_torch_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    refused(path, "is damaged or no checkpoint", "ieee123-mixed-v1")


def test_another_format_is_refused(tmp_path):
    path = tmp_path / "old.ckpt"
    torch.save({"format": "gradmap-checkpoint-0", "meta": "{}", "tensors": {}}, path)
    refused(path, "has format 'gradmap-checkpoint-0', expected 'gradmap-checkpoint-1'")


def test_another_task_is_refused(path):
    refused(path, "trained for task 'ieee123-mixed-v1', expected 'mine'", task="mine")

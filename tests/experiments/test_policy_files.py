"""A comparison's policies as small files, and its table from them."""

from __future__ import annotations

import csv
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gradmap.experiments import frozen
from gradmap.experiments.cli import main
from gradmap.experiments.cli_compare import _arguments, checkpoints
from gradmap.experiments.config_load import RunKey
from gradmap.experiments.judgement import number
from gradmap.experiments.policy_files import (
    MARK,
    export_comparison,
    moved_figures,
    restore_comparison,
)
from gradmap.experiments.policy_rounding import SHOWN
from gradmap.experiments.results import load_results, run_folder
from gradmap.experiments.runs import RunFolder
from gradmap.feeders.errors import GradmapError

TASK = "ieee123-mixed-v1"
METHODS = ("gradmap", "rules", "perfect-foresight")
EXACT = ("title", "status", "env_gradients", "power_flow_solves", "best_iteration")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("checkpoints") / "out"
    words = ["compare", "smoke", "--out", str(out), "--no-plots", "--methods", *METHODS]
    assert main(words) == 0
    return out


@pytest.fixture(scope="module")
def exported(compared: pathlib.Path) -> pathlib.Path:
    dest = compared.with_name("kept")
    assert main(["export", str(compared), str(dest)]) == 0
    return dest


def table(out: pathlib.Path) -> dict[str, dict[str, str]]:
    with (out / "table.csv").open() as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def test_the_table_is_drawn_again(
    compared: pathlib.Path, exported: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = compared.with_name("again")
    assert main(["compare", "--from-checkpoints", str(exported), "--out", str(out)]) == 0
    old, new = table(compared), table(out)
    assert list(new) == list(METHODS)
    for method, row in new.items():
        assert [row[name] for name in EXACT] == [old[method][name] for name in EXACT]
        for name in SHOWN:
            found, expected = (number(float(each[method][name])) for each in (new, old))
            assert found == expected, (method, name)
    assert "every policy's figures are those" in capsys.readouterr().out
    assert (out / "multipliers.png").exists()
    # It does not go over a comparison that was trained.
    with pytest.raises(GradmapError, match="another comparison"):
        restore_comparison(exported, compared)
    assert not (compared / MARK).exists()
    # What is there and judged is kept.
    assert all(job.begin() is None for job in restore_comparison(exported, out))
    # Figures that have moved are named.
    other = compared.with_name("moved")
    shutil.copytree(exported, other)
    path = other / "rules" / "seed-0" / "figures.json"
    figures = json.loads(path.read_text())
    figures["metrics"]["discomfort_kh"] = 1e3
    path.write_text(json.dumps(figures))
    (phrase,) = moved_figures(other, load_results(out))
    assert phrase.startswith("rules, seed 0: discomfort_kh")
    assert phrase.endswith("was 1,000")
    # And a folder that was renewed is another one.
    with pytest.raises(GradmapError, match="another comparison"):
        restore_comparison(other, out)


def test_files_are_small_and_plain(exported: pathlib.Path) -> None:
    with np.load(exported / "gradmap" / "seed-0" / "policy.npz", allow_pickle=False) as kept:
        assert {kept[name].dtype for name in kept.files} == {np.dtype(np.uint8)}
    with np.load(exported / "perfect-foresight" / "seed-0" / "policy.npz") as kept:
        assert kept["action"].dtype in (np.int16, np.uint8)
        assert kept["action"].shape == (24, 48, 20)
    assert sum(file.stat().st_size for file in exported.rglob("*") if file.is_file()) < 300_000
    assert not list(exported.rglob("*.pt"))


def test_a_frozen_policy_acts_as_it_did(compared: pathlib.Path) -> None:
    folder = load_results(compared).of(TASK, "gradmap")[0].folder
    run, meta = frozen.load_run(*_of(folder))
    tensors, about = frozen.freeze(run, "test")
    again = frozen.frozen_policy(run.core, tensors, about)
    observation = run.core.observe(run.core.reset(run.core.days("test")[:2]))
    assert torch.equal(again.act(observation), run.trainer.policy().act(observation))
    assert meta["method"] == "gradmap"
    multipliers = run.trainer.multipliers
    assert multipliers is not None
    assert {f"multiplier.{name}" for name in multipliers} <= set(tensors)


def test_actions_are_taken_from_the_judgement(
    compared: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = load_results(compared).of(TASK, "perfect-foresight")[0].folder
    run, _ = frozen.load_run(*_of(folder))
    kept, _ = frozen.freeze(run, "test", folder / "evaluation" / "test-best.npz")
    assert not capsys.readouterr().out
    played, _ = frozen.freeze(run, "test", folder / "evaluation" / "missing.npz")
    assert "8 of 24 days played again" in capsys.readouterr().out
    assert torch.equal(kept["action"], played["action"])
    assert torch.equal(kept["days"], played["days"])
    # Those of other days are not taken.
    with pytest.raises(GradmapError, match="evaluate it on the split"):
        frozen.freeze(run, "validation", folder / "evaluation" / "test-best.npz")
    assert "days played again" in capsys.readouterr().out


def test_recorded_actions_know_no_other_days(
    exported: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    restore_comparison(exported, tmp_path)
    folder = run_folder(tmp_path, RunKey(TASK, "perfect-foresight", 0))
    run, _ = frozen.load_run(*_of(folder))
    with pytest.raises(GradmapError, match="evaluate it on the split"):
        run.trainer.policy().reset(run.core.days("train")[:1])


def _of(folder: pathlib.Path) -> Any:
    run = RunFolder.open(folder)
    return run.config, run.checkpoint("best")


def test_runs_that_are_not_done_are_left_out(
    compared: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    judgement = load_results(compared).of(TASK, "rules")[0].folder / "evaluation/test-best.json"
    hidden = judgement.rename(judgement.with_suffix(".hidden"))
    try:
        (left_out,) = export_comparison(compared, tmp_path / "kept")
    finally:
        hidden.rename(judgement)
    assert (left_out.method, left_out.status) == ("rules", "judging")
    jobs = restore_comparison(tmp_path / "kept", tmp_path / "out")
    assert [job.key.method for job in jobs] == ["gradmap", "perfect-foresight"]


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda f: (f / "config.yaml").unlink(), "holds no checkpoints"),
        (lambda f: (f / "rules/seed-0/policy.npz").write_text("x"), "no policy that can be read"),
        (lambda f: (f / "rules/seed-0/policy.json").unlink(), "no policy that can be read"),
    ],
)
def test_damage_is_named(
    exported: pathlib.Path,
    tmp_path: pathlib.Path,
    spoil: Callable[[pathlib.Path], None],
    fault: str,
) -> None:
    copy = tmp_path / "kept"
    shutil.copytree(exported, copy)
    spoil(copy)
    with pytest.raises(GradmapError, match=fault):
        restore_comparison(copy, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("rules/seed-0"))


def test_a_folder_with_something_else_is_not_replaced(
    compared: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(GradmapError, match="holds something else"):
        export_comparison(compared, tmp_path)
    assert (tmp_path / "mine.txt").exists()


def test_the_package_s_checkpoints_are_the_default() -> None:
    own = checkpoints("quick")
    assert _arguments(["--from-checkpoints"]).from_checkpoints == own
    assert _arguments(["quick", "--from-checkpoints"]).from_checkpoints == own
    assert _arguments(["--from-checkpoints", "--no-plots"]).from_checkpoints == own
    assert _arguments(["--from-checkpoints", "a"]).from_checkpoints == pathlib.Path("a")
    assert _arguments(["smoke", "--from-checkpoints"]).from_checkpoints == checkpoints("smoke")

"""The loop: budgets, the best checkpoint, stopping and going on."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
import time
import types
from typing import Any

import pytest
import torch

from gradmap.algorithms.checkpoint import load_checkpoint
from gradmap.experiments.cli import main
from gradmap.experiments.runs import RunFolder
from gradmap.experiments.signals import EXIT_CODE, StopRequest
from gradmap.experiments.train import score


@pytest.fixture
def fake(fake_run: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    fake_run.install(monkeypatch)
    return fake_run


def train(out: pathlib.Path, *words: str, iterations: int = 12) -> int:
    budget = ["--budget.seconds", "None", "--budget.iterations", str(iterations)]
    often = ["--validation.every", "5", "--out", str(out)]
    return main(["train", "gradmap", *budget, *often, *words])


def timeless(path: pathlib.Path) -> list[dict[str, Any]]:
    """Rows without what differs between any two runs."""
    rows = RunFolder.open(path).rows()
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_a_run_writes_every_iteration_once(fake: object, tmp_path: pathlib.Path) -> None:
    assert train(tmp_path / "run") == 0
    folder = RunFolder.open(tmp_path / "run")
    assert [r["iteration"] for r in folder.rows("train")] == list(range(1, 13))
    assert [r["iteration"] for r in folder.rows("validation")] == [0, 5, 10, 12]
    seconds = [r["seconds"] for r in folder.rows()]
    assert seconds == sorted(seconds)
    assert folder.rows()[-1]["power_flow_solves"] == 96 * 12
    assert folder.status == "finished"
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_the_best_checkpoint_has_the_least_score(fake: object, tmp_path: pathlib.Path) -> None:
    train(tmp_path / "run", iterations=40)
    folder = RunFolder.open(tmp_path / "run")
    rows = folder.rows("validation")
    best = min(rows, key=lambda row: row["score"])
    _, meta = load_checkpoint(folder.checkpoint("best"))
    assert meta["position"]["iteration"] == best["iteration"]
    state, meta = load_checkpoint(folder.checkpoint("latest"))
    assert meta["position"]["iteration"] == 40
    assert meta["position"]["best_iteration"] == best["iteration"]
    assert int(state["counters"][0]) == 40


def test_a_run_that_no_day_can_judge_says_why(
    fake: object,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("gradmap.experiments.train.score", lambda run, found: float("inf"))
    assert train(tmp_path / "run") != 0
    told = " ".join(capsys.readouterr().err.split())
    assert "validation days a power flow had no solution" in told
    assert "lower task.difficulty" in told


def test_the_score_prices_violations_unless_the_network_is_ignored(
    fake: types.ModuleType,
) -> None:
    from gradmap.experiments.config_load import load_run_config

    found = {"cost_usd_per_day": 10.0, "node_step_violation_pct": 1.05}
    rule = load_run_config("gradmap").selection
    expected = 10.0 + rule.price_usd_per_pct * (1.05 - rule.allowed_pct)
    assert score(fake.assemble(load_run_config("gradmap")), found) == pytest.approx(expected)
    assert score(fake.assemble(load_run_config("selfish")), found) == 10.0
    lost = {"cost_usd_per_day": float("nan"), "node_step_violation_pct": float("nan")}
    assert score(fake.assemble(load_run_config("gradmap")), lost) == float("inf")


def test_seconds_end_a_run_too(fake_run: Any, monkeypatch: Any, tmp_path: pathlib.Path) -> None:
    fake_run.install(monkeypatch, pause=0.01)
    words = ["--budget.seconds", "0.1", "--out", str(tmp_path / "run")]
    assert main(["train", "gradmap", *words]) == 0
    last = RunFolder.open(tmp_path / "run").rows("train")[-1]
    assert last["seconds"] >= 0.1
    assert last["iteration"] <= 10


@pytest.mark.parametrize(
    ("limit", "iterations"), [(("env-steps", 480), 10), (("power-flow-solves", 700), 8)]
)
def test_what_the_environment_did_ends_a_run(
    fake: object, tmp_path: pathlib.Path, limit: tuple[str, int], iterations: int
) -> None:
    name, most = limit
    assert train(tmp_path / "run", f"--budget.{name}", str(most), iterations=99) == 0
    rows = RunFolder.open(tmp_path / "run").rows("train")
    assert len(rows) == iterations
    # Schedules follow the share of what ends the run.
    used = {"env-steps": 48, "power-flow-solves": 96}[name]
    assert rows[3]["progress"] == pytest.approx(3 * used / most)


def test_an_untrained_method_is_judged_once(fake: object, tmp_path: pathlib.Path) -> None:
    assert main(["train", "idle", "--out", str(tmp_path / "run")]) == 0
    (row,) = RunFolder.open(tmp_path / "run").rows()
    assert (row["kind"], row["iteration"]) == ("validation", 0)


class StopAfter(StopRequest):
    """Asks to stop when it has been looked at a number of times."""

    looks = 7

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    @property
    def is_set(self) -> bool:
        self._count += 1
        return self._count > self.looks

    @is_set.setter
    def is_set(self, value: bool) -> None:
        pass


@pytest.mark.parametrize("looks", [1, 7, 10])
def test_a_resumed_run_is_as_if_never_stopped(
    fake: object, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, looks: int
) -> None:
    assert train(tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr("gradmap.experiments.session.StopRequest", StopAfter)
        patch.setattr(StopAfter, "looks", looks)
        assert train(tmp_path / "cut") == EXIT_CODE
    folder = RunFolder.open(tmp_path / "cut")
    assert folder.status == "interrupted"
    # Rows beyond the checkpoint, as after a crash, are written anew.
    folder.append_row({"kind": "train", "iteration": 99, "seconds": 0, "metrics": {}})
    assert main(["train", "--resume", str(folder.path)]) == 0
    assert timeless(tmp_path / "cut") == timeless(tmp_path / "whole")
    states = [load_checkpoint(tmp_path / n / "checkpoints/latest.pt")[0] for n in ("cut", "whole")]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])
    assert [s["status"] for s in folder.manifest()["sessions"]] == ["interrupted", "finished"]


def test_a_crash_is_noted_and_the_run_goes_on(
    fake: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    def crash(self: Any, progress: float) -> dict[str, float]:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(fake.FakeTrainer, "iterate", crash)
        with pytest.raises(RuntimeError):
            train(tmp_path / "run")
    assert RunFolder.open(tmp_path / "run").status == "failed"
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert train(tmp_path / "whole") == 0
    assert timeless(tmp_path / "run") == timeless(tmp_path / "whole")


def test_what_a_resumed_run_may_change(
    fake: object, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    train(tmp_path / "run", iterations=3)
    assert main(["train", "--resume", run]) == 0
    assert "is finished" in capsys.readouterr().out
    for words, fault in (
        (["--seed", "8"], "cannot change seed"),
        (["--out", "elsewhere"], "leave out --out"),
        (["--config", "smoke"], "leave out --config"),
    ):
        assert main(["train", "--resume", run, *words]) == 2
        assert fault in capsys.readouterr().err
    assert main(["train", "selfish", "--resume", run]) == 2
    assert "was trained by gradmap" in capsys.readouterr().err
    assert main(["train", "gradmap", "--resume", run, "--budget.iterations", "6"]) == 0
    folder = RunFolder.open(tmp_path / "run")
    assert [r["iteration"] for r in folder.rows("train")] == list(range(1, 7))
    assert folder.config.budget.iterations == 6


@pytest.mark.parametrize("damage", ["truncated", "other task", "foreign"])
def test_a_bad_checkpoint_is_refused_and_nothing_written(
    fake: object, tmp_path: pathlib.Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    train(path, iterations=3)
    latest = path / "checkpoints" / "latest.pt"
    if damage == "truncated":
        latest.write_bytes(latest.read_bytes()[:200])
    elif damage == "foreign":
        latest.write_text("not a checkpoint")
    else:
        train(tmp_path / "other", "--task.num-agents", "7", iterations=3)
        latest.write_bytes((tmp_path / "other" / "checkpoints" / "latest.pt").read_bytes())
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    assert main(["train", "--resume", str(path), "--budget.iterations", "9"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "latest.pt" in message
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(
    fake: object,
    fake_run: types.ModuleType,
    child_environment: dict[str, str],
    tmp_path: pathlib.Path,
    number: signal.Signals,
) -> None:
    run, ready = tmp_path / "run", tmp_path / "ready"
    words = ["train", "gradmap", "--budget.seconds", "None", "--budget.iterations", "100000"]
    assert fake_run.__file__ is not None
    child = subprocess.Popen(
        [sys.executable, fake_run.__file__, str(ready), *words, "--out", str(run)],
        env=child_environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() or len(RunFolder.open(run).rows("train")) < 3:
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(number)
    said, _ = child.communicate(timeout=30)
    assert child.returncode == EXIT_CODE
    assert f"continue with: gradmap train --resume {run}" in said
    folder = RunFolder.open(run)
    stopped = folder.rows("train")[-1]["iteration"]
    _, meta = load_checkpoint(folder.checkpoint("latest"))
    assert meta["position"]["iteration"] == stopped
    assert folder.status == "interrupted"
    more = str(stopped + 3)
    assert main(["train", "--resume", str(run), "--budget.iterations", more]) == 0
    assert [r["iteration"] for r in folder.rows("train")] == list(range(1, stopped + 4))
    assert json.loads((run / "manifest.json").read_text())["sessions"][1]["status"] == "finished"

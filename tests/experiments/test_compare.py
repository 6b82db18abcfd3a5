"""The comparison: jobs, engines, and what a failure or a kill leaves standing."""

from __future__ import annotations

import csv
import os
import pathlib
import signal
import subprocess
import sys
import time
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gradmap.experiments import compare, local_engine
from gradmap.experiments.cli import main
from gradmap.experiments.cli_compare import _arguments
from gradmap.experiments.compare_jobs import Job, plan_jobs
from gradmap.experiments.compare_progress import job_names
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.registry import METHODS
from gradmap.experiments.results import load_results
from gradmap.experiments.runs import RunFolder
from gradmap.experiments.signals import StopRequest
from gradmap.feeders.errors import GradmapError

TASK = "ieee123-mixed-v1"


def compare_words(out: pathlib.Path, *words: str) -> list[str]:
    few = ["--methods", "gradmap", "rules", "--budget.iterations", "1"]
    return ["compare", "smoke", "--out", str(out), *few, *words]


def table(out: pathlib.Path) -> dict[str, dict[str, str]]:
    with (out / "table.csv").open() as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def test_a_comparison_from_one_command(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "compare"
    assert main(compare_words(out)) == 0
    rows = table(out)
    assert list(rows) == ["gradmap", "rules"]
    for row in rows.values():
        assert row["status"] == "done"
        ours, theirs = row["node_step_violation_pct"], row["opendss_node_step_violation_pct"]
        assert float(ours) == pytest.approx(float(theirs), abs=0.1)
    for name in ("training", "cost_and_violation", "voltages", "multipliers"):
        assert (out / f"{name}.png").stat().st_size > 10_000
    assert "\\toprule" in (out / "table.tex").read_text()
    assert "<!doctype html>" in (out / "report.html").read_text("utf-8")[:100].lower()
    assert f"# {TASK}: 20 agents" in capsys.readouterr().out

    # Again: what is finished is kept; what is damaged fails and spoils no other.
    runs = {name: out / "runs" / TASK / name / "seed-0" for name in rows}
    kept = RunFolder.open(runs["gradmap"]).manifest()
    (runs["rules"] / "checkpoints" / "best.pt").write_text("damaged")
    (out / "table.csv").unlink()
    assert main(compare_words(out, "--no-plots")) == 1
    assert RunFolder.open(runs["gradmap"]).manifest() == kept
    rows = table(out)
    assert rows["rules"]["status"].startswith("failed: ")
    assert "best.pt is damaged" in rows["rules"]["status"]
    assert rows["gradmap"]["status"] == "done"
    assert "--retry-failed" in capsys.readouterr().out

    # It stays failed until it is to be tried again.
    (runs["rules"] / "checkpoints" / "latest.pt").replace(runs["rules"] / "checkpoints" / "best.pt")
    assert main(compare_words(out, "--no-plots")) == 1
    assert main(compare_words(out, "--no-plots", "--retry-failed")) == 0
    assert table(out)["rules"]["status"] == "done"

    # Other settings do not overwrite it.
    capsys.readouterr()
    assert main(compare_words(out, "--task.seed", "1")) == 2
    assert "another task.seed" in capsys.readouterr().err


def test_a_crash_leaves_the_others_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    script = str(pathlib.Path(__file__).with_name("crashing_cli.py"))
    monkeypatch.setattr(local_engine, "command", lambda words: [sys.executable, script, *words])
    methods = ("--methods", "gradmap", "selfish", "idle", "rules")
    assert main(compare_words(tmp_path, "--no-plots", *methods)) == 1
    status = {run.method: run.status for run in load_results(tmp_path).runs}
    assert status == {
        "gradmap": "done",
        "selfish": "failed: RuntimeError: out of luck",
        "idle": "failed: ended by signal 9 (it said nothing)",
        "rules": "done",
    }
    rows = table(tmp_path)
    assert {name: row["status"] for name, row in rows.items()} == status
    assert float(rows["gradmap"]["cost_usd_per_day"])
    assert rows["selfish"]["cost_usd_per_day"] == ""
    assert "- Selfish: failed: RuntimeError: out of luck" in (tmp_path / "table.md").read_text()


def test_jobs_run_a_number_at_a_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """With children that only sleep, one that fails and one that was asked to stop."""
    ends = {"selfish": "print('gradmap: error: no luck'); sys.exit(2)", "idle": "sys.exit(130)"}

    def command(words: Sequence[str]) -> list[str]:
        end = next((end for name, end in ends.items() if name in " ".join(words)), "")
        return [sys.executable, "-c", f"import sys, time; time.sleep(0.2); {end}"]

    monkeypatch.setattr(local_engine, "command", command)
    monkeypatch.setattr(Job, "_next_words", lambda self: None if self.tried else [str(self.key)])
    jobs = plan_jobs(CompareConfig(methods=("gradmap", "selfish", "idle", "rules")), tmp_path)
    most = 0

    def show(jobs: Sequence[Job]) -> None:
        nonlocal most
        most = max(most, sum(job.log.exists() and job.state == "waiting" for job in jobs))

    local_engine.run_jobs(jobs, 2, StopRequest(), show)
    assert most == 2
    assert [job.state for job in jobs] == ["done", "failed", "stopped", "done"]
    assert jobs[1].reason == "no luck"
    # It is known next time, and what was stopped is not lost.
    again = plan_jobs(CompareConfig(methods=("gradmap", "selfish", "idle")), tmp_path)
    assert [(job.state, job.reason) for job in again[1:]] == [
        ("failed", "no luck"),
        ("waiting", ""),
    ]


def test_a_process_that_leaves_nothing_is_a_failure(tmp_path: pathlib.Path) -> None:
    (job,) = plan_jobs(CompareConfig(methods=("idle",)), tmp_path)
    words = job.begin()
    assert words is not None
    assert words[:2] == ["train", "idle"]
    job.end(0)
    assert job.state == "waiting"
    assert job.begin() is None
    assert (job.state, job.reason.startswith("train ended well but left")) == ("failed", True)


def test_a_run_in_use_waits(tmp_path: pathlib.Path) -> None:
    config = CompareConfig(methods=("idle",))
    (job,) = plan_jobs(config, tmp_path)
    run = RunFolder.create(job.folder, job.config, {"status": "running"})
    with run.locked():
        assert job.begin() is None
        assert job.state == "waiting"
    assert job.begin() == ["train", "--resume", str(job.folder)]


def test_names_tell_jobs_apart(tmp_path: pathlib.Path) -> None:
    config = CompareConfig(methods=("gradmap", "idle"))
    assert list(job_names(plan_jobs(config, tmp_path))) == ["gradmap", "idle"]
    grid = config.model_copy(update={"seeds": (0, 1), "tasks": {"a": {}, "b": {}}})
    assert list(job_names(plan_jobs(grid, tmp_path)))[:3] == [
        "a gradmap seed 0",
        "a gradmap seed 1",
        "a idle seed 0",
    ]


def test_a_name_may_stand_first() -> None:
    assert _arguments(["smoke", "--budget.iterations", "2"]).config == "smoke"
    assert _arguments(["--config", "smoke"]).settings.task.num_agents == 20
    assert _arguments([]).config == "quick"
    assert _arguments(["smoke", "--seeds", "0", "1"]).settings.seeds == (0, 1)
    with pytest.raises(GradmapError, match="quik"):
        _arguments(["quik"])
    with pytest.raises(GradmapError, match="quick and --config smoke"):
        _arguments(["quick", "--config", "smoke"])


def test_workers_fill_the_cores() -> None:
    cores = compare.num_cores() or 1
    assert compare.num_workers(CompareConfig(device="cpu"), "local", 99) == cores
    assert compare.num_workers(CompareConfig(device="cpu", threads=cores), "local", 99) == 1
    assert compare.num_workers(CompareConfig(workers=3), "local", 99) == 3
    assert compare.num_workers(CompareConfig(), "ray", 99) == 99


def start(words: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gradmap.experiments.cli", *words],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(child: subprocess.Popen[str], files: Sequence[pathlib.Path]) -> None:
    deadline = time.monotonic() + 120
    while not all(file.exists() for file in files):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.05)


def test_a_stopped_comparison_saves_every_run(
    child_environment: dict[str, str], tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "compare"
    words = ["compare", "smoke", "--out", str(out), "--methods", "gradmap", "selfish"]
    child = start([*words, "--budget.iterations", "9999", "--workers", "2"], child_environment)
    runs = [out / "runs" / TASK / name / "seed-0" for name in ("gradmap", "selfish")]
    wait_for(child, [run / "metrics.jsonl" for run in runs])
    time.sleep(1.0)
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "continue with: gradmap compare" in said
    for run in runs:
        assert RunFolder.open(run).status == "interrupted"
        assert (run / "checkpoints" / "latest.pt").exists()


@pytest.mark.slow
def test_a_killed_comparison_ends_with_the_same_table(
    child_environment: dict[str, str], tmp_path: pathlib.Path
) -> None:
    """Parent and children are killed at once, in the middle of training."""
    words = ["--methods", "gradmap", "ss-primal-dual", "--workers", "2", "--no-plots"]
    words += ["--budget.iterations", "12", "--checkpoint-seconds", "0.5"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    child = start(["compare", "smoke", "--out", str(killed), *words], child_environment)
    runs = [killed / "runs" / TASK / name / "seed-0" for name in ("gradmap", "ss-primal-dual")]
    wait_for(child, [run / "checkpoints" / "latest.pt" for run in runs])
    child.kill()
    for run in runs:
        os.kill(RunFolder.open(run).manifest()["sessions"][-1]["process"], signal.SIGKILL)
    child.wait()
    assert {run.status for run in load_results(killed).runs} == {"training"}
    assert all(run.rows[-1]["iteration"] < 12 for run in load_results(killed).runs)
    assert main(["compare", "smoke", "--out", str(killed), *words]) == 0
    assert main(["compare", "smoke", "--out", str(whole), *words]) == 0
    free = ("train_seconds", "peak_memory_mib")
    one, other = (
        [{k: v for k, v in row.items() if k not in free} for row in table(out).values()]
        for out in (killed, whole)
    )
    assert one == other
    assert {row["env_gradients"] for row in one} == {"12.0"}


def test_a_folder_that_holds_no_run_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "runs" / TASK / "gradmap" / "seed-0").mkdir(parents=True)
    with pytest.raises(GradmapError, match="no run"):
        plan_jobs(CompareConfig(methods=("gradmap",)), tmp_path)


def test_the_feeder_s_buses_are_in_order() -> None:
    from gradmap.experiments.plot_feeder import bus_order, largest_by_bus

    branches = types.SimpleNamespace(bus_from=("s", "a", "a", "b"), bus_to=("a", "b", "c", "d"))
    feeder: Any = types.SimpleNamespace(
        bus_names=("c", "d", "a", "b", "s", "lone"),
        node_bus=("s", "a"),
        is_source_node=np.array([True, False]),
        branches=branches,
    )
    buses = bus_order(feeder)
    assert buses == ["s", "a", "b", "d", "c", "lone"]
    values = np.array([[1.0, 3.0, 2.0]])
    found = largest_by_bus(values, ["b.1", "b.2", "c.1"], buses)
    assert found.tolist() == [[0.0, 0.0, 3.0, 0.0, 2.0, 0.0]]


@pytest.mark.slow
def test_every_method_in_one_comparison(tmp_path: pathlib.Path) -> None:
    assert main(["compare", "smoke", "--out", str(tmp_path)]) == 0
    rows = table(tmp_path)
    assert list(rows) == list(METHODS)
    assert {row["status"] for row in rows.values()} == {"done"}

"""The comparison: jobs, tables, plots, and what a failure leaves standing."""

from __future__ import annotations

import csv
import json
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

from gradmap.experiments import compare
from gradmap.experiments.cli import main
from gradmap.experiments.compare_jobs import Job
from gradmap.experiments.compare_report import Report, markdown, write_report
from gradmap.experiments.compare_table import COLUMNS, calibration, table_rows
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import run_configs
from gradmap.experiments.files import write_json
from gradmap.experiments.metrics import QUANTITIES
from gradmap.experiments.registry import METHODS
from gradmap.experiments.runs import RunFolder
from gradmap.experiments.target import race
from gradmap.feeders.errors import GradmapError

NEEDED = [
    "method",
    "cost_usd_per_day",
    "node_step_violation_pct",
    "step_violation_pct",
    "violation_max_pu",
    "discomfort_kh",
    "optimality_gap_pct",
    "opendss_node_step_violation_pct",
    "train_seconds",
    "env_gradients",
    "power_flow_solves",
]


def judged(tmp_path: pathlib.Path, method: str, cost: float, violation: float) -> Job:
    """A job that is done, with a made-up judgement."""
    config = run_configs(CompareConfig(methods=(method,)))[method]
    folder = tmp_path / "runs" / method
    job = Job(config, folder, tmp_path / f"{method}.log", "test", "both", state="done")
    metrics = {**dict.fromkeys(QUANTITIES, 0.0), "cost_usd_per_day": cost}
    metrics["node_step_violation_pct"] = violation
    found = {
        "method": method,
        "iteration": 30,
        "iterations": 40,
        "train_seconds": 12.5,
        "env_gradients": 40,
        "env_steps": 480,
        "power_flow_solves": 960,
        "dates": ["2016-01-01", "2016-07-01"],
        "session": {"hardware": {"cpu": "a chip", "cores": 2, "memory_gib": 8.0, "gpu": None}},
        "engines": {"torch": {"metrics": metrics}, "opendss": {"metrics": metrics}},
    }
    write_json(job.judgement, found)
    return job


@pytest.fixture
def jobs(tmp_path: pathlib.Path) -> list[Job]:
    made = [
        judged(tmp_path, "gradmap", -90.0, 0.1),
        judged(tmp_path, "selfish", -130.0, 12.0),
        judged(tmp_path, "perfect-foresight", -100.0, 0.01),
        judged(tmp_path, "idle", 5.0, 0.0),
    ]
    made[3].state, made[3].reason = "failed", "out of memory"
    return made


def test_the_table_has_its_columns(jobs: list[Job], tmp_path: pathlib.Path) -> None:
    rows = table_rows(jobs)
    assert list(COLUMNS[: len(NEEDED)]) == NEEDED
    gaps = [row["optimality_gap_pct"] for row in rows]
    assert gaps == [10.0, -30.0, 0.0, None]
    assert rows[3]["status"] == "failed: out of memory"
    assert rows[3]["cost_usd_per_day"] is None
    assert calibration(rows) == {
        "selfish_node_step_violation_pct": 12.0,
        "perfect_foresight_node_step_violation_pct": 0.01,
        "binds": True,
        "is_solvable": True,
    }
    config = CompareConfig()
    report = Report(config, rows, [race({"gradmap": []}, 0.5, 5.0)], compare._facts(jobs))
    write_report(report, tmp_path)
    with (tmp_path / "table.csv").open() as file:
        read = list(csv.DictReader(file))
    assert set(NEEDED) <= set(read[0])
    assert [row["method"] for row in read] == ["gradmap", "selfish", "perfect-foresight", "idle"]
    assert float(read[0]["cost_usd_per_day"]) == -90.0
    assert json.loads((tmp_path / "table.json").read_text())["calibration"]["binds"] is True
    text = (tmp_path / "table.md").read_text()
    assert "The task binds: yes. Selfish devices violate at 12 %" in text
    assert "-30 *" in text  # a gap that violations bought is marked
    assert "- Idle: failed: out of memory" in text
    assert "2 test days" in text


def test_a_judgement_without_a_quantity_of_today_is_made_again(tmp_path: pathlib.Path) -> None:
    job = judged(tmp_path, "gradmap", -90.0, 0.1)
    assert not job.is_judged()
    best = job.folder / "checkpoints" / "best.pt"
    best.parent.mkdir()
    best.touch()
    found = json.loads(job.judgement.read_text())
    write_json(job.judgement, found)
    assert job.is_judged()
    del found["engines"]["opendss"]["metrics"]["violation_usd_per_day"]
    write_json(job.judgement, found)
    assert not job.is_judged()
    job.engine = "torch"
    assert job.is_judged()


def test_the_table_says_that_a_task_does_not_bind(jobs: list[Job]) -> None:
    found = calibration(table_rows(jobs[:1]))
    assert found["binds"] is None
    rows = [{"method": "selfish", "node_step_violation_pct": 1.0}]
    assert calibration(rows)["binds"] is False


def test_the_target_table_says_who_did_not_come_to_it(jobs: list[Job]) -> None:
    def row(iteration: int, cost: float, violation: float) -> dict[str, Any]:
        return {
            "iteration": iteration,
            "seconds": 3.0 * iteration,
            "env_gradients": iteration,
            "power_flow_solves": 9 * iteration,
            "metrics": {"cost_usd_per_day": cost, "node_step_violation_pct": violation},
        }

    without = {**row(30, -89.0, 0.2), "env_gradients": 0}
    rows = {
        "gradmap": [row(10, -90.0, 0.1)],
        "ippo": [without],
        "ss-primal-dual": [row(40, -88.0, 0.2)],
        "ss-fixed-penalty": [row(40, -88.0, 2.0)],
    }
    report = Report(CompareConfig(), table_rows(jobs), [race(rows, 0.5, 5.0)], compare._facts(jobs))
    text = markdown(report)
    assert "not reached" in text

    def cells(method: str) -> list[str]:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {method} ")]
        return [cell.strip() for cell in line.split("|")[2:-1]]

    assert cells("ss-primal-dual") == ["2:00", "40", "360", "4", "4", "4"]
    assert cells("ippo") == ["1:30", "0", "270", "3", "–", "3"]


def compare_words(out: pathlib.Path, *words: str) -> list[str]:
    few = ["--methods", "gradmap", "rules", "--budget.iterations", "1"]
    return ["compare", "--config", "smoke", "--out", str(out), *few, *words]


def test_a_comparison_from_one_command(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "compare"
    assert main(compare_words(out)) == 0
    with (out / "table.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["gradmap", "rules"]
    for row in rows.values():
        assert row["status"] == "done"
        ours, theirs = row["node_step_violation_pct"], row["opendss_node_step_violation_pct"]
        assert float(ours) == pytest.approx(float(theirs), abs=0.1)
    for name in ("training", "cost_and_violation", "voltages", "multipliers"):
        assert (out / f"{name}.png").stat().st_size > 10_000
    assert "# ieee123-mixed-v1: 20 agents" in capsys.readouterr().out

    # Again: what is finished is kept; what is damaged fails and spoils no other.
    kept = RunFolder.open(out / "runs" / "gradmap").manifest()
    (out / "runs" / "rules" / "checkpoints" / "best.pt").write_text("damaged")
    (out / "table.csv").unlink()
    assert main(compare_words(out, "--no-plots")) == 1
    assert RunFolder.open(out / "runs" / "gradmap").manifest() == kept
    with (out / "table.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert rows["rules"]["status"].startswith("failed: ")
    assert "best.pt is damaged" in rows["rules"]["status"]
    assert rows["gradmap"]["status"] == "done"

    # Other settings do not overwrite it.
    capsys.readouterr()
    assert main(compare_words(out, "--seed", "1")) == 2
    assert "another seed" in capsys.readouterr().err


def test_jobs_run_a_number_at_a_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """With children that only sleep, and one that fails."""
    from gradmap.experiments import compare_jobs

    real, running = subprocess.Popen, 0

    def popen(words: Sequence[str], **more: Any) -> Any:
        code = "import time; time.sleep(0.2)"
        if "selfish" in str(words):
            code = "import sys; print('gradmap: error: no luck'); sys.exit(2)"
        return real([sys.executable, "-c", code], **more)

    monkeypatch.setattr(compare_jobs.subprocess, "Popen", popen)
    monkeypatch.setattr(Job, "is_trained", lambda self: "training" in self.tried)
    monkeypatch.setattr(Job, "is_judged", lambda self: "judging" in self.tried)
    (tmp_path / "logs").mkdir()
    config = CompareConfig(methods=("gradmap", "selfish", "idle", "rules"))
    jobs = compare.plan_jobs(config, tmp_path)

    def show(jobs: Sequence[Job]) -> None:
        nonlocal running
        running = max(running, sum(job.process is not None for job in jobs))

    from gradmap.experiments.signals import StopRequest

    compare_jobs.run_jobs(jobs, 2, StopRequest(), show)
    assert running == 2
    assert [job.state for job in jobs] == ["done", "failed", "done", "done"]
    assert jobs[1].reason == "no luck"


def test_a_stopped_comparison_saves_every_run(
    child_environment: dict[str, str], tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "compare"
    words = ["compare", "--config", "smoke", "--out", str(out), "--methods", "gradmap", "selfish"]
    child = subprocess.Popen(
        [sys.executable, "-m", "gradmap.experiments.cli", *words, "--budget.iterations", "9999"],
        env=child_environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    runs = [out / "runs" / name for name in ("gradmap", "selfish")]
    deadline = time.monotonic() + 120
    while not all((run / "metrics.jsonl").exists() for run in runs):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.1)
    time.sleep(1.0)
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "continue with: gradmap compare" in said
    for run in runs:
        assert RunFolder.open(run).status == "interrupted"
        assert (run / "checkpoints" / "latest.pt").exists()


def test_a_folder_that_holds_no_run_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "runs" / "gradmap").mkdir(parents=True)
    with pytest.raises(GradmapError, match="no run"):
        compare.plan_jobs(CompareConfig(methods=("gradmap",)), tmp_path)


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
    assert main(["compare", "--config", "smoke", "--out", str(tmp_path)]) == 0
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == list(METHODS)
    assert {row["status"] for row in rows} == {"done"}

"""What is read from a comparison's folder."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import types

import pytest

from gradmap.experiments.compare_markdown import markdown
from gradmap.experiments.compare_report import write_report
from gradmap.experiments.compare_table import COLUMNS, calibration, make_report
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import RunKey
from gradmap.experiments.files import write_json
from gradmap.experiments.results import load_results, read_judgement, run_folder
from gradmap.experiments.runs import RunFolder
from gradmap.experiments.summary import summarise_results
from gradmap.feeders.errors import GradmapError

TASK = "ieee123-mixed-v1"
CONFIG = CompareConfig(
    methods=("gradmap", "selfish", "idle", "perfect-foresight"),
    seeds=(0, 3),
    splits=("test", "offline"),
)
COSTS = {"gradmap": -90.0, "selfish": -130.0, "idle": 5.0, "perfect-foresight": -100.0}
VIOLATIONS = {"gradmap": 0.1, "selfish": 12.0, "idle": 0.0, "perfect-foresight": 0.01}

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


@pytest.fixture
def out(tmp_path: pathlib.Path, fake_comparison: types.ModuleType) -> pathlib.Path:
    """Two seeds of four methods, two of which are without randomness."""

    def found(key: RunKey, share: float) -> dict[str, float]:
        cost = COSTS[key.method] + key.seed + 100.0 * (1.0 - share)
        return fake_comparison.metrics(cost, VIOLATIONS[key.method])  # type: ignore[no-any-return]

    return fake_comparison.make(tmp_path / "out", CONFIG, found)  # type: ignore[no-any-return]


def test_runs_are_read_in_order(out: pathlib.Path) -> None:
    results = load_results(out)
    assert [(run.method, run.seed) for run in results.runs] == [
        ("gradmap", 0),
        ("gradmap", 3),
        ("selfish", 0),
        ("selfish", 3),
        ("idle", 0),
        ("perfect-foresight", 0),
    ]
    assert results.tasks == (TASK,)
    assert results.methods == CONFIG.methods
    assert results.seeds == (0, 3)
    assert {run.status for run in results.runs} == {"done"}
    assert [run.seed for run in results.of(TASK, "selfish")] == [0, 3]
    # What is made for the test days knows no other days.
    assert set(results.of(TASK, "idle")[0].judgements) == {"test", "offline"}
    assert set(results.of(TASK, "perfect-foresight")[0].judgements) == {"test"}
    assert results.of(TASK, "gradmap")[1].folder == out / "runs" / TASK / "gradmap" / "seed-3"
    assert len(results.of(TASK, "gradmap")[0].validation()) == 6
    expected = {"cpu": "a chip", "cores": "2", "gpu": "", "gradmap": "0.1.0", "torch": "2.13.0"}
    assert results.facts == {**expected, "num_days": 2}


def test_every_status(out: pathlib.Path, fake_comparison: types.ModuleType) -> None:
    fake_comparison.fail(out, RunKey(TASK, "gradmap", 0), "out of memory")
    folder = out / "runs" / TASK
    RunFolder.open(folder / "gradmap" / "seed-3").start_session({"status": "running"})
    RunFolder.open(folder / "selfish" / "seed-0").end_session("interrupted")
    (folder / "selfish" / "seed-3" / "evaluation" / "offline-best.json").unlink()
    (folder / "idle").rename(folder / "elsewhere")
    assert [run.status for run in load_results(out).runs] == [
        "failed: out of memory",
        "training",
        "stopped",
        "judging",
        "waiting",
        "done",
    ]


def test_a_judgement_without_a_quantity_of_today_is_none(out: pathlib.Path) -> None:
    folder = run_folder(out, RunKey(TASK, "gradmap", 0))
    assert read_judgement(folder, "test", ("torch", "opendss")) is not None
    path = folder / "evaluation" / "test-best.json"
    found = json.loads(path.read_text())
    del found["engines"]["opendss"]["metrics"]["violation_usd_per_day"]
    write_json(path, found)
    assert read_judgement(folder, "test", ("torch", "opendss")) is None
    assert read_judgement(folder, "test", ("torch",)) is not None
    path.write_text("{")
    with pytest.raises(GradmapError, match=r"test-best\.json.*compare again"):
        read_judgement(folder, "test", ("torch",))


def test_a_judgement_is_of_one_checkpoint_whatever_the_files_times(out: pathlib.Path) -> None:
    folder = run_folder(out, RunKey(TASK, "gradmap", 0))
    # As a copy leaves them that keeps no times.
    os.utime(folder / "evaluation" / "test-best.json", (0, 0))
    assert read_judgement(folder, "test", ("torch",)) is not None
    (folder / "checkpoints" / "best.pt").write_text("of another policy")
    assert read_judgement(folder, "test", ("torch",)) is None


def test_a_folder_that_holds_no_comparison_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(GradmapError, match="is no comparison"):
        load_results(tmp_path)


def test_the_table_has_its_columns(out: pathlib.Path, fake_comparison: types.ModuleType) -> None:
    fake_comparison.fail(out, RunKey(TASK, "idle", 0), "out of memory")
    results = load_results(out)
    rows = summarise_results(results, TASK)
    assert list(COLUMNS[: len(NEEDED)]) == NEEDED
    assert [row["num_seeds"] for row in rows[:2]] == [2, 2]
    assert rows[0]["cost_usd_per_day"] == pytest.approx(-88.5)
    assert rows[0]["optimality_gap_pct"] == pytest.approx(11.5)
    assert rows[3]["optimality_gap_pct"] == 0.0
    assert rows[2]["status"] == "failed: out of memory"
    assert calibration(rows) == {
        "selfish_node_step_violation_pct": 12.0,
        "perfect_foresight_node_step_violation_pct": 0.01,
        "binds": True,
        "is_solvable": True,
    }


def test_tables_are_written(
    out: pathlib.Path, fake_comparison: types.ModuleType, tmp_path: pathlib.Path
) -> None:
    fake_comparison.fail(out, RunKey(TASK, "selfish", 3), "out of memory")
    results = load_results(out)
    write_report([make_report(results, TASK)], results, tmp_path)
    with (tmp_path / "table.csv").open() as file:
        read = list(csv.DictReader(file))
    assert {"task", *NEEDED} <= set(read[0])
    assert [row["method"] for row in read] == list(CONFIG.methods)
    with (tmp_path / "runs.csv").open() as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == 6 + 5  # test and offline; perfect foresight is not judged on the latter
    assert {row["split"] for row in runs} == {"test", "offline"}
    kept = json.loads((tmp_path / "table.json").read_text())["tasks"][TASK]
    assert kept["calibration"]["binds"] is True
    assert [row["method"] for row in kept["stress"]["offline"]] == list(CONFIG.methods)
    text = (tmp_path / "table.md").read_text()
    assert text.startswith(f"# {TASK}: 1,000 agents, seeds 0, 3\n")
    assert "The task binds: yes. Selfish devices violate at 12 %" in text
    assert "- Selfish: 1 of 2 done; seed 3 failed: out of memory" in text
    assert "Perfect foresight †" in text
    assert "## Under stress" in text
    assert "2 test days" in text


def test_the_table_says_that_a_task_does_not_bind() -> None:
    assert calibration([])["binds"] is None
    rows = [{"method": "selfish", "node_step_violation_pct": 1.0}]
    assert calibration(rows)["binds"] is False


def test_families_stand_together(out: pathlib.Path) -> None:
    lines = markdown(make_report(load_results(out), TASK)).splitlines()
    first = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert first[2:9] == [
        "*Learning through the gradient*",
        "GradMAP",
        "Selfish",
        "*Control*",
        "Idle",
        "*References*",
        "Perfect foresight †",
    ]

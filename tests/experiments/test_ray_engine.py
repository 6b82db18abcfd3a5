"""The comparison on Ray: the same results, and what a failure or a stop leaves standing."""

from __future__ import annotations

import csv
import json
import pathlib
import re
from collections.abc import Sequence

import pytest

pytest.importorskip("ray")

from gradmap.experiments import compare
from gradmap.experiments.cli import main
from gradmap.experiments.compare_jobs import Job, plan_jobs
from gradmap.experiments.config import CompareConfig
from gradmap.experiments.ray_engine import run_jobs_on_ray, running_mark, work
from gradmap.experiments.runs import read_rows
from gradmap.experiments.signals import StopRequest
from gradmap.feeders.errors import GradmapError

SMALL = {
    "task": {"num_agents": 20},
    "budget": {"seconds": None, "iterations": 2},
    "validation": {"num_days": 2},
    "device": "cpu",
    "opendss": False,
}


def jobs_of(out: pathlib.Path, *methods: str) -> list[Job]:
    jobs = plan_jobs(CompareConfig.model_validate({**SMALL, "methods": methods}), out)
    for job in jobs:
        job.log.parent.mkdir(parents=True)
    return jobs


def test_a_failing_job_leaves_the_others_whole(ray_session: None, tmp_path: pathlib.Path) -> None:
    jobs = jobs_of(tmp_path, "rules", "idle")
    jobs[0].engines = jobs[1].engines = {}  # a judgement adds seconds and nothing else
    jobs[0].config = jobs[0].config.model_copy(update={"method": "nobody"})
    shown: list[tuple[str, ...]] = []
    run_jobs_on_ray(jobs, 2, StopRequest(), lambda each: shown.append(states(each)))
    assert states(jobs) == shown[-1] == ("failed", "done")
    assert "unknown method nobody" in jobs[0].reason
    assert jobs[0].failed_mark.read_text().strip() == jobs[0].reason
    assert [path.name for path in tmp_path.rglob(".running-*")] == []


def test_nothing_is_started_for_jobs_that_are_over(tmp_path: pathlib.Path) -> None:
    jobs = jobs_of(tmp_path, "rules")
    jobs[0].state = "done"
    run_jobs_on_ray(jobs, 2, StopRequest(), lambda each: None, address="nowhere:1")


def test_a_stop_before_a_jobs_turn_leaves_it_waiting(tmp_path: pathlib.Path) -> None:
    (job,) = jobs_of(tmp_path, "rules")
    with running_mark(tmp_path) as mark:
        assert mark.exists()
        mark.unlink()
        assert work(job, mark) == ("waiting", "")
    assert not job.folder.exists()


def test_an_address_is_of_ray() -> None:
    with pytest.raises(GradmapError, match="--engine ray"):
        compare.load_engine("local", "auto")


@pytest.mark.slow
def test_results_are_those_of_the_local_engine(ray_session: None, tmp_path: pathlib.Path) -> None:
    words = ["compare", "smoke", "--methods", "gradmap", "ippo", "rules", "--no-plots"]
    words += ["--device", "cpu", "--no-opendss"]
    for engine in ("local", "ray"):
        assert main([*words, "--engine", engine, "--out", str(tmp_path / engine)]) == 0
    logs = [{path: rows_of(tmp_path / engine, path) for path in METRICS} for engine in ENGINES]
    assert logs[0] == logs[1]
    tables = [figures(tmp_path / engine) for engine in ENGINES]
    assert tables[0] == tables[1]


ENGINES = ("local", "ray")
MEASURED = re.compile("seconds|memory")
METRICS = [f"runs/ieee123-mixed-v1/{m}/seed-0" for m in ("gradmap", "ippo", "rules")]


def states(jobs: Sequence[Job]) -> tuple[str, ...]:
    return tuple(job.state for job in jobs)


def rows_of(out: pathlib.Path, path: str) -> list[str]:
    """Rows of a run, less the time they took."""
    rows = read_rows(out / path)
    assert rows
    for row in rows:
        row.pop("seconds")
        for name in [name for name in row["metrics"] if MEASURED.search(name)]:
            row["metrics"].pop(name)
    return [json.dumps(row) for row in rows]


def figures(out: pathlib.Path) -> list[dict[str, str]]:
    with (out / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done"] * 3
    return [{name: row[name] for name in row if not MEASURED.search(name)} for row in rows]

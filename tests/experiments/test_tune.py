"""A search: what its trials find, the files that say it, repeating and stopping it."""

from __future__ import annotations

import csv
import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

pytest.importorskip("ray")

from gradmap.algorithms.config import LearnerConfig
from gradmap.experiments import tune_plan, tune_report
from gradmap.experiments.cli import main
from gradmap.experiments.config import Selection
from gradmap.experiments.config_load import load_compare_config, load_run_config, run_configs
from gradmap.experiments.runs import RunFolder
from gradmap.experiments.search_space import check_space
from gradmap.experiments.tune import Search
from gradmap.experiments.tune_plan import SearchConfig
from gradmap.experiments.tune_results import best_of, priced_cost
from gradmap.feeders.errors import GradmapError

SHORT = [
    *("--task.num-agents", "20", "--budget.seconds", "None", "--budget.iterations", "2"),
    *("--validation.num-days", "2", "--device", "cpu", "--workers", "2"),
]
RULE = Selection(price_usd_per_pct=1000.0, allowed_pct=0.05)


def judged(iteration: int, score: float | None, cost: float | None, violation: float) -> Any:
    return {
        "kind": "validation",
        "iteration": iteration,
        "seconds": 1.5 * iteration,
        "power_flow_solves": 100 * iteration,
        "score": score,
        "metrics": {"cost_usd_per_day": cost, "node_step_violation_pct": violation},
    }


def finish(search: Search, method: str, number: int, *rows: Any, status: str = "finished") -> None:
    """Writes a run's folder as training would have left it."""
    job = search.jobs[search.trials[method][number].name]
    folder = RunFolder.create(job.folder, job.config, {"status": "running"})
    for row in rows:
        folder.append_row(row)
    folder.end_session(status)


@pytest.fixture
def search(tmp_path: pathlib.Path) -> Search:
    """A search of which three trials are done, one has failed and one was stopped."""
    config = SearchConfig(trials=3, selection=RULE)
    search = Search(config, ("gradmap", "selfish"), tmp_path / "tune")
    finish(search, "gradmap", 0, judged(0, 50.0, 40.0, 0.06), judged(5, 30.0, 30.0, 0.01))
    finish(search, "gradmap", 1, judged(5, 20.0, 10.0, 0.06), judged(9, 25.0, 5.0, 0.07))
    finish(search, "gradmap", 2, judged(5, None, None, 0.0))
    finish(search, "selfish", 0, judged(0, 9.0, 9.0, 0.01), judged(5, -100.0, -100.0, 2.05))
    finish(search, "selfish", 1, judged(0, 9.0, 9.0, 0.01), status="interrupted")
    job = search.jobs[search.trials["selfish"][2].name]
    job.log.parent.mkdir(parents=True)
    job.fail("RuntimeError: out of | luck")
    search.waiting()
    search.write_all()
    return search


def rows_of(out: pathlib.Path, method: str) -> list[dict[str, str]]:
    with (out / method / "trials.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("cost", "violation", "priced"),
    [(-5.0, 0.05, -5.0), (-5.0, 0.15, 95.0), (None, 0.0, math.inf), (3.0, None, math.inf)],
)
def test_priced_cost(cost: float | None, violation: float | None, priced: float) -> None:
    metrics = {"cost_usd_per_day": cost, "node_step_violation_pct": violation}
    assert priced_cost(RULE, metrics) == pytest.approx(priced)


def test_a_trial_is_its_best_checkpoint_at_one_price_for_all(search: Search) -> None:
    default, other, bad = search.outcomes("gradmap")
    assert (default.score, default.best["iteration"]) == (30.0, 5)
    assert (other.score, other.best["iteration"]) == (pytest.approx(20.0), 5)
    assert (bad.status, bad.score) == ("failed", math.inf)
    assert best_of([default, other, bad]) is other
    # Selected on cost alone, and compared with the price of what it does to the network.
    assert search.outcomes("selfish")[0].score == pytest.approx(-100.0 + 2000.0)


def test_every_trial_is_written(search: Search) -> None:
    rows = rows_of(search.out, "selfish")
    assert [row["status"] for row in rows] == ["done", "waiting", "failed"]
    assert rows[2]["reason"] == "RuntimeError: out of | luck"
    assert rows[0]["learning_rate"] == "0.02"
    assert rows[0]["power_flow_solves"] == "500"
    content = json.loads((search.out / "selfish" / "trials.json").read_text())
    assert content["search"]["trials"] == 3
    assert content["trials"][2]["reason"] == rows[2]["reason"]
    assert content["trials"][1]["settings"] == search.trials["selfish"][1].settings
    table = (search.out / "gradmap" / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == ["1", "0 (defaults)", "2"]
    assert len({line.count("|") for line in table}) == 1


def test_the_best_settings_go_into_train_and_compare(search: Search) -> None:
    best = search.trials["gradmap"][1].config.learner
    assert best != LearnerConfig()
    assert load_run_config("gradmap", search.out / "gradmap" / "best.yaml").learner == best
    config = load_compare_config(search.out / "settings.yaml")
    runs = {key.method: run for key, run in run_configs(config).items()}
    assert runs["gradmap"].learner == best
    assert runs["selfish"].learner == search.trials["selfish"][0].config.learner


def test_only_what_is_not_over_runs(search: Search) -> None:
    again = Search(search.config, search.methods, search.out)
    stopped, failed = (search.trials["selfish"][number].name for number in (1, 2))
    assert again.waiting() == [again.jobs[stopped]]
    assert again.jobs[failed].reason == "RuntimeError: out of | luck"
    again.retry_failed()
    assert again.waiting() == [again.jobs[stopped], again.jobs[failed]]
    assert Search(search.config, search.methods, search.out).jobs[failed].state == "waiting"


def test_equal_trials_are_one_run(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    few = check_space("shac", {"horizon": {"choice": [24, 48]}}, "a file")
    monkeypatch.setattr(tune_plan, "load_space", lambda method: few)
    search = Search(SearchConfig(trials=10), ("shac",), tmp_path)
    assert len(search.trials["shac"]) == 10
    assert len(search.jobs) == 2


def test_tables_are_published_and_put_into_the_page(search: Search, tmp_path: pathlib.Path) -> None:
    tables, page = tmp_path / "tuning", tmp_path / "page.md"
    tune_report.publish(search.out, search.methods, tables)
    assert sorted(path.name for path in tables.iterdir()) == ["gradmap.csv", "selfish.csv"]
    page.write_text("above\n<!-- tuning:begin -->old<!-- tuning:end -->\nbelow\n")
    tune_report.fill_page(page, tables)
    text = page.read_text()
    assert "old" not in text
    assert "3 trials of each method, 1,000 agents, 40 seconds a trial, seed 0." in text
    line = next(line for line in text.splitlines() if line.startswith("| GradMAP "))
    assert line.startswith("| GradMAP | 3, 1 failed | 30 | 20 | 10 | 0.06 | `learning_rate` ")
    before = text
    tune_report.fill_page(page, tables)
    assert page.read_text() == before

    shorter = (tables / "gradmap.csv").read_text().splitlines()[:-1]
    (tables / "gradmap.csv").write_text("\n".join(shorter))
    tune_report.fill_page(page, tables)
    assert "not alike" in page.read_text()
    (tables / "gradmap.csv").write_text("a,b\n1,2\n")
    with pytest.raises(GradmapError, match="no table of trials"):
        tune_report.fill_page(page, tables)


def test_the_documentation_has_a_place_for_the_table() -> None:
    text = (tune_report.ROOT / "docs" / "tuning.md").read_text("utf-8")
    assert text.count("<!-- tuning:begin -->") == text.count("<!-- tuning:end -->") == 1


def test_a_search_from_one_command(
    ray_session: None, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One trial runs, one fails and spoils no other; neither runs again."""
    small = {
        "task": {"num_agents": 20},
        "budget": {"seconds": None, "iterations": 2},
        "validation": {"every": 5, "num_days": 2},
        "trials": 2,
    }
    search = Search(SearchConfig.model_validate(small), ("rules",), tmp_path)
    finish(search, "rules", 1, status="interrupted")
    damaged = RunFolder.open(search.jobs[search.trials["rules"][1].name].folder)
    damaged.checkpoint("latest").write_text("nonsense")

    words = ["tune", "rules", "--out", str(tmp_path), *SHORT, "--trials", "2"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "2 trials, 0 over already" in said
    assert "[rules] trial 0 (" in said
    assert "| Rules | 2, 1 failed |" in said
    rows = rows_of(tmp_path, "rules")
    assert [row["status"] for row in rows] == ["done", "failed"]
    assert float(rows[0]["score_usd_per_day"]) == float(rows[0]["cost_usd_per_day"])
    assert "latest.pt is damaged" in rows[1]["reason"]
    assert [p.name for p in tmp_path.rglob(".r*")] == []

    kept = (tmp_path / "rules" / "trials.json").read_text()
    assert main(words) == 0
    assert "2 trials, 2 over already" in capsys.readouterr().out
    assert (tmp_path / "rules" / "trials.json").read_text() == kept


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_done(
    tmp_path: pathlib.Path, child_environment: dict[str, str]
) -> None:
    """To the whole group of processes, as a terminal sends it."""
    out = tmp_path / "tune"
    words = ["tune", "gradmap", "--out", str(out), *SHORT, "--trials", "3"]
    words[words.index("--budget.iterations") + 1] = "100000"
    command = [sys.executable, "-m", "gradmap.experiments.cli", *words]
    process = subprocess.Popen(
        command, env=child_environment, start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 240
    while len(started(out)) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "continue with: gradmap tune gradmap" in said
    runs = [RunFolder.open(path.parent) for path in started(out)]
    assert [run.status for run in runs] == ["interrupted"] * len(runs)
    assert [row["status"] for row in rows_of(out, "gradmap")] == ["waiting"] * 3
    shutil.rmtree(out)


def started(out: pathlib.Path) -> list[pathlib.Path]:
    """Metrics of the runs that have made an iteration."""
    found = out.glob("gradmap/runs/*/metrics.jsonl")
    return [path for path in found if '"kind": "train"' in path.read_text()]

"""Seeds drawn together, on runs that are made up."""

from __future__ import annotations

import csv
import json
import pathlib
import types
from typing import Any

import numpy as np
import pytest

from gradmap.experiments.cli import main
from gradmap.experiments.config_load import RunKey, load_compare_config
from gradmap.experiments.curves import read_learning
from gradmap.experiments.curves_report import table_rows
from gradmap.experiments.files import write_json, write_text, write_yaml
from gradmap.experiments.registry import METHODS
from gradmap.experiments.runs import RunFolder
from gradmap.experiments.seeds import PRICED, curve
from gradmap.feeders.errors import GradmapError

LEVELS = {"gradmap": -1100.0, "ippo": -500.0, "mappo": -450.0, "rules": -300.0, "idle": 6400.0}
TASK = "ieee123-mixed-v1"


def metrics(cost: float, priced: float) -> dict[str, float]:
    return {"cost_usd_per_day": cost, "violation_usd_per_day": priced}


def fall(method: str, seed: int, share: float) -> tuple[float, float]:
    """Cost and priced violations in training: from 20,000 $ down to the method's level."""
    pace = {"gradmap": 40.0, "ippo": 9.0, "mappo": 7.0}[method]
    noise = np.random.default_rng(seed + int(1000 * share)).normal(0.0, 25.0)
    cost = LEVELS[method] + 20.0 * seed + noise + 21000.0 * np.exp(-pace * share)
    return float(cost), 60.0 * (1.0 - share)


@pytest.fixture
def folder(tmp_path: pathlib.Path, fake_comparison: types.ModuleType) -> pathlib.Path:
    """Four seeds of `learning20` and GradMAP; MAPPO of seed 4 is still in training."""
    bundled = load_compare_config("learning20")
    methods = ("gradmap", *bundled.methods)
    config = bundled.model_copy(update={"seeds": (0, 1, 2, 4), "methods": methods})

    def found(key: RunKey, share: float) -> Any:
        trains = METHODS[key.method].needs_training
        cost, priced = fall(key.method, key.seed, share) if trains else (LEVELS[key.method], 10.0)
        return fake_comparison.metrics(cost, priced / 100, priced)

    whole = tmp_path / "learning20"
    fake_comparison.make(whole, config, found)
    run_of(whole, "mappo", 4).start_session({"status": "running"})
    return whole


def run_of(folder: pathlib.Path, method: str, seed: int) -> RunFolder:
    return RunFolder.open(folder / "runs" / TASK / method / f"seed-{seed}")


def test_a_curve_ends_where_the_first_seed_ends() -> None:
    def rows(ends: list[float], values: list[float]) -> list[dict[str, Any]]:
        return [
            {"seconds": x, "metrics": metrics(y, 1.0)} for x, y in zip(ends, values, strict=True)
        ]

    seeds = {0: rows([0, 10, 20], [8, 4, 2]), 1: rows([0, 16], [6, 2]), 2: rows([0, 30], [5, 5])}
    found = curve(seeds, "seconds", points=3)
    assert found.x.tolist() == [0.0, 8.0, 16.0]
    # Half-way: 4.8 from 8 to 4, 4 from 6 to 2, and 5, each with the dollar of violations.
    assert found.low.tolist() == pytest.approx([6.0, 5.0, 3.0])
    assert found.high.tolist() == pytest.approx([9.0, 6.0, 6.0])
    assert found.middle[1] == pytest.approx((4.8 + 4.0 + 5.0) / 3 + 1.0)


def test_curves_from_one_command(
    folder: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = tmp_path / "docs"
    write_text(docs / "marl.md", "before\n<!-- learning20:begin --><!-- learning20:end -->\nafter")
    assert main(["curves", str(folder), "--docs", str(docs)]) == 0
    said = capsys.readouterr().out
    assert "ieee123-mixed-v1: 20 agents, seeds 0, 1, 2, 4. 2 test days" in said
    assert "- MAPPO, seed 4: training" in said
    with (folder / "curves.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["gradmap", "ippo", "mappo", "rules", "idle"]
    assert [row["num_seeds"] for row in rows.values()] == ["4", "4", "3", "1", "1"]
    beaten = [(row["beats_rules"], row["beats_rules_of"]) for row in rows.values()]
    assert beaten == [("4", "4"), ("4", "4"), ("3", "3"), ("0", "0"), ("0", "1")]
    low, middle, high = (float(rows["ippo"][PRICED + end]) for end in ("_low", "", "_high"))
    assert low < middle < high
    assert float(rows["rules"][PRICED]) == -290.0
    whole = json.loads((folder / "curves.json").read_text())
    assert len(whole["missing"]) == 1
    assert len(whole["rows"][0]["cost_usd_per_day_by_seed"]) == 4
    assert (folder / "curves.png").stat().st_size > 10_000
    page = (docs / "marl.md").read_text()
    assert page.startswith("before\n<!-- learning20:begin -->\n\n![Learning curves, ")
    assert "](figures/learning20.png)" in page
    assert "4 of 4" in page
    copied, drawn = docs / "figures" / "learning20.png", folder / "curves.png"
    assert copied.read_bytes() == drawn.read_bytes()


def test_a_reference_has_figures_and_no_curve(folder: pathlib.Path) -> None:
    from gradmap.experiments.plot_learning import drawn

    found = read_learning(folder)
    assert set(drawn(found)) == set(LEVELS)
    found.rows["perfect-foresight"] = found.rows["gradmap"]
    assert set(drawn(found)) == set(LEVELS)


def test_a_seed_whose_days_all_failed_gives_no_number(folder: pathlib.Path) -> None:
    path = run_of(folder, "ippo", 1).path / "evaluation" / "test-best.json"
    judged = json.loads(path.read_text())
    judged["engines"]["torch"]["metrics"]["cost_usd_per_day"] = None
    write_json(path, judged)
    row = table_rows(read_learning(folder))[1]
    assert np.isnan(row["cost_usd_per_day"])
    assert np.isfinite(row["node_step_violation_pct"])
    assert (row["beats_rules"], row["beats_rules_of"]) == (3, 4)
    assert main(["curves", str(folder)]) == 0


def test_a_judgement_of_an_older_version_is_missing(folder: pathlib.Path) -> None:
    path = run_of(folder, "rules", 0).path / "evaluation" / "test-best.json"
    judged = json.loads(path.read_text())
    del judged["engines"]["torch"]["metrics"]["violation_usd_per_day"]
    write_json(path, judged)
    found = read_learning(folder)
    assert found.missing == ("MAPPO, seed 4: training", "Rules, seed 0: judging")
    assert [row["beats_rules_of"] for row in table_rows(found)] == [0, 0, 0, 0]


def test_rows_of_an_older_version_are_refused(folder: pathlib.Path) -> None:
    path = run_of(folder, "gradmap", 2).path / "metrics.jsonl"
    path.write_text(path.read_text().replace("violation_usd_per_day", "other"))
    with pytest.raises(GradmapError, match=r"gradmap/seed-2 .* train it anew .* --fresh"):
        read_learning(folder)


def test_a_folder_without_figures_is_refused(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["curves", str(tmp_path)]) == 2
    assert "is no comparison" in capsys.readouterr().err
    assert main(["curves"]) == 2
    config = load_compare_config("learning20")
    write_yaml(tmp_path / "config.yaml", config.model_dump(mode="json"))
    assert main(["curves", str(tmp_path)]) == 2
    assert "has no figures yet" in capsys.readouterr().err
    two = config.model_copy(update={"tasks": {"a": {}, "b": {}}})
    write_yaml(tmp_path / "config.yaml", two.model_dump(mode="json"))
    assert main(["curves", str(tmp_path)]) == 2
    assert "holds 2 tasks" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["learning20", "learning100"])
def test_the_bundled_comparisons_are_alike(name: str) -> None:
    config = load_compare_config(name)
    assert config.task.num_agents == int(name.removeprefix("learning"))
    other = load_compare_config("learning20")
    own = ("task", "budget", "settings")
    assert config.model_copy(update={name: getattr(other, name) for name in own}) == other
    assert config.settings.keys() == {"ippo", "mappo"}

"""IPPO and MAPPO under the commands that every other method has."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

pytest.importorskip("ray")

from gradmap.experiments.cli import main
from gradmap.experiments.runs import RunFolder

SMALL = [
    *("--task.num-agents", "5", "--ppo.days-per-batch", "1", "--ppo.epochs", "1"),
    *("--ppo.hidden", "4", "--budget.seconds", "None", "--validation.num-days", "1"),
    # A schedule over the budget is another one when the budget grows.
    *("--ppo.learning-rate-final", "1.0", "--validation.every", "2"),
]


def train(out: pathlib.Path, method: str, iterations: int) -> int:
    return main(
        ["train", method, *SMALL, "--budget.iterations", str(iterations), "--out", str(out)]
    )


def timeless(path: pathlib.Path) -> list[dict[str, Any]]:
    """Rows without what differs between any two runs."""
    rows = RunFolder.open(path).rows()
    return [{k: v for k, v in row.items() if k not in ("seconds", "progress")} for row in rows]


def test_mappo_trains_and_is_judged(
    tmp_path: pathlib.Path, ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert train(out, "mappo", 2) == 0
    assert RunFolder.open(out).rows("train")[-1]["env_steps"] == 2 * 48
    assert main(["evaluate", str(out), "--split", "validation"]) == 0
    (found,) = (out / "evaluation").glob("validation-*.json")
    assert json.loads(found.read_text("utf-8"))["method"] == "mappo"
    said = capsys.readouterr()
    assert "Warning" not in said.out + said.err


def test_ippo_resumes_to_the_same_numbers(tmp_path: pathlib.Path, ray_session: None) -> None:
    assert train(tmp_path / "whole", "ippo", 4) == 0
    assert train(tmp_path / "parts", "ippo", 2) == 0
    budget = ["--budget.iterations", "4"]
    assert main(["train", "--resume", str(tmp_path / "parts"), *budget]) == 0
    assert timeless(tmp_path / "parts") == timeless(tmp_path / "whole")

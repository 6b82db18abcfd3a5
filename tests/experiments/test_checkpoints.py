"""The policies of the quick comparison, which come with the package."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from gradmap.experiments.cli_compare import checkpoints
from gradmap.experiments.compare_jobs import Job, environment
from gradmap.experiments.config_load import load_compare_config, run_configs
from gradmap.experiments.evaluate import evaluate, pick_days
from gradmap.experiments.frozen import load_run
from gradmap.experiments.policy_files import restore_comparison
from gradmap.experiments.policy_rounding import SHOWN
from gradmap.experiments.runs import RunFolder

OWN = checkpoints()


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    restored = restore_comparison(OWN, tmp_path_factory.mktemp("checkpoints") / "out")
    return {job.key.method: job for job in restored}


def test_they_are_of_the_quick_comparison(jobs: dict[str, Job]) -> None:
    kept, preset = load_compare_config(OWN / "config.yaml"), load_compare_config("quick")
    assert list(jobs) == [key.method for key in run_configs(preset)]
    assert kept.task.identity() == preset.task.identity()
    assert (kept.seeds, kept.budget) == (preset.seeds, preset.budget)
    assert all(job.is_trained() for job in jobs.values())


def test_they_are_small() -> None:
    assert sum(file.stat().st_size for file in OWN.rglob("*") if file.is_file()) < 9 * 2**20
    assert not list(OWN.rglob("*.pt"))


def test_a_policy_gives_the_figures_of_the_table(jobs: dict[str, Job]) -> None:
    run = RunFolder.open(jobs["gradmap"].folder)
    figures = json.loads((OWN / "gradmap" / "seed-0" / "figures.json").read_text("utf-8"))
    loaded, _ = load_run(run.config, run.checkpoint("best"))
    with contextlib.closing(loaded) as assembly:
        days = pick_days(assembly.core, "test")[:3]
        found = evaluate(assembly.core, assembly.trainer.policy(), days)
    assert list(found.dates) == figures["dates"][:3]
    assert set(figures["metrics"]) == set(SHOWN)
    was = {name: np.array(figures["by_day"][name][:3]) for name in SHOWN}
    # Weights have 7 to 23 bits: what 1,000 agents cost together moves by a part in 10,000.
    cost, outside = "cost_usd_per_day", "node_step_violation_pct"
    np.testing.assert_allclose(found.by_day[cost], was[cost], rtol=1e-3, atol=0.2)
    # A day has 13,200 node-steps; some are on the edge of the band.
    np.testing.assert_allclose(found.by_day[outside], was[outside], atol=0.05)


PROGRAM = """
import pathlib, sys
from gradmap.experiments.frozen import load_run
from gradmap.experiments.runs import RunFolder
run = RunFolder.open(pathlib.Path(sys.argv[1]))
loaded, meta = load_run(run.config, run.checkpoint("best"))
core, policy = loaded.core, loaded.trainer.policy()
print(tuple(policy.act(core.observe(core.reset(core.days("test")[:1]))).shape))
print([name for name in sys.modules if name == "ray" or name.startswith("ray.")])
"""


def test_ppo_is_replayed_without_ray(jobs: dict[str, Job], tmp_path: pathlib.Path) -> None:
    words = [sys.executable, "-c", PROGRAM, str(jobs["mappo"].folder)]
    done = subprocess.run(
        words, cwd=tmp_path, env=environment(1), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["(1, 1000)", "[]"]

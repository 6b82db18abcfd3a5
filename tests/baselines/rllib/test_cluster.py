"""Sampling and learning in Ray processes of their own."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("ray")

PROGRAM = """
import dataclasses, json, sys, torch
torch.set_num_threads(1)
import gradmap
from gradmap.baselines.rllib.config import PPOSettings
from gradmap.baselines.rllib.trainer import RLlibTrainer

core = gradmap.make("ieee123-mixed-v1", num_agents=5)
processes = json.loads(sys.argv[1])
settings = PPOSettings(hidden=(8,), days_per_batch=4, minibatches=2, epochs=2, **processes)
trainer = RLlibTrainer(core, settings, 1)
before = trainer.policy().state_dict()
found = [trainer.iterate(0.0), trainer.iterate(0.5)]
kept = trainer.state_dict()
trainer.load_state_dict(kept)
same = all(torch.equal(kept[k], v) for k, v in trainer.state_dict().items())
after = trainer.policy().state_dict()
moved = any(not torch.equal(before[k], after[k]) for k in after)
print(json.dumps({"metrics": found, "same": same, "moved": moved,
                  "steps": trainer.counters.env_steps}))
trainer.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "processes",
    [{"num_env_runners": 2}, {"num_learners": 2}, {"num_env_runners": 2, "num_learners": 1}],
    ids=["runners", "learners", "both"],
)
def test_processes_of_ray_sample_and_learn(processes: dict[str, int]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(processes)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=pathlib.Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["same"]
    assert found["moved"]
    assert found["steps"] == 2 * 4 * 48
    # The multipliers that the first batch raised have reached the runners.
    assert found["metrics"][0]["multiplier_max"] != found["metrics"][1]["multiplier_max"]

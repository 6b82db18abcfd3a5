"""A method that learns nothing in no time, to try the harness on.

Run as a script it is the command `gradmap` with this method in the place of
the real ones.
"""

from __future__ import annotations

import pathlib
import sys
import time
import types
from typing import Any

import torch

import gradmap.experiments.session as session
import gradmap.experiments.train as train
from gradmap.algorithms.trainer import Counters
from gradmap.experiments.assembly import Assembly
from gradmap.experiments.config import RunConfig
from gradmap.experiments.registry import method_spec


class FakeTrainer:
    """Walks at random; its state holds weights, counters and the random generator."""

    multipliers = None

    def __init__(self, seed: int, pause: float = 0.0) -> None:
        self.counters = Counters()
        self.generator = torch.Generator().manual_seed(seed)
        self.weights = torch.zeros(3)
        self.pause = pause

    def iterate(self, progress: float) -> dict[str, float]:
        time.sleep(self.pause)
        self.weights = self.weights + torch.randn(3, generator=self.generator)
        self.counters.iterations += 1
        self.counters.env_gradients += 1
        self.counters.env_steps += 48
        self.counters.power_flow_solves += 96
        return {"walk": float(self.weights.sum()), "progress_seen": progress}

    def policy(self) -> Any:
        return self.weights.clone()

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {
            "weights": self.weights.clone(),
            "random": self.generator.get_state(),
            "counters": torch.tensor(list(vars(self.counters).values())),
        }

    def close(self) -> None:
        self.counters = Counters()  # whatever is written after it shows

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.weights = state["weights"]
        self.generator.set_state(state["random"])
        self.counters = Counters(*state["counters"].tolist())


class FakeCore:
    """As much of a core as the loop looks at."""

    device = torch.device("cpu")

    def days(self, split: str) -> torch.Tensor:
        return torch.arange(12)


def assemble(config: RunConfig, pause: float = 0.0) -> Assembly:
    core: Any = FakeCore()
    trainer: Any = FakeTrainer(config.seed, pause)
    return Assembly(config, method_spec(config.method), core, trainer)


def evaluate(core: Any, policy: torch.Tensor, days: torch.Tensor, batch: int) -> Any:
    metrics = {
        "cost_usd_per_day": 100.0 + float(policy.sum()),
        "node_step_violation_pct": abs(float(policy[0])),
    }
    return types.SimpleNamespace(metrics=metrics)


def install(patch: Any = None, pause: float = 0.0) -> None:
    """Puts the method in place, by a `pytest.MonkeyPatch` if there is one."""
    put = setattr if patch is None else patch.setattr
    put(session, "assemble", lambda config: assemble(config, pause))
    put(train, "evaluate", evaluate)


if __name__ == "__main__":
    from gradmap.experiments.cli import main

    install(pause=0.02)
    pathlib.Path(sys.argv.pop(1)).touch()  # tells the test that the imports are done
    sys.exit(main())

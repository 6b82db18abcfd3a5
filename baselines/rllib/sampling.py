"""The environments that RLlib samples in: in this process, or built where Ray wants them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from ray.tune.registry import register_env
from torch import Tensor

from gradmap.baselines.rllib.config import PPOSettings
from gradmap.baselines.rllib.env import DayRecord, PricedJointEnv
from gradmap.envs.catalog import make
from gradmap.envs.core import Core

_numbers = itertools.count()
_cores: dict[int, Core] = {}
"""Cores of this process by number: RLlib copies configurations, not what they name."""


class EnvSource:
    """Registers the environment of a run with RLlib.

    In this process the runner shares the run's core. A Ray process builds its
    own from the task.

    Args:
        core: The environment.
        settings: Settings.

    Attributes:
        name: Name under which the environment is registered.
        config: RLlib's `env_config` for it.
    """

    def __init__(self, core: Core, settings: PPOSettings) -> None:
        self._number = next(_numbers)
        _cores[self._number] = core
        self.name = f"gradmap/priced-joint-{self._number}"
        self.config = {
            "number": self._number,
            "task": core.config,
            "price": settings.price,
            "split": settings.network_split,
            "weight": settings.network_weight,
            "stored_usd_per_kwh": settings.stored_usd_per_kwh,
            "is_local": settings.num_env_runners == 0,
        }
        register_env(self.name, _make_env)

    def close(self) -> None:
        """Lets the core go."""
        _cores.pop(self._number, None)


def _make_env(config: Any) -> PricedJointEnv:
    core = _cores[config["number"]] if config["is_local"] else make(config["task"])
    names = ("num_envs", "price", "split", "weight", "stored_usd_per_kwh")
    return PricedJointEnv(core, **{name: config[name] for name in names})


def environment_of(runner: Any) -> PricedJointEnv:
    """The environment of an RLlib environment runner."""
    env: PricedJointEnv = runner.env.unwrapped
    return env


def take_record(runner: Any) -> DayRecord:
    """What the runner's environment noted of the days it played last, on the CPU."""
    return environment_of(runner).record()


def random_state() -> dict[str, Tensor]:
    """State of the global generators that RLlib draws from."""
    _, keys, position, _, _ = np.random.get_state(legacy=True)  # noqa: NPY002  (RLlib's)
    return {
        "torch": torch.get_rng_state(),
        "numpy.keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy.position": torch.tensor(position),
    }


def set_random_state(state: dict[str, Tensor]) -> None:
    """Takes over what `random_state` returned.

    Args:
        state: The state.
    """
    torch.set_rng_state(state["torch"].cpu())
    keys = state["numpy.keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(state["numpy.position"]), 0, 0.0))  # noqa: NPY002

"""The task for BenchMARL, whose algorithms then run on it as they are.

    task = FeederTask.IEEE123_MIXED_V1.get_task({"num_agents": 100})
    Experiment(
        task, IppoConfig.get_from_yaml(), MlpConfig.get_from_yaml(), 0, config,
        callbacks=[EvaluateOn("validation")],
    )

One group of agents for each device type; whether the agents of a group share
one network is BenchMARL's `share_policy_params`. A critic of MAPPO sees the
global state, that of IPPO the agent's observation. An iteration holds whole
days if `on_policy_collected_frames_per_batch` is a multiple of
`on_policy_n_envs_per_worker` times the steps of a day.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch

from gradmap.envs.reward import RewardConfig
from gradmap.feeders.errors import GradmapError

try:
    from benchmarl.environments import Task, TaskClass
    from benchmarl.experiment import Callback
    from torchrl.data import Composite
    from torchrl.envs import EnvBase
except ModuleNotFoundError as error:
    raise GradmapError("BenchMARL is not installed; pip install 'gradmap[benchmarl]'") from error

from gradmap.envs.torchrl import FeederTorchEnv, make_torchrl_env

SETTINGS = ("num_agents", "seed", "reward", "split", "feeder_file", "scenario_file")
"""Keys of a task's configuration: keywords of `make_torchrl_env`; `reward` may
be a dictionary with the fields of `RewardConfig`, as a YAML file has it."""


def _refuse_unknown(found: Mapping[str, Any], expected: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(found) - set(expected))
    if unknown:
        raise GradmapError(
            f"unknown settings {', '.join(unknown)} of {where}; "
            f"expected some of {', '.join(expected)}"
        )


class FeederTaskClass(TaskClass):
    """Tells BenchMARL how to make the environment, and what is in it.

    Args:
        name: Name of the task as in `FeederTask`.
        config: Settings by the names of `SETTINGS`, none of which is needed.

    Raises:
        GradmapError: If there is a setting of another name.
    """

    def __init__(self, name: str, config: Mapping[str, Any] | None = None) -> None:
        settings = dict(config or {})
        _refuse_unknown(settings, SETTINGS, f"task {name}")
        if isinstance(settings.get("reward"), Mapping):
            fields = tuple(field.name for field in dataclasses.fields(RewardConfig))
            _refuse_unknown(settings["reward"], fields, f"the reward of task {name}")
        super().__init__(name, settings)

    def get_env_fun(
        self,
        num_envs: int,
        continuous_actions: bool,
        seed: int | None,
        device: torch.device | str,
    ) -> Callable[[], EnvBase]:
        """Returns a function that makes the environment.

        Args:
            num_envs: Days that are stepped together.
            continuous_actions: Must be true.
            seed: Seed of the order of days; that of the fleet is a setting.
            device: Torch device of the environment.

        Raises:
            GradmapError: If discrete actions are asked for.
        """
        if not continuous_actions:
            raise GradmapError("actions are continuous; choose an algorithm that can use them")
        settings = dict(self.config)
        if isinstance(settings.get("reward"), Mapping):
            settings["reward"] = RewardConfig(**settings["reward"])
        task = self.name.lower().replace("_", "-")

        def make() -> FeederTorchEnv:
            env = make_torchrl_env(task, batch_size=num_envs, device=device, **settings)
            if seed is not None:
                env.set_seed(seed)
            return env

        return make

    def supports_continuous_actions(self) -> bool:
        """Tells that actions are continuous."""
        return True

    def supports_discrete_actions(self) -> bool:
        """Tells that actions are never discrete."""
        return False

    def max_steps(self, env: EnvBase) -> int:
        """Returns the steps of a day."""
        return int(env.core.num_steps)

    def has_render(self, env: EnvBase) -> bool:
        """Tells that there is nothing to draw."""
        return False

    def group_map(self, env: EnvBase) -> dict[str, list[str]]:
        """Returns the names of the agents of each device type."""
        return dict(env.group_map)

    def observation_spec(self, env: EnvBase) -> Composite:
        """Returns the specs of what agents see: neither the state nor the infos."""
        return self._grouped(env, "observation")

    def info_spec(self, env: EnvBase) -> Composite:
        """Returns the specs of the agents' infos."""
        return self._grouped(env, "info")

    def state_spec(self, env: EnvBase) -> Composite:
        """Returns the spec of what a central critic may see."""
        return Composite(state=env.full_observation_spec_unbatched["state"].clone())

    def action_spec(self, env: EnvBase) -> Composite:
        """Returns the specs of the actions."""
        return env.full_action_spec_unbatched

    def action_mask_spec(self, env: EnvBase) -> None:
        """Tells that every action is allowed at any time."""

    @staticmethod
    def env_name() -> str:
        """Returns the name under which BenchMARL reports results."""
        return "gradmap"

    def _grouped(self, env: EnvBase, key: str) -> Composite:
        spec = env.full_observation_spec_unbatched
        return Composite(
            {
                group: Composite({key: spec[group, key].clone()}, shape=(len(names),))
                for group, names in self.group_map(env).items()
            }
        )


class FeederTask(Task):
    """The published tasks, by name with `_` for `-`."""

    IEEE123_MIXED_V1 = None
    IEEE123_REGULATED_V1 = None

    @staticmethod
    def associated_class() -> type[FeederTaskClass]:
        """Returns the class that a member of this enum makes."""
        return FeederTaskClass

    def get_from_yaml(self, path: str | None = None) -> FeederTaskClass:
        """Makes the task with the settings of a file.

        Args:
            path: A YAML file; None takes the task as published.

        Returns:
            The task.
        """
        found = self.get_task({}) if path is None else super().get_from_yaml(path)
        assert isinstance(found, FeederTaskClass)
        return found


class EvaluateOn(Callback):
    """Has BenchMARL's evaluation draw its days from another split than training.

    BenchMARL makes both environments alike: without this, it evaluates on
    training days.

    Args:
        split: `train`, `validation` or `test`.
    """

    def __init__(self, split: str) -> None:
        super().__init__()
        self.split = split

    def on_setup(self) -> None:
        """Sets the split of the experiment's test environment."""
        env = self.experiment.test_env
        while not isinstance(env, FeederTorchEnv):
            env = env.base_env
        env.core.days(self.split)  # a misspelt split is an error here, not in an evaluation
        env.split = self.split

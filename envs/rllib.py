"""The environment in RLlib, under its own names.

    import gradmap.envs.rllib  # registers them

    config.environment("gradmap/ieee123-mixed-v1", env_config={"num_agents": 100})

Two names, one task. `MULTI_AGENT` is RLlib's `MultiAgentEnv`: agents by name,
any mapping to modules. `JOINT` is a single-agent environment whose action and
observation are those of all agents, for modules that hold one policy per agent
(`gradmap.baselines.rllib`).
"""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from gradmap.envs.parallel import Array, Info, ParallelFeederEnv, parallel_env
from gradmap.feeders.errors import GradmapError

try:
    from ray.rllib.env.multi_agent_env import MultiAgentEnv
    from ray.tune.registry import register_env
except ImportError as error:
    raise GradmapError("RLlib is not installed; pip install 'gradmap[rllib]'") from error

MULTI_AGENT = "gradmap/ieee123-mixed-v1"
"""Name of the environment of many agents."""

JOINT = "gradmap/ieee123-mixed-joint-v1"
"""Name of the environment in which all agents are one."""

EnvConfig = Mapping[str, Any]


class MultiAgentFeederEnv(MultiAgentEnv):
    """A day on the feeder as RLlib's `MultiAgentEnv`.

    Spaces, observations, rewards and infos are those of `ParallelFeederEnv`.
    Every agent acts at every step, and all of them end with the day, by
    termination. Agents stand in the order of the core, everywhere: RLlib's own
    wrapper of PettingZoo orders them by a set, so that runs differ from one
    process to the next.

    A seed means what Gymnasium says: it begins the sequence of days anew.
    RLlib's env runners use seeds otherwise, and `rllib_seeds` understands them:

    - With `batch_mode="complete_episodes"` they pass one seed at every sample,
      which would play the same days for ever. A seed equal to the last one
      therefore goes on with the days that follow.
    - Copy `i` of runner `k` gets the seed plus `i` plus `k`, so that copies of
      neighbouring runners share theirs. `worker_index` sets them apart.
    - Without a seed of one's own, RLlib's check of the environment leaves every
      copy seeded alike, with its day barely begun. A reset without a seed
      before the first seeded day has ended therefore draws a new one.

    Args:
        env: The environment of PettingZoo, which it plays.
        split: Split that days are drawn from: RLlib passes no reset options.
        rllib_seeds: Whether seeds are those of RLlib's env runners.
        worker_index: Number of the env runner; 0 leaves seeds as they are, so
            that days are those of the other adapters.
    """

    def __init__(
        self,
        env: ParallelFeederEnv,
        split: str = "train",
        *,
        rllib_seeds: bool = False,
        worker_index: int = 0,
    ) -> None:
        self.env = env
        self.split = split
        self.possible_agents = list(env.possible_agents)
        self.agents = list(env.possible_agents)
        self.observation_spaces = env.observation_spaces
        self.action_spaces = env.action_spaces
        # RLlib writes into this dictionary; PettingZoo's is shared by the class.
        self.metadata = dict(env.metadata)
        self.render_mode = env.render_mode
        self._rllib_seeds = rllib_seeds
        self._worker_index = worker_index
        self._last_seed: int | None = None
        self._is_first_seeded_day = False
        super().__init__()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Info]]:
        """Begins a day.

        Args:
            seed: Seeds the choice of days from here on; see the class.
            options: Those of `ParallelFeederEnv.reset`; `split` is the
                environment's own if they do not say.

        Returns:
            Observations and infos by agent.

        Raises:
            GradmapError: If the split or the day is unknown.
        """
        observations, infos = self.env.reset(
            seed=self._translated(seed), options={"split": self.split, **(options or {})}
        )
        return observations, infos

    def step(
        self, action_dict: dict[str, Array]
    ) -> tuple[
        dict[str, Array], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Info]
    ]:
        """Moves every agent by one step.

        Args:
            action_dict: An action for every agent. `[1]` each, or `[2]`

        Returns:
            Observations, rewards, terminations, truncations, infos by agent.
            The key `__all__` of terminations tells whether the day is over;
            that of truncations is always False.

        Raises:
            GradmapError: As `ParallelFeederEnv.step`.
        """
        observations, rewards, terminations, truncations, infos = self.env.step(action_dict)
        is_over = not self.env.agents
        self._is_first_seeded_day &= not is_over
        terminations["__all__"] = is_over
        truncations["__all__"] = False
        return observations, rewards, terminations, truncations, infos

    def render(self) -> Array | None:
        """Draws the feeder; see `ParallelFeederEnv.render`."""
        return self.env.render()

    def close(self) -> None:
        """Releases nothing: the environment holds no window and no process."""
        self.env.close()

    def _translated(self, seed: int | None) -> int | None:
        """What a seed that RLlib gives means to PettingZoo's environment."""
        if not self._rllib_seeds:
            return seed
        if seed is None:
            is_left_by_the_check, self._is_first_seeded_day = self._is_first_seeded_day, False
            return secrets.randbits(32) if is_left_by_the_check else None
        if seed == self._last_seed:
            return None
        self._last_seed, self._is_first_seeded_day = seed, True
        if self._worker_index == 0:
            return seed
        mixed = np.random.SeedSequence((seed, self._worker_index))
        return int(mixed.generate_state(1)[0])


def make_multi_agent_env(env_config: EnvConfig) -> MultiAgentFeederEnv:
    """Makes what `MULTI_AGENT` names.

    On training days seeds are understood as RLlib's, and days never repeat
    before all have been played; on other days a seed that comes again brings
    the same days again, so that evaluations are alike.

    Args:
        env_config: Arguments of `gradmap.parallel_env`, and `split`, `train`
            by default; RLlib adds the number of the env runner.

    Returns:
        The environment.

    Raises:
        GradmapError: If there is an unknown key, or an argument is wrong.
    """
    _refuse_unknown(env_config, parallel_env, "split")
    arguments = dict(env_config)
    split = arguments.pop("split", "train")
    return MultiAgentFeederEnv(
        parallel_env(**arguments),
        split,
        rllib_seeds=split == "train",
        worker_index=getattr(env_config, "worker_index", None) or 0,
    )


def make_joint(
    env_config: EnvConfig,
) -> gymnasium.Env[Any, Any] | gymnasium.vector.VectorEnv[Any, Any, Any]:
    """Makes what `JOINT` names.

    Seeds are Gymnasium's. RLlib's own runner gives the same one at every sample
    with `batch_mode="complete_episodes"`, and then plays the same days again;
    with `truncate_episodes` it seeds once.

    Args:
        env_config: Arguments of `gradmap.envs.vector.make_joint_env`; rewards
            are per agent unless `per_agent` says otherwise. RLlib adds
            `num_envs` where `gym_env_vectorize_mode` is `vector_entry_point`.

    Returns:
        That many days in one batch, or one day where `num_envs` is absent.

    Raises:
        GradmapError: If there is an unknown key, or an argument is wrong.
    """
    from gradmap.envs.vector import make_joint_env, make_joint_vector_env

    _refuse_unknown(env_config, make_joint_env, "num_envs")
    arguments = {"per_agent": True, **env_config}
    num_envs = arguments.pop("num_envs", None)
    if num_envs is None:
        return make_joint_env(**arguments)
    return make_joint_vector_env(num_envs, **arguments)


def _refuse_unknown(env_config: EnvConfig, maker: Callable[..., Any], *more: str) -> None:
    known = {*inspect.signature(maker).parameters, *more}
    if unknown := sorted(set(env_config) - known):
        raise GradmapError(
            f"env_config: unknown {', '.join(unknown)}; expected some of {', '.join(sorted(known))}"
        )


def register() -> None:
    """Registers both environments with ray.

    Importing the module does. Call it again after `ray.shutdown` and another
    `ray.init`: the registry ends with the cluster.
    """
    register_env(MULTI_AGENT, make_multi_agent_env)
    register_env(JOINT, make_joint)


register()

"""A game that costs next to nothing, for timing what surrounds an environment in RLlib.

Agents see random numbers and gain -(action - tanh(weights . seen))^2, each with
weights of its own. It comes in the two forms in which RLlib takes the feeder:
all agents as one, a batch of episodes at a time, and many agents by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.tune.registry import register_env

NUM_FEATURES = 12
"""Length of an agent's observation."""

NUM_STATE = 32
"""Length of what a central critic sees besides."""

NUM_STEPS = 48
"""Steps of an episode."""

TYPES = ("battery", "heat_pump", "generator")
"""Device types, as in the names of agents; each has a third of the agents."""

JOINT = "gradmap/bench-joint"
"""Name of `JointGame` in RLlib."""

MANY = "gradmap/bench-many"
"""Name of `ManyAgentGame` in RLlib."""

Array = npt.NDArray[np.float32]


def agent_names(num_agents: int) -> list[str]:
    """Names of the agents, such as `heat_pump_0007`, type by type.

    Args:
        num_agents: Their number.
    """
    return [f"{TYPES[i * len(TYPES) // num_agents]}_{i:04d}" for i in range(num_agents)]


class Game:
    """The game of a batch of episodes that begin and end together.

    Args:
        num_agents: Agents of an episode.
        num_envs: Episodes.

    Attributes:
        seen: What the agents see. `[episode, agent, feature]`
        state: What a central critic sees besides. `[episode, entry]`
        step: Steps played.
    """

    seen: Array
    state: Array

    def __init__(self, num_agents: int, num_envs: int) -> None:
        self._shape = num_envs, num_agents, NUM_FEATURES
        weights = np.random.default_rng(0).normal(size=self._shape[1:]) / NUM_FEATURES**0.5
        self._weights = weights.astype(np.float32)
        self._random = np.random.default_rng()
        self.step = 0

    @property
    def is_over(self) -> bool:
        """Whether the episodes have ended."""
        return self.step == NUM_STEPS

    def begin(self, seed: int | None = None) -> None:
        """Begins the episodes.

        Args:
            seed: Seed of all that is random from here on; None goes on as before.
        """
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self.step = 0
        self._look()

    def play(self, actions: Array) -> Array:
        """Plays a step and returns the rewards. `[episode, agent]`

        Args:
            actions: Actions. `[episode, agent]`
        """
        target = np.tanh((self._weights * self.seen).sum(-1))
        self.step += 1
        self._look()
        rewards: Array = -np.square(actions - target)
        return rewards

    def _look(self) -> None:
        self.seen = self._random.standard_normal(self._shape, np.float32)
        self.state = self._random.standard_normal((self._shape[0], NUM_STATE), np.float32)


class JointGame(gymnasium.vector.VectorEnv[dict[str, Array], Array, Array]):
    """The game of all agents as one, with spaces and rewards as `JointVectorEnv` per agent.

    Args:
        num_agents: Agents.
        num_envs: Episodes of the batch.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, num_agents: int, num_envs: int) -> None:
        self.num_envs = num_envs
        self.game = Game(num_agents, num_envs)
        agents = Box(-np.inf, np.inf, (num_agents, NUM_FEATURES), np.float32)
        state = Box(-np.inf, np.inf, (NUM_STATE,), np.float32)
        self.single_observation_space = Dict(agents=agents, state=state)
        self.single_action_space = Box(-1.0, 1.0, (num_agents, 1), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._zeros = np.zeros((num_envs, num_agents), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Begins the episodes; see `gymnasium.vector.VectorEnv.reset`."""
        self.game.begin(seed)
        return self._observe(), {}

    def step(
        self, actions: Array
    ) -> tuple[dict[str, Array], Array, npt.NDArray[Any], npt.NDArray[Any], dict[str, Any]]:
        """Plays a step, or begins the next episodes after an end. Rewards: `[episode, agent]`"""
        never = np.zeros(self.num_envs, np.bool_)
        if self.game.is_over:
            self.game.begin()
            return self._observe(), self._zeros, never, never.copy(), {}
        rewards = self.game.play(actions[..., 0])
        ended = np.full(self.num_envs, self.game.is_over)
        return self._observe(), rewards, ended, never, {}

    def _observe(self) -> dict[str, Array]:
        return {"agents": self.game.seen, "state": self.game.state}


class ManyAgentGame(MultiAgentEnv):
    """One episode of the game as RLlib's `MultiAgentEnv`.

    Args:
        num_agents: Agents.
    """

    def __init__(self, num_agents: int) -> None:
        self.game = Game(num_agents, 1)
        self.possible_agents = agent_names(num_agents)
        self.agents = list(self.possible_agents)
        seen = Box(-np.inf, np.inf, (NUM_FEATURES,), np.float32)
        action = Box(-1.0, 1.0, (1,), np.float32)
        self.observation_spaces = dict.fromkeys(self.possible_agents, seen)
        self.action_spaces = dict.fromkeys(self.possible_agents, action)
        super().__init__()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Begins the episode; see `MultiAgentEnv.reset`."""
        self.game.begin(seed)
        self.agents = list(self.possible_agents)
        return self._observe(), {}

    def step(
        self, action_dict: Mapping[str, Array]
    ) -> tuple[
        dict[str, Array], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]
    ]:
        """Plays a step; see `MultiAgentEnv.step`."""
        names = self.possible_agents
        (rewards,) = self.game.play(np.stack([action_dict[name] for name in names], axis=1))
        is_over = self.game.is_over
        if is_over:
            self.agents = []
        ended = {**dict.fromkeys(names, is_over), "__all__": is_over}
        never = {**dict.fromkeys(names, False), "__all__": False}
        by_name = dict(zip(names, rewards.tolist(), strict=True))
        return self._observe(), by_name, ended, never, {}

    def _observe(self) -> dict[str, Array]:
        return dict(zip(self.possible_agents, self.game.seen[0], strict=True))


def register() -> None:
    """Registers both forms with ray; `env_config` holds `num_agents`."""
    register_env(JOINT, lambda config: JointGame(config["num_agents"], config["num_envs"]))
    register_env(MANY, lambda config: ManyAgentGame(config["num_agents"]))

"""All agents as one, a day at a time: Gymnasium's environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from gradmap.envs.core import Core
from gradmap.envs.joint_batch import Array, Info, JointVectorEnv, Observations
from gradmap.envs.reward import RewardConfig
from gradmap.envs.state import State
from gradmap.feeders.errors import GradmapError


class JointEnv(gymnasium.Env[Observations, Array]):
    """A day as one Gymnasium `Env`: `JointVectorEnv` with one episode and no batch axis.

    With the same seed it plays the same days as the PettingZoo environment.

    Args:
        core: The environment.
        reward: How violations are priced in the reward.
        per_agent: Whether the reward is an array, `[agent]`, in place of the
            sum. Gymnasium's own wrappers expect the sum.
        render_mode: `rgb_array` or None.

    Attributes:
        core: The environment.
        calendar: Chooses the days.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium's own declaration)
        "render_modes": ["rgb_array"],
        "render_fps": 8,
    }

    def __init__(
        self,
        core: Core,
        reward: RewardConfig | None = None,
        per_agent: bool = False,
        render_mode: str | None = None,
    ) -> None:
        self._batch = JointVectorEnv(core, 1, reward, per_agent, render_mode)
        self.core = core
        self.calendar = self._batch.calendar
        self.render_mode = render_mode
        self.observation_space = self._batch.single_observation_space
        self.action_space = self._batch.single_action_space

    @property
    def state(self) -> State | None:
        """Where the episode is; None before the first `reset`. Batch of 1"""
        return self._batch.state

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, Info]:
        """Begins a day; see `JointVectorEnv.reset`."""
        super().reset(seed=seed)
        observations, infos = self._batch.reset(seed=seed, options=options)
        return _first(observations), _first(infos)

    def step(self, action: Array) -> tuple[Observations, Any, bool, bool, Info]:
        """Moves the episode by one step.

        Args:
            action: Every agent's action. `[agent, number]`

        Returns:
            Observation; reward, a float in $ or float32 `[agent]`; whether the
            day is over; False; info.

        Raises:
            GradmapError: If the day is over or has not begun, or the action
                has another shape or is not finite.
        """
        state = self._batch.state
        if state is None or self.core.is_done(state):
            raise GradmapError("the day is over or has not begun; call reset first")
        batched = np.expand_dims(np.asarray(action), 0)
        observations, rewards, ended, _, infos = self._batch.step(batched)
        reward = rewards[0] if self._batch.per_agent else float(rewards[0])
        return _first(observations), reward, bool(ended[0]), False, _first(infos)

    def render(self) -> Any:
        """Draws the feeder coloured by voltage. `[height, width, 3]`, uint8"""
        frames = self._batch.render()
        return None if frames is None else frames[0]


def _first(entries: dict[str, Any]) -> dict[str, Any]:
    """The only episode of a batch, masks left out, scalars as Python's own."""
    return {
        name: value[0].item() if value.ndim == 1 else value[0]
        for name, value in entries.items()
        if not name.startswith("_")
    }

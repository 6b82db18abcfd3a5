"""All agents as one, a batch of days: Gymnasium's vector environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from gradmap.envs.constraints import Violations, violations
from gradmap.envs.core import Core
from gradmap.envs.days import Calendar
from gradmap.envs.outcome import Outcome
from gradmap.envs.render import check_render_mode, draw_state
from gradmap.envs.reward import RewardConfig, reward_terms
from gradmap.envs.state import State
from gradmap.feeders.errors import GradmapError

Array = npt.NDArray[Any]
Observations = dict[str, Array]
Info = dict[str, Any]


def joint_spaces(core: Core) -> tuple[Dict, Box]:
    """Returns the spaces of one episode.

    Args:
        core: The environment.

    Returns:
        Observations: `agents`, what every agent sees, `[agent, feature]`, and
        `state`, what a central critic may see, `[num_global_features]`, both
        float32. Actions: `[agent, number]` float32 in [-1, 1], the numbers
        being `Core.num_actions`: one, or two where reactive power is free.
    """
    agents = Box(-np.inf, np.inf, (core.num_agents, core.num_features), np.float32)
    state = Box(-np.inf, np.inf, (core.num_global_features,), np.float32)
    shape = (core.num_agents, core.num_actions)
    return Dict(agents=agents, state=state), Box(-1.0, 1.0, shape, np.float32)


class JointVectorEnv(gymnasium.vector.VectorEnv[Observations, Array, Array]):
    """A batch of days as one Gymnasium `VectorEnv`: one batched power flow a step.

    The agents' own rewards (see `gradmap.envs.reward`) sum to that of the
    team; infos then hold, as arrays over the episodes with Gymnasium's masks,

    - `agent_rewards`: each agent's part, $. `[batch, agent]`
    - `over_pu`, `under_pu`, `overload`: violations, summed over nodes or branches;
    - `cost_usd`: what the step cost all agents, violations apart;
    - `converged`: whether the power flow did;

    and the `date` of each day that begins. All days end together, by
    termination, since the time is observed; then the next call of `step` looks
    at no actions, begins the next days and returns their first observations
    with reward 0 (Gymnasium's `NEXT_STEP`). They come from the split that the
    last `reset` named.

    Args:
        core: The environment.
        num_envs: Episodes in the batch.
        reward: How violations are priced in the reward.
        per_agent: Whether rewards are those of the agents, not their sum;
            infos are then empty.
        render_mode: `rgb_array` or None.

    Attributes:
        core: The environment.
        calendar: Chooses the days.
        state: Where the episodes are; None before the first `reset`.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium's own declaration)
        "autoreset_mode": AutoresetMode.NEXT_STEP,
        "render_modes": ["rgb_array"],
        "render_fps": 8,
    }

    def __init__(
        self,
        core: Core,
        num_envs: int,
        reward: RewardConfig | None = None,
        per_agent: bool = False,
        render_mode: str | None = None,
    ) -> None:
        check_render_mode(render_mode)
        self.core = core
        self.calendar = Calendar(core, num_envs)
        self.num_envs = num_envs
        self.reward = reward or RewardConfig()
        self.per_agent = per_agent
        self.render_mode = render_mode
        self.single_observation_space, self.single_action_space = joint_spaces(core)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.state: State | None = None
        self._split = "train"
        self._v_pu: Tensor | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, Info]:
        """Begins a day in every episode.

        Args:
            seed: Seeds the choice of all days from here on.
            options: `split` (`train` by default) to draw days from, also after
                these, or `day`, to take just that; see `Calendar.choose`.

        Returns:
            Observations `[batch, ...]` and infos.

        Raises:
            GradmapError: If the split or a day is unknown.
        """
        super().reset(seed=seed)
        if seed is not None:
            self.calendar.seed(seed)
        days = self.calendar.choose(options)
        self._split = (options or {}).get("split", "train")
        return self._begin(days)

    def _begin(self, days: Tensor) -> tuple[Observations, Info]:
        self.state = self.core.reset(days)
        self._v_pu = None
        if self.per_agent:
            return self._observe(), {}
        dates = np.array([self.core.scenarios.date[day] for day in days.tolist()])
        return self._observe(), self._masked({"date": dates})

    def step(self, actions: Array) -> tuple[Observations, Array, Array, Array, Info]:
        """Moves every episode by one step, or begins the next days after an end.

        Args:
            actions: Actions; values outside [-1, 1] count as the nearest end.
                `[batch, agent, number]`

        Returns:
            Observations; rewards, float64 `[batch]`, or float32
            `[batch, agent]` for those of the agents, $; terminations and
            truncations, bool `[batch]`; infos.

        Raises:
            GradmapError: If no day has begun, or the actions have another
                shape or are not finite.
        """
        if self.state is None:
            raise GradmapError("no day has begun; call reset first")
        ended = np.zeros(self.num_envs, np.bool_)
        if self.core.is_done(self.state):
            observations, infos = self._begin(self.calendar.choose({"split": self._split}))
            return observations, self._as_rewards(None), ended, ended.copy(), infos
        action = self._checked(actions)
        index = self.state.step
        with torch.no_grad():
            self.state, outcome = self.core.step(self.state, action)
            found = violations(outcome.flow, self.core.limits)
            rewards = self._rewards(outcome, found, index)
            infos = {} if self.per_agent else self._infos(outcome, found, rewards)
        self._v_pu = outcome.flow.v_magnitude_pu
        ended[:] = self.core.is_done(self.state)
        truncated = np.zeros_like(ended)
        return self._observe(), self._as_rewards(rewards), ended, truncated, infos

    def _rewards(self, outcome: Outcome, found: Violations, step: int) -> Tensor:
        """What every agent gets for a step, $; for subclasses to change.

        Args:
            outcome: What the step brought. `[batch, ...]`
            found: Its violations.
            step: Index in the day of the step just played.

        Returns:
            The rewards, any real dtype. `[batch, agent]`
        """
        del step
        # The terms are float32; in float64 the sums over them do not depend on their order.
        return reward_terms(outcome, found, self.reward).double().sum(-1)

    def _as_rewards(self, rewards: Tensor | None) -> Array:
        """Rewards as `step` returns them; None stands for zeros."""
        if rewards is None:
            shape = (self.num_envs, self.core.num_agents) if self.per_agent else self.num_envs
            return np.zeros(shape, np.float32 if self.per_agent else np.float64)
        found = rewards.float() if self.per_agent else rewards.double().sum(-1)
        return _numpy(found)

    def _checked(self, actions: Array) -> Tensor:
        num = self.core.num_actions
        expected = (self.num_envs, self.core.num_agents, num)
        try:
            found = np.array(actions, np.float32)  # a copy: a caller's array may be read-only
        except (TypeError, ValueError) as error:
            raise GradmapError(f"actions must be numbers of shape {expected}: {error}") from error
        if found.shape != expected:
            raise GradmapError(
                f"actions have shape {found.shape}, expected [batch, agent, {num}] = {expected}"
            )
        if not np.isfinite(found).all():
            episode, agent, _ = np.argwhere(~np.isfinite(found))[0]
            raise GradmapError(
                f"the action of {self.core.agent_names[agent]} in episode {episode} is not "
                "finite; expected -1 to 1"
            )
        whole = torch.from_numpy(found).to(self.core.device)
        return whole.reshape(self.num_envs, *self.core.action_shape)

    def _observe(self) -> Observations:
        assert self.state is not None
        with torch.no_grad():
            agents, state = self.core.observe(self.state), self.core.observe_global(self.state)
        return {"agents": _numpy(agents), "state": _numpy(state)}

    def _infos(self, outcome: Outcome, found: Violations, rewards: Tensor) -> Info:
        sums = {name: value.sum(-1) for name, value in vars(found).items()}
        sums["cost_usd"] = outcome.cost_usd.double().sum((-2, -1))
        infos = {"agent_rewards": rewards, **sums, "converged": outcome.flow.converged}
        return self._masked({name: _numpy(value) for name, value in infos.items()})

    def _masked(self, infos: Info) -> Info:
        """Adds the masks by which Gymnasium tells which episodes have an entry: all."""
        return infos | {f"_{name}": np.ones(self.num_envs, np.bool_) for name in infos}

    def render(self) -> Any:
        """Draws every episode's feeder coloured by voltage. `[height, width, 3]` uint8 each"""
        if self.render_mode is None:
            return None
        if self.state is None:
            raise GradmapError("nothing to draw yet; call reset first")
        state, v_pu = self.state, self._v_pu
        return tuple(draw_state(self.core, state, v_pu, k) for k in range(self.num_envs))


def _numpy(tensor: Tensor) -> Array:
    return tensor.cpu().numpy()

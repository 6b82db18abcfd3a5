"""The PettingZoo environment: one day, every agent by name."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.spaces import Box
from pettingzoo import ParallelEnv
from torch import Tensor

from gradmap.envs.catalog import make
from gradmap.envs.config import TaskConfig
from gradmap.envs.constraints import Violations, violations
from gradmap.envs.core import Core
from gradmap.envs.days import Calendar
from gradmap.envs.outcome import Outcome
from gradmap.envs.render import check_render_mode, draw_state
from gradmap.envs.reward import REWARD_TERMS, RewardConfig, reward_terms
from gradmap.feeders.errors import GradmapError

Array = npt.NDArray[Any]
Info = dict[str, Any]


class ParallelFeederEnv(ParallelEnv[str, Array, Array]):
    """A day on the feeder as a PettingZoo `ParallelEnv`.

    Observations are `[feature]` float32 (see `gradmap.envs.observations`),
    actions `[1]` float32 in [-1, 1], `[2]` where the task leaves reactive power to
    the agents (`Core.num_actions`). A reward is minus the agent's own cost
    minus its share of the priced violation; `info[agent]` holds

    - `reward_terms`: its parts, which sum to the reward, $;
    - `constraint_costs`: the network's violations, unpriced, the same for all:
      sums over nodes of p.u. above and below the limits, over branches of
      loading above rating;
    - `setpoint_kw`, `p_kw`: what was asked for and what the device could do, and
      `q_kvar`, reactive power drawn, where that is free;
    - `solver`: `converged`, `iterations`, `residual`;
    - where taps are alive, `taps`: position by regulator, `tap_operations`:
      positions that all of them moved by in the step, `capacitors` and
      `capacitor_operations` likewise, the same for all agents.

    The day ends by termination after its last step: the time is observed, so
    the end is part of the task.

    Args:
        core: The environment; every call steps one scenario of it.
        reward: How violations are priced in the reward.
        render_mode: `rgb_array` or None.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "ieee123_mixed_v1",
        "render_modes": ["rgb_array"],
        "render_fps": 8,
        "is_parallelizable": True,
    }

    def __init__(
        self, core: Core, reward: RewardConfig | None = None, render_mode: str | None = None
    ) -> None:
        check_render_mode(render_mode)
        self.core = core
        self.reward = reward or RewardConfig()
        self.render_mode = render_mode
        self.possible_agents = list(core.agent_names)
        self.agents: list[str] = []
        # Own copies: PettingZoo lets users seed each agent's space.
        self.observation_spaces = {
            name: Box(-np.inf, np.inf, (core.num_features,), np.float32)
            for name in self.possible_agents
        }
        self.action_spaces = {
            name: Box(-1.0, 1.0, (core.num_actions,), np.float32) for name in self.possible_agents
        }
        self._calendar = Calendar(core, 1)
        self._v_pu: Tensor | None = None

    def observation_space(self, agent: str) -> Box:
        """Returns the agent's observation space."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Box:
        """Returns the agent's action space."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Info]]:
        """Begins a day.

        Args:
            seed: Seeds the choice of days from here on.
            options: `split` (`train` by default) to draw a day from, or `day`,
                an ISO date or an index of the scenario set, to take that one;
                see `gradmap.envs.days.Calendar`.

        Returns:
            Observations and infos by agent; each info names the day's `date`.

        Raises:
            GradmapError: If the split or the day is unknown.
        """
        if seed is not None:
            self._calendar.seed(seed)
        days = self._calendar.choose(options)
        self.agents = list(self.possible_agents)
        self._state = self.core.reset(days)
        self._v_pu = None
        date = self.core.scenarios.date[int(days[0])]
        return self._observations(), {name: {"date": date} for name in self.agents}

    def step(
        self, actions: dict[str, Array]
    ) -> tuple[
        dict[str, Array], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Info]
    ]:
        """Moves every agent by one step.

        Args:
            actions: An action for every agent. `[1]` each, or `[2]`

        Returns:
            Observations, rewards, terminations, truncations, infos by agent.

        Raises:
            GradmapError: If the day is over, an agent is missing or unknown,
                or an action is not finite.
        """
        if not self.agents:
            raise GradmapError("the day is over or has not begun; call reset first")
        if actions.keys() != set(self.agents):
            missing, unknown = set(self.agents) - actions.keys(), actions.keys() - set(self.agents)
            raise GradmapError(
                f"actions for {len(missing)} agents are missing, {len(unknown)} are unknown "
                f"(such as {min(missing | unknown)!r}); expected one for each of env.agents"
            )
        action = self._joined(actions)
        with torch.no_grad():
            self._state, outcome = self.core.step(self._state, action)
            found = violations(outcome.flow, self.core.limits)
            terms = reward_terms(outcome, found, self.reward)[0].double().cpu().numpy()
        self._v_pu = outcome.flow.v_magnitude_pu
        infos = self._infos(outcome, found, terms)
        done = self.core.is_done(self._state)
        observations = self._observations()
        rewards = dict(zip(self.agents, terms.sum(-1).tolist(), strict=True))
        terminations = dict.fromkeys(self.agents, done)
        truncations = dict.fromkeys(self.agents, False)
        if done:
            self.agents = []
        return observations, rewards, terminations, truncations, infos

    def _joined(self, actions: dict[str, Array]) -> Tensor:
        """All agents' actions, checked. `[1, *action_shape]`"""
        num = self.core.num_actions
        try:
            flat = np.array([actions[name] for name in self.agents], np.float32).reshape(-1)
        except ValueError as error:
            raise GradmapError(f"actions must have shape ({num},) each: {error}") from error
        if len(flat) != num * len(self.agents):
            shape = np.shape(actions[self.agents[0]])
            raise GradmapError(f"actions must have shape ({num},) each; found {shape}")
        if not np.isfinite(flat).all():
            worst = self.agents[int((~np.isfinite(flat)).argmax()) // num]
            raise GradmapError(f"the action of {worst} is not finite; expected -1 to 1")
        whole = torch.from_numpy(flat).to(self.core.device)
        return whole.reshape(1, *self.core.action_shape)

    def _observations(self) -> dict[str, Array]:
        with torch.no_grad():
            observed = self.core.observe(self._state)[0].cpu().numpy()
        return dict(zip(self.possible_agents, observed, strict=True))

    def _infos(self, outcome: Outcome, found: Violations, terms: Array) -> dict[str, Info]:
        flow = outcome.flow
        constraint_costs = {name: float(value.sum()) for name, value in vars(found).items()}
        solver = {
            "converged": bool(flow.converged[0]),
            "iterations": int(flow.iterations[0]),
            "residual": float(flow.residual[0]),
        }
        world = self._world(outcome)
        # Where reactive power follows by rule, infos are those that there have always been.
        is_free = self.core.num_actions > 1
        reactive = [{"q_kvar": q} if is_free else {} for q in outcome.q_kvar[0].tolist()]
        rows = zip(
            self.agents,
            terms.tolist(),
            outcome.setpoint_kw[0].tolist(),
            outcome.p_kw[0].tolist(),
            reactive,
            strict=True,
        )
        return {
            name: {
                "reward_terms": dict(zip(REWARD_TERMS, parts, strict=True)),
                "constraint_costs": constraint_costs,
                "setpoint_kw": setpoint,
                "p_kw": power,
                **kvar,
                "solver": solver,
                **world,
            }
            for name, parts, setpoint, power, kvar in rows
        }

    def _world(self, outcome: Outcome) -> Info:
        """What taps and capacitors did, where they are alive."""
        if self.core.regulation is None:
            return {}
        feeder, flow = self.core.feeder, outcome.flow
        names = feeder.regulators.control, feeder.controls.capacitors.name
        return {
            "taps": dict(zip(names[0], flow.taps[0].tolist(), strict=True)),
            "tap_operations": int(outcome.tap_operations[0].sum()),
            "capacitors": dict(zip(names[1], flow.capacitors[0].tolist(), strict=True)),
            "capacitor_operations": int(outcome.capacitor_operations[0].sum()),
        }

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Draws the feeder coloured by voltage. `[height, width, 3]`, uint8"""
        if self.render_mode is None:
            return None
        if not hasattr(self, "_state"):
            raise GradmapError("nothing to draw yet; call reset first")
        return draw_state(self.core, self._state, self._v_pu)

    def close(self) -> None:
        """Releases nothing: the environment holds no window and no process."""


def parallel_env(
    task: str | TaskConfig = "ieee123-mixed-v1",
    *,
    num_agents: int | None = None,
    device: torch.device | str = "cpu",
    seed: int | None = None,
    reward: RewardConfig | None = None,
    render_mode: str | None = None,
) -> ParallelFeederEnv:
    """Makes the PettingZoo environment of a task.

    Args:
        task: Name of a published task, or a configuration of one's own.
        num_agents: Number of agents, in place of the task's.
        device: Torch device of the core.
        seed: Seed of the fleet, in place of the task's.
        reward: How violations are priced in the reward.
        render_mode: `rgb_array` or None.

    Returns:
        The environment.

    Raises:
        GradmapError: If the task is unknown.
    """
    core = make(task, num_agents=num_agents, batch_size=1, device=device, seed=seed)
    return ParallelFeederEnv(core, reward, render_mode)

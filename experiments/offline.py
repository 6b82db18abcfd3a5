"""A policy some of whose agents are out of reach."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gradmap.baselines.idle import IDLE_ACTION
from gradmap.envs.core import Core
from gradmap.envs.observations import FEATURES
from gradmap.envs.policy import Policy
from gradmap.envs.scenarios.stress import offline_agents

_OWN_STATE = FEATURES.index("own_state")


class OfflinePolicy:
    """Puts a policy's decision through to those agents alone that are in reach.

    A battery or generator that is out of reach rests: it draws and feeds
    nothing. A heat pump falls back on its own thermostat, as real ones do:
    full power at the lower edge of the comfort band, off from a quarter of
    the band up. None of it depends on the method.

    Args:
        policy: The policy; it is not told who is offline.
        core: The environment.
        share: Share of the agents that are offline on each day; who, the date
            decides, see `gradmap.envs.scenarios.stress.offline_agents`.
    """

    def __init__(self, policy: Policy, core: Core, share: float) -> None:
        self._policy = policy
        self._core = core
        self._share = share
        kinds = core.agent_kinds
        self._rest = torch.tensor([IDLE_ACTION[kind] for kind in kinds], device=core.device)
        self._is_pump = torch.tensor([k == "heat_pump" for k in kinds], device=core.device)

    def reset(self, days: Tensor) -> None:
        """Begins a batch of days; see `Policy.reset`."""
        dates = [self._core.scenarios.date[day] for day in days.tolist()]
        drawn = [offline_agents(date, self._core.num_agents, self._share) for date in dates]
        self._is_offline = torch.tensor(np.stack(drawn), device=self._core.device)
        self._policy.reset(days)

    def act(self, observation: Tensor) -> Tensor:
        """Returns the policy's actions, and what those offline do; see `Policy.act`."""
        # -1 at the lower edge of the band, 1 at the upper: full power at -1, off at -0.5.
        thermostat = (-3.0 - 4.0 * observation[..., _OWN_STATE]).clamp(-1.0, 1.0)
        fallback = torch.where(self._is_pump, thermostat, self._rest)
        fallback = self._core.whole_action(fallback)
        is_offline = self._core.whole_action(self._is_offline, self._is_offline)
        return torch.where(is_offline, fallback, self._policy.act(observation))

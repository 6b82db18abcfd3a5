"""RLlib's environment runner for joint observations and a reward per agent."""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner


class JointEnvRunner(SingleAgentEnvRunner):
    """RLlib's runner of single-agent episodes, whose rewards are `[agent]`.

    It logs the mean over agents as an episode's return, and seeds the
    environment once: RLlib's own runner seeds it again at the start of every
    batch of whole episodes, which would sample the same days over and over.
    """

    def sample(self, **kwargs: Any) -> list[Any]:
        """Samples episodes; see `SingleAgentEnvRunner.sample`.

        Args:
            kwargs: Passed on.
        """
        samples: list[Any] = super().sample(**kwargs)
        self._seed = None
        return samples

    def _log_episode_metrics(self, length: int, ret: Any, sec: float) -> None:
        super()._log_episode_metrics(length, float(np.mean(ret)), sec)

"""From episodes to a batch: advantages and value targets of every agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from gradmap.baselines.advantages import generalised_advantages
from gradmap.baselines.rllib.learners import mean_over_learners
from gradmap.baselines.rllib.module import StackedPPOModule
from gradmap.feeders.errors import GradmapError

KEPT = (Columns.ACTION_LOGP, Columns.ACTION_DIST_INPUTS)
"""What sampling noted and learning needs."""


class JointBatchAndGAE(ConnectorV2):
    """Turns episodes of joint observations and rewards per agent into one batch.

    The only connector of the learner: RLlib's own take a scalar reward.
    Episodes with a reward that is not finite are left out: a power flow in
    them has failed. Advantages are standardised for each agent alone.

    Args:
        input_observation_space: As RLlib gives it.
        input_action_space: As RLlib gives it.
        discount: Discount of a step.
        gae_lambda: Decay of the estimators' weights.
        normalise_values: Whether value targets are scaled by a running mean
            and deviation.
    """

    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        discount: float,
        gae_lambda: float,
        normalise_values: bool,
    ) -> None:
        super().__init__(input_observation_space, input_action_space)
        self.discount = discount
        self.gae_lambda = gae_lambda
        self.normalise_values = normalise_values

    @torch.no_grad()
    def __call__(
        self, *, rl_module: Any, episodes: Sequence[Any], batch: dict[str, Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Makes the batch; called by RLlib.

        Args:
            rl_module: The learner's modules, of which there is one.
            episodes: Episodes, whole or cut.
            batch: Left aside: it is empty.
            kwargs: Whatever else RLlib passes.

        Returns:
            The batch of the one module: columns `[sample, ...]`, samples in
            the order of episodes and steps.

        Raises:
            GradmapError: If no episode can be used.
        """
        ((module_id, module),) = rl_module.items()
        net: StackedPPOModule = module.unwrapped()
        usable = [e for e in episodes if np.isfinite(e.get_rewards()).all()]
        if not usable:
            raise GradmapError(
                f"no power flow converged through any of the {len(episodes)} days of the batch; "
                "lower the agents' power or the exploration's deviation"
            )
        columns = [_columns(episode, net.log_std.device) for episode in usable]
        whole = {name: torch.cat([c[name] for c in columns]) for name in columns[0]}
        values = net.compute_values({Columns.OBS: {k: whole.pop(k) for k in ("agents", "state")}})
        result = self._with_advantages(net, usable, columns, values)
        return {module_id: result}

    def _with_advantages(
        self,
        net: StackedPPOModule,
        episodes: Sequence[Any],
        columns: Sequence[dict[str, Tensor]],
        values: Tensor,
    ) -> dict[str, Any]:
        """Adds advantages and value targets, and drops each episode's last observation."""
        parts = values.split([len(episode) + 1 for episode in episodes])
        advantages, targets = [], []
        for episode, own, before in zip(episodes, columns, parts, strict=True):
            if episode.is_terminated:
                before = torch.cat((before[:-1], torch.zeros_like(before[-1:])))
            gained = generalised_advantages(own["rewards"], before, self.discount, self.gae_lambda)
            advantages.append(gained)
            targets.append(gained + before[:-1])
        advantage, target = torch.cat(advantages), torch.cat(targets)
        if self.normalise_values:
            mean = mean_over_learners(target.mean(0))
            net.value_scale.update(mean, mean_over_learners(target.square().mean(0)))
        spread = advantage.std(0, correction=0).clamp_min(1e-4)

        def joined(name: str) -> Tensor:
            steps = [own[name][: len(e)] for e, own in zip(episodes, columns, strict=True)]
            return torch.cat(steps)

        return {
            Columns.OBS: {"agents": joined("agents"), "state": joined("state")},
            Columns.ACTIONS: joined(Columns.ACTIONS),
            **{name: joined(name) for name in KEPT},
            Postprocessing.ADVANTAGES: (advantage - advantage.mean(0)) / spread,
            Postprocessing.VALUE_TARGETS: net.value_scale.normalise(target),
        }


def _columns(episode: Any, device: torch.device) -> dict[str, Tensor]:
    """An episode's columns as tensors; observations have one row more than the rest."""

    def tensor(array: Any) -> Tensor:
        # What Ray hands over is read-only, which tensors cannot be.
        return torch.as_tensor(np.require(array, requirements="W"), device=device)

    steps = slice(0, len(episode))
    seen = episode.get_observations(slice(0, len(episode) + 1))
    return {
        "agents": tensor(seen["agents"]),
        "state": tensor(seen["state"]),
        "rewards": tensor(episode.get_rewards(steps)).to(torch.float32),
        Columns.ACTIONS: tensor(episode.get_actions(steps)),
        **{name: tensor(episode.get_extra_model_outputs(name, steps)) for name in KEPT},
    }

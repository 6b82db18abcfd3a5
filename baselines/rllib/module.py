"""All agents' independent policies and critics as one RLlib module."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from gradmap.algorithms.networks import Actors, warm_up
from gradmap.baselines.rllib.critics import (
    CentralCritic,
    CentralCriticPerAgent,
    LocalCritic,
    ValueScale,
)


class StackedPPOModule(TorchRLModule, InferenceOnlyAPI, ValueFunctionAPI):
    """A Gaussian policy and a critic for every agent, stacked along an agent axis.

    No weight of a policy is shared and no path joins two policies: one module
    holds what would be a module per agent, so that one batched product serves
    all. The actors are `gradmap.algorithms.networks.Actors`, with exploration
    before their last tangent (see `SquashActions`), its deviation one number
    per agent and number of its action. RLlib's diagonal Gaussian reduces only
    the last axis, so log-probabilities and entropies are `[batch, agent]`.

    Observations are a dictionary of `agents` `[batch, agent, feature]` and
    `state` `[batch, entry]`, actions `[batch, agent, number]`.

    `model_config` holds `hidden`, `critic`, `critic_hidden` and
    `log_std_initial` as in `PPOSettings`, and the `seed` of the initial weights.
    """

    def setup(self) -> None:
        """Builds the networks; called by RLlib."""
        config: dict[str, Any] = self.model_config
        num_agents, num_features = self.observation_space["agents"].shape
        num_actions = self.action_space.shape[-1]
        generator = torch.Generator().manual_seed(config["seed"])
        hidden, critic_hidden = tuple(config["hidden"]), tuple(config["critic_hidden"])
        self.actors = Actors(num_agents, num_features, hidden, generator, num_actions)
        start = torch.full((num_agents, num_actions), float(config["log_std_initial"]))
        self.log_std = nn.Parameter(start)
        if self.inference_only:
            return
        self.critic: nn.Module
        if config["critic"] == "local":
            self.critic = LocalCritic(num_agents, num_features, critic_hidden, generator)
        else:
            (num_state,) = self.observation_space["state"].shape
            is_shared = config["critic"] == "central"
            kind = CentralCritic if is_shared else CentralCriticPerAgent
            self.critic = kind(num_agents, num_features, num_state, critic_hidden, generator)
        self.value_scale = ValueScale(num_agents)
        warm_up(self)

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        return len(self.log_std)

    def get_non_inference_attributes(self) -> list[str]:
        """Names of what acting does not need; see RLlib's `InferenceOnlyAPI`."""
        return ["critic", "value_scale"]

    def policy_parameters(self) -> list[nn.Parameter]:
        """Parameters of the policies; the first axis is the agent."""
        return [*self.actors.parameters(), self.log_std]

    def shared_parameters(self) -> list[nn.Parameter]:
        """Parameters that belong to no single agent: the trunk of a central critic."""
        trunk = getattr(self.critic, "trunk", None)
        return [] if trunk is None else list(trunk.parameters())

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        seen = batch[Columns.OBS]["agents"].transpose(0, 1)
        mean = self.actors.unsquashed(seen).transpose(0, 1)
        mean = mean.unsqueeze(-1) if mean.ndim == 2 else mean
        inputs = torch.cat((mean, self.log_std.expand_as(mean)), dim=-1)
        return {Columns.ACTION_DIST_INPUTS: inputs}

    def scaled_values(self, observation: dict[str, Tensor]) -> Tensor:
        """Values on the critics' own scale. `[batch, agent]`

        Args:
            observation: `agents` and `state`.
        """
        seen = observation["agents"].transpose(0, 1)
        values: Tensor = self.critic(seen, observation["state"])
        return values.transpose(0, 1)

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Values in $; see RLlib's `ValueFunctionAPI`. `[batch, agent]`

        Args:
            batch: With observations.
            embeddings: Left aside: policy and critic share nothing.
        """
        return self.value_scale.denormalise(self.scaled_values(batch[Columns.OBS]))

"""One policy and its critic as an RLlib module, for the layout that RLlib's users know."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from gradmap.algorithms.networks import Actors, StackedMLP


class AgentPPOModule(TorchRLModule, InferenceOnlyAPI, ValueFunctionAPI):
    """A Gaussian policy and a critic of one agent's observation.

    The networks are those of one agent of `StackedPPOModule`: an actor, with
    exploration before its last tangent (see `SquashActions`), a deviation for
    each number of its action, and a critic of its own.

    Observations are `[batch, feature]`, actions `[batch, number]`. `model_config`
    holds `hidden`, `critic_hidden` and `log_std_initial` as in `PPOSettings`.
    """

    def setup(self) -> None:
        """Builds the networks; called by RLlib."""
        config: dict[str, Any] = self.model_config
        (num_features,) = self.observation_space.shape
        (num_actions,) = self.action_space.shape
        # RLlib seeds torch before it builds modules: each draws weights of its own.
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        hidden = tuple(config["hidden"])
        self.actor = Actors(1, num_features, hidden, generator, num_actions)
        start = torch.full((num_actions,), float(config["log_std_initial"]))
        self.log_std = nn.Parameter(start)
        self.critic = StackedMLP(
            1, num_features, tuple(config["critic_hidden"]), 1, generator, gain=1.0
        )

    def get_non_inference_attributes(self) -> list[str]:
        """Names of what acting does not need; see RLlib's `InferenceOnlyAPI`."""
        return ["critic"]

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        mean = self.actor.unsquashed(batch[Columns.OBS].unsqueeze(0))[0]
        mean = mean.unsqueeze(-1) if mean.ndim == 1 else mean
        inputs = torch.cat((mean, self.log_std.expand_as(mean)), dim=-1)
        return {Columns.ACTION_DIST_INPUTS: inputs}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Values in $; see RLlib's `ValueFunctionAPI`. `[batch]`

        Args:
            batch: With observations.
            embeddings: Left aside: policy and critic share nothing.
        """
        values: Tensor = self.critic(batch[Columns.OBS].unsqueeze(0))
        return values[0, :, 0]

"""Critics of many agents, agent first: each maps observations to a value per agent.

All weights of an agent lie in row `agent` of their tensors, but for the trunk
of the central critic, which is what the agents share during training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gradmap.algorithms.networks import StackedLinear, StackedMLP

HEAD_WIDTH = 16
"""Width of the one hidden layer of each agent's head on a central trunk."""


class LocalCritic(nn.Module):
    """A value network per agent, over what the agent itself sees.

    Args:
        num_agents: Number of agents.
        num_features: Length of an observation.
        hidden: Widths of the hidden layers.
        generator: Source of the initial weights.
    """

    def __init__(
        self,
        num_agents: int,
        num_features: int,
        hidden: tuple[int, ...],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.net = StackedMLP(num_agents, num_features, hidden, 1, generator, gain=1.0)

    def forward(self, seen: Tensor, state: Tensor) -> Tensor:
        """Values of each agent's own samples.

        Args:
            seen: Observations. `[agent, sample, feature]`
            state: State of the whole feeder, left aside. `[sample, entry]`

        Returns:
            Values. `[agent, sample]`
        """
        value: Tensor = self.net(seen)
        return value.squeeze(-1)


class CentralCritic(nn.Module):
    """A trunk over the state of the feeder, and a head for each agent.

    A head sees the trunk's features and its agent's own observation: through
    the trunk alone the stored energy of one battery among a thousand would
    never reach the value of that battery. The trunk's part of all heads is
    one product, so that no feature is copied for each agent.

    Args:
        num_agents: Number of agents.
        num_features: Length of an observation.
        num_state: Length of the state.
        hidden: Widths of the trunk.
        generator: Source of the initial weights.
    """

    def __init__(
        self,
        num_agents: int,
        num_features: int,
        num_state: int,
        hidden: tuple[int, ...],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [_linear(num_state, size, generator), nn.SiLU()]
            num_state = size
        self.trunk = nn.Sequential(*layers)
        self.own = StackedLinear(num_agents, num_features, HEAD_WIDTH, 1.0, generator)
        self.joint = StackedLinear(num_agents, hidden[-1], HEAD_WIDTH, 1.0, generator)
        self.head = StackedLinear(num_agents, HEAD_WIDTH, 1, 1.0, generator)

    def forward(self, seen: Tensor, state: Tensor) -> Tensor:
        """Values of every agent; see `LocalCritic.forward`."""
        features = self.trunk(state)
        num_agents, width, out = self.joint.weight.shape
        flat = self.joint.weight.transpose(0, 1).reshape(width, num_agents * out)
        common = (features @ flat).view(-1, num_agents, out).transpose(0, 1)
        hidden = nn.functional.silu(self.own(seen) + common + self.joint.bias)
        value: Tensor = self.head(hidden)
        return value.squeeze(-1)


class CentralCriticPerAgent(nn.Module):
    """A whole network per agent over the state of the feeder and its own observation.

    Args:
        num_agents: Number of agents.
        num_features: Length of an observation.
        num_state: Length of the state.
        hidden: Widths of the hidden layers.
        generator: Source of the initial weights.
    """

    def __init__(
        self,
        num_agents: int,
        num_features: int,
        num_state: int,
        hidden: tuple[int, ...],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.net = StackedMLP(num_agents, num_state + num_features, hidden, 1, generator, gain=1.0)

    def forward(self, seen: Tensor, state: Tensor) -> Tensor:
        """Values of every agent; see `LocalCritic.forward`."""
        both = torch.cat((state.expand(len(seen), -1, -1), seen), dim=-1)
        value: Tensor = self.net(both)
        return value.squeeze(-1)


class ValueScale(nn.Module):
    """Mean and deviation of each agent's value targets, running over the updates.

    Critics learn targets of mean 0 and deviation 1, whatever an agent's
    rewards are worth. The averages are exponential, corrected for their start.

    Args:
        num_agents: Number of agents.
        decay: Share of the past that an update keeps.
    """

    weight: Tensor
    mean: Tensor
    square: Tensor

    def __init__(self, num_agents: int, decay: float = 0.95) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("weight", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(num_agents))
        self.register_buffer("square", torch.zeros(num_agents))

    @torch.no_grad()
    def update(self, mean: Tensor, square: Tensor) -> None:
        """Takes an update's targets in.

        Args:
            mean: Mean target of each agent. `[agent]`
            square: Mean square of each agent's targets. `[agent]`
        """
        rate = 1.0 - self.decay
        self.weight.lerp_(torch.ones_like(self.weight), rate)
        self.mean.lerp_(mean, rate)
        self.square.lerp_(square, rate)

    def _location_and_scale(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation, 0 and 1 before the first update. `[agent]` each"""
        weight = self.weight.clamp_min(1e-8)
        mean = self.mean / weight
        spread = (self.square / weight - mean.square()).clamp_min(0.0).sqrt()
        # A floor in the rewards' unit, $, for an agent whose targets hardly vary.
        spread = spread.clamp_min(1e-4)
        return mean, torch.where(self.weight > 0, spread, 1.0)

    def normalise(self, value: Tensor) -> Tensor:
        """From $ to the critics' scale. `[..., agent]`"""
        mean, spread = self._location_and_scale()
        return (value - mean) / spread

    def denormalise(self, value: Tensor) -> Tensor:
        """From the critics' scale to $. `[..., agent]`"""
        mean, spread = self._location_and_scale()
        return value * spread + mean


def _linear(num_in: int, num_out: int, generator: torch.Generator) -> nn.Linear:
    """A shared layer with orthogonal weights from `generator`."""
    layer = nn.Linear(num_in, num_out)
    stacked = StackedLinear(1, num_in, num_out, 2.0**0.5, generator)
    with torch.no_grad():
        layer.weight.copy_(stacked.weight[0].T)
        layer.bias.zero_()
    return layer

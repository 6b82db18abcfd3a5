"""Independent networks, one for each agent, stacked so that one product serves all."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gradmap.algorithms.fused_layers import MIN_SAMPLES, fused_layers, fused_slope, is_fused


class StackedLinear(nn.Module):
    """One linear layer per agent; no weight is shared and no path joins agents.

    Args:
        num_agents: Number of agents.
        num_in: Inputs of each layer.
        num_out: Outputs of each layer.
        gain: Scale of the orthogonal initial weights.
        generator: Source of the draws.
    """

    def __init__(
        self, num_agents: int, num_in: int, num_out: int, gain: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        tall, short = max(num_in, num_out), min(num_in, num_out)
        # One batched factorisation: an initialiser called per agent takes minutes.
        q, r = torch.linalg.qr(torch.randn(num_agents, tall, short, generator=generator))
        q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign().unsqueeze(1)
        weight = q if num_in >= num_out else q.transpose(1, 2)
        self.weight = nn.Parameter(gain * weight.contiguous())
        self.bias = nn.Parameter(torch.zeros(num_agents, 1, num_out))

    def forward(self, x: Tensor) -> Tensor:
        """Applies every agent's layer to its own rows.

        Args:
            x: Inputs. `[agent, sample, in]`

        Returns:
            Outputs. `[agent, sample, out]`
        """
        return torch.baddbmm(self.bias, x, self.weight)


class StackedMLP(nn.Sequential):
    """A network per agent, SiLU between its layers.

    SiLU is smooth, which the gradient through observations wants, and cheaper
    than tanh on a CPU.

    Args:
        num_agents: Number of agents.
        num_in: Inputs of each network.
        hidden: Widths of the hidden layers.
        num_out: Outputs of each network.
        generator: Source of the draws.
        gain: Scale of the last layer's initial weights.
    """

    def __init__(
        self,
        num_agents: int,
        num_in: int,
        hidden: tuple[int, ...],
        num_out: int,
        generator: torch.Generator,
        gain: float = 0.01,
    ) -> None:
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [
                StackedLinear(num_agents, num_in, width, math.sqrt(2.0), generator),
                nn.SiLU(),
            ]
            num_in = width
        layers.append(StackedLinear(num_agents, num_in, num_out, gain, generator))
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Applies every agent's network to its own rows.

        Args:
            x: Inputs. `[agent, sample, in]`

        Returns:
            Outputs. `[agent, sample, out]`
        """
        parameters = list(self.parameters())
        if is_fused(x, x.shape[1], parameters):
            only = torch.zeros(1, dtype=torch.int64)
            return fused_layers(x.new_empty(1, x.shape[1], 0), x.unsqueeze(0), only, parameters)
        out: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return out

    def on_days(self, shared: Tensor, x: Tensor, days: Tensor) -> Tensor:
        """Applies the networks to the samples of some days, without copies where it can.

        Args:
            shared: The first inputs, alike for all agents, of many days; no gradient
                flows to them. `[day, step, shared]`
            x: The agents' own inputs, behind them. `[day, agent, step, own]`
            days: Which of the days. `[row]`, int64

        Returns:
            Outputs, `sample` being the steps of the days, one after the other.
            `[agent, sample, out]`
        """
        parameters = list(self.parameters())
        if is_fused(x, len(days) * x.shape[2], parameters):
            return fused_layers(shared, x, days, parameters)
        out: Tensor = self(_samples(shared, x, days))
        return out

    @torch.no_grad()
    def slope(self, shared: Tensor, x: Tensor, days: Tensor, feature: int) -> tuple[Tensor, Tensor]:
        """Derivative of the outputs by one input, carried forward beside the values.

        Half the cost of going back to all inputs for the sake of one.

        Args:
            shared: The first inputs, as in `on_days`.
            x: The own inputs, likewise.
            days: Which of the days. `[row]`, int64
            feature: Index of the input, shared ones counted first.

        Returns:
            The outputs, and their derivative. `[agent, sample, out]` each
        """
        parameters = list(self.parameters())
        if is_fused(x, len(days) * x.shape[2], parameters):
            return fused_slope(shared, x, days, parameters, feature)
        x = _samples(shared, x, days)
        moved: Tensor | None = None
        for layer in self:
            if not isinstance(layer, StackedLinear):
                moved = torch.ops.aten.silu_backward(moved, x)
            elif moved is None:
                moved = layer.weight[:, feature : feature + 1].expand(-1, x.shape[1], -1)
            else:
                moved = torch.bmm(moved, layer.weight)
            x = layer(x)
        assert moved is not None  # there is a last layer
        return x, moved


def _samples(shared: Tensor, x: Tensor, days: Tensor) -> Tensor:
    """All inputs of some days, one step after the other. `[agent, sample, in]`"""
    alike = shared[days].unsqueeze(1).expand(-1, x.shape[1], -1, -1)
    return torch.cat((alike, x[days]), dim=-1).transpose(0, 1).flatten(1, 2)


@torch.enable_grad()
def warm_up(module: nn.Module) -> None:
    """Compiles what the stacked networks in a module run, so that no clock counts it.

    Once for a machine, or for a process where nothing can be kept. Networks
    that do not take the compiled loops are left as they are.

    Args:
        module: Networks, or what contains them.
    """
    only = torch.zeros(1, dtype=torch.int64)
    for network in module.modules():
        if not isinstance(network, StackedMLP):
            continue
        parameters = list(network.parameters())
        num_agents, num_in = parameters[0].shape[:2]
        seen = torch.zeros(1, num_agents, MIN_SAMPLES, num_in, device=parameters[0].device)
        inputs = (seen[:, 0, :, :0], seen, only)
        if is_fused(seen, MIN_SAMPLES, parameters):
            torch.autograd.grad(network.on_days(*inputs).sum(), parameters)
            network.slope(*inputs, 0)


class Actors(nn.Module):
    """The actors of all agents: observation to action, one independent network each.

    Args:
        num_agents: Number of agents.
        num_features: Length of an observation.
        hidden: Widths of the hidden layers.
        generator: Source of the initial weights.
        num_actions: Numbers that an action is made of, see `Core.num_actions`.
            Where they are more than one, all that is said to be
            `[agent, sample]` below has an axis of them behind.
    """

    def __init__(
        self,
        num_agents: int,
        num_features: int,
        hidden: tuple[int, ...],
        generator: torch.Generator,
        num_actions: int = 1,
    ) -> None:
        super().__init__()
        self.net = StackedMLP(num_agents, num_features, hidden, num_actions, generator)

    def forward(self, samples: Tensor) -> Tensor:
        """Acts on each agent's own samples.

        Args:
            samples: Observations, agent first. `[agent, sample, feature]`

        Returns:
            Actions in (-1, 1). `[agent, sample]`
        """
        return torch.tanh(self.unsquashed(samples))

    def on_days(self, public: Tensor, own: Tensor, days: Tensor) -> Tensor:
        """Acts on observations of some days.

        Args:
            public: What all agents see alike, of many days. `[day, step, public]`
            own: What each sees besides. `[day, step, agent, own]`
            days: Which of the days. `[row]`, int64

        Returns:
            Actions in (-1, 1). `[row, step, agent]`
        """
        last = self.net.on_days(public, own.transpose(1, 2), days)
        return torch.tanh(_by_day(last, len(days)))

    def unsquashed(self, samples: Tensor) -> Tensor:
        """What the last layer gives, before the tangent that squashes it into (-1, 1).

        Args:
            samples: Observations, agent first. `[agent, sample, feature]`

        Returns:
            Any real numbers. `[agent, sample]`
        """
        last: Tensor = self.net(samples)
        return last.squeeze(-1)

    @torch.no_grad()
    def slope(self, public: Tensor, own: Tensor, feature: int) -> Tensor:
        """How the actions answer to one thing observed, all else equal.

        Args:
            public: What all agents see alike, of days. `[day, step, public]`
            own: What each sees besides. `[day, step, agent, own]`
            feature: Index of the feature, public ones counted first.

        Returns:
            Derivative of the action by the feature. `[day, step, agent]`
        """
        days = torch.arange(len(own), device=own.device)
        value, moved = self.net.slope(public, own.transpose(1, 2), days, feature)
        return _by_day(moved * (1.0 - value.tanh().square()), len(days))

    def reset(self, days: Tensor) -> None:
        """Begins a batch of days; the actors have no memory. See `Policy.reset`."""

    def act(self, observation: Tensor) -> Tensor:
        """Acts on a batch of observations; see `Policy.act`."""
        action: Tensor = self(observation.transpose(0, 1))
        return action.transpose(0, 1)


def _by_day(last: Tensor, num_days: int) -> Tensor:
    """What the last layer gives, `[agent, sample, out]`, as `[day, step, agent]`."""
    return last.view(len(last), num_days, -1, last.shape[2]).squeeze(-1).movedim(0, 2)

"""Gaussian policies of many agents, drawn before the tangent that ends every actor."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gradmap.algorithms.networks import Actors


class Exploring(nn.Module):
    """A `Policy` that draws each agent's action around what its actor does.

    What is drawn is the centre before the tangent plus noise, so gradients
    flow through it to observations and weights (the noise is given), and
    exploration narrows where a device is wholly on or off.

    Args:
        actors: The centres, before their tangent.
        log_std: Logarithm of each agent's deviation. `[agent, 1]`, or
            `[agent, 1, number]` where an action is several numbers
        noise: Standard normal draws of the batch of days to be played.
            `[time, batch, *Core.action_shape]`

    Attributes:
        drawn: What was drawn so far, before the tangent. `[batch, *action_shape]` each
    """

    def __init__(self, actors: Actors, log_std: nn.Parameter, noise: Tensor) -> None:
        super().__init__()
        self.actors = actors
        self.log_std = log_std
        self._noise = noise
        self.drawn: list[Tensor] = []

    def reset(self, days: Tensor) -> None:
        """Begins a batch of days; see `Policy.reset`."""
        self.drawn = []

    def act(self, observation: Tensor) -> Tensor:
        """Draws actions for a batch of observations; see `Policy.act`."""
        centre = self.actors.unsquashed(observation.transpose(0, 1)).transpose(0, 1)
        drawn = centre + self.log_std.exp().squeeze(1) * self._noise[len(self.drawn)]
        self.drawn.append(drawn)
        return torch.tanh(drawn)


def log_probability(drawn: Tensor, centre: Tensor, log_std: Tensor) -> Tensor:
    """Log-density of what was drawn, summed over the numbers of an action.

    Args:
        drawn: What was drawn. `[agent, sample]`, or `[agent, sample, number]`
        centre: Centres of the Gaussians, likewise.
        log_std: Logarithms of their deviations. `[agent, 1]`, or `[agent, 1, number]`

    Returns:
        The log-densities. `[agent, sample]`
    """
    score = (drawn - centre) * torch.exp(-log_std)
    return over_numbers(-0.5 * score.square() - log_std - 0.5 * math.log(2.0 * math.pi))


def divergence(centre_0: Tensor, log_std_0: Tensor, centre: Tensor, log_std: Tensor) -> Tensor:
    """KL divergence from Gaussians 0 to others; arguments as in `log_probability`.

    Returns:
        The divergence at each sample. `[agent, sample]`
    """
    spread = torch.exp(2.0 * (log_std_0 - log_std))
    shift = ((centre_0 - centre) * torch.exp(-log_std)).square()
    return over_numbers(log_std - log_std_0 + 0.5 * (spread + shift - 1.0))


def over_numbers(value: Tensor) -> Tensor:
    """Sums over the numbers of an action where it has several.

    Args:
        value: `[agent, sample]`, which stays as it is, or `[agent, sample, number]`.
    """
    return value if value.ndim == 2 else value.sum(-1)

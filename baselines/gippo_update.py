"""What GI-PPO makes of a batch: a step along the analytic gradient, then PPO's passes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from gradmap.baselines.clipping import clip_agents
from gradmap.baselines.gaussian import divergence, log_probability, over_numbers
from gradmap.baselines.gippo_config import GIPPOConfig


@dataclasses.dataclass(frozen=True)
class Batch:
    """Samples of all agents, agent first.

    Attributes:
        observation: What the agents saw. `[agent, sample, feature]`
        drawn: What they drew, before the tangent. `[agent, sample]`, or
            `[agent, sample, number]` where an action is several numbers
        centre: Centres that they drew around, likewise.
        log_std: Logarithm of their deviations then. `[agent, 1]`, or
            `[agent, 1, number]`
        slope: Way in which a draw had better move, of root mean square 1 for
            each agent, all its numbers together; 0 where the gradient is. As `drawn`
        advantage: Advantages, standardised for each agent. `[agent, sample]`
        target: Value targets on the critics' scale. `[agent, sample]`
    """

    observation: Tensor
    drawn: Tensor
    centre: Tensor
    log_std: Tensor
    slope: Tensor
    advantage: Tensor
    target: Tensor

    def shifted(self, alpha: Tensor) -> Tensor:
        """The alpha-policy's draws: `drawn + alpha deviation slope`.

        Args:
            alpha: Each agent's length of step. `[agent, 1]`

        Returns:
            The draws, before the tangent; as `drawn`.
        """
        length = alpha.reshape(-1, *[1] * (self.drawn.ndim - 1))
        return self.drawn + length * self.log_std.exp() * self.slope


class GaussianPolicies(nn.Module):
    """What both updates move: the actors' weights and the deviations.

    Args:
        actors: The actors, with `unsquashed`.
        log_std: Logarithm of each agent's deviation, as in `Batch`.
    """

    def __init__(self, actors: nn.Module, log_std: nn.Parameter) -> None:
        super().__init__()
        self.actors = actors
        self.log_std = log_std

    def centre(self, observation: Tensor) -> Tensor:
        """Centres at observations. `[agent, sample]`, or `[agent, sample, number]`

        Args:
            observation: Observations. `[agent, sample, feature]`
        """
        found: Tensor = self.actors.unsquashed(observation)  # type: ignore[operator]
        return found


def follow_gradient(
    policies: GaussianPolicies,
    batch: Batch,
    alpha: Tensor,
    optimiser: torch.optim.Optimizer,
    config: GIPPOConfig,
    generator: torch.Generator,
) -> None:
    """Moves the policies towards the alpha-policies, by regression on their draws.

    The noise that drew an action has to draw the shifted one, which is the
    distance of two reparameterised policies in the paper. Deviations are
    PPO's alone: shifts against the noise would soon leave none, and the ratios
    of PPO's passes grow as deviations fall. So the noise cancels, and centres
    follow the shifts.

    Args:
        policies: The policies.
        batch: The samples.
        alpha: Each agent's length of step; 0 leaves its policy as it is.
            `[agent, 1]`
        optimiser: Of the actors.
        config: Settings.
        generator: Source of the orders of samples.
    """
    scale = torch.exp(-batch.log_std)
    aims = batch.centre + (batch.shifted(alpha) - batch.drawn)
    still = (alpha.squeeze(-1) == 0).nonzero().squeeze(-1)
    actors = list(policies.actors.parameters())
    for _ in range(config.alpha_passes):
        columns = (batch.observation, aims)
        for seen, aim in _minibatches(columns, config.minibatches, generator):
            error = ((policies.centre(seen) - aim) * scale).square().mean(1)
            optimiser.zero_grad(set_to_none=True)
            error.sum().backward()
            clip_agents(actors, config.grad_clip)
            with_rows_kept(optimiser, actors, still)


@torch.no_grad()
def adapt_alpha(
    policies: GaussianPolicies, batch: Batch, alpha: Tensor, config: GIPPOConfig
) -> tuple[Tensor, Tensor]:
    """Lengthens or shortens each agent's step by what it did to the policy.

    A step was trustworthy if all of these hold, for the agent alone:

    - the share of samples whose probability ratio left PPO's clip is at most
      `alpha_range`, so that PPO still has samples to learn from;
    - the density of what was drawn over the density, under the policy that
      has moved, of where it was shifted is 1 on average, to within
      `alpha_spread`: the map from draws to shifted draws neither crowds nor
      spreads them;
    - the return of the moved policy, estimated from the samples by their
      probability ratios, is below that of the old one by no more than the
      estimate's standard error.

    Args:
        policies: The policies after the step.
        batch: The samples.
        alpha: Each agent's length of step. `[agent, 1]`
        config: Settings.

    Returns:
        The next lengths, `[agent, 1]`, and the share of each agent's samples
        outside the clip, `[agent]`.
    """
    centre = policies.centre(batch.observation)
    before = log_probability(batch.drawn, batch.centre, batch.log_std)
    ratio = torch.exp(log_probability(batch.drawn, centre, policies.log_std) - before)
    moved = log_probability(batch.shifted(alpha), centre, policies.log_std)
    crowding = torch.exp((before - moved).clamp(-10.0, 10.0)).mean(1)
    outside = ((ratio - 1.0).abs() > config.clip).float().mean(1)
    gain = ratio * batch.advantage
    error = gain.std(1, correction=0) / gain.shape[1] ** 0.5
    is_sound = (outside <= config.alpha_range) & (gain.mean(1) >= -error)
    is_sound &= (crowding - 1.0).abs() <= config.alpha_spread
    factor = torch.where(is_sound, config.alpha_growth, 1.0 / config.alpha_growth)
    return (alpha * factor.unsqueeze(-1)).clamp_max(config.alpha_max), outside


def ppo_passes(
    policies: GaussianPolicies,
    critic: nn.Module,
    batch: Batch,
    optimiser: torch.optim.Optimizer,
    config: GIPPOConfig,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """PPO's clipped passes, the ratio to the policy that drew.

    The loss is a mean over samples and a sum over agents, as in the RLlib
    baselines. A policy that has diverged further than `kl_stop` from where
    these passes began takes no further part; its critic goes on.

    Args:
        policies: The policies.
        critic: The critics, on their own scale.
        batch: The samples.
        optimiser: Of policies and critics.
        config: Settings.
        generator: Source of the orders of samples.

    Returns:
        Metrics, scalars.
    """
    with torch.no_grad():
        begin = policies.centre(batch.observation)
    log_std_0 = policies.log_std.detach().clone()
    old = log_probability(batch.drawn, batch.centre, batch.log_std)
    columns = (batch.observation, batch.drawn, old, begin, batch.advantage, batch.target)
    is_learning = torch.ones(len(batch.drawn), dtype=torch.bool, device=batch.drawn.device)
    own = [*policies.parameters(), *critic.parameters()]
    for _ in range(config.epochs):
        for part in _minibatches(columns, config.minibatches, generator):
            seen, drawn, log_p, first, advantage, target = part
            centre, log_std = policies.centre(seen), policies.log_std
            ratio = torch.exp(log_probability(drawn, centre, log_std) - log_p)
            clipped = ratio.clamp(1.0 - config.clip, 1.0 + config.clip)
            gain = torch.minimum(advantage * ratio, advantage * clipped).mean(1)
            entropy = over_numbers(log_std + 0.5 * math.log(2.0 * math.pi * math.e)).squeeze(-1)
            kl = divergence(first, log_std_0, centre, log_std).detach().mean(1)
            if config.kl_stop is not None:
                is_learning = is_learning & (kl <= config.kl_stop)
            policy_loss = torch.where(is_learning, -(gain + config.entropy_bonus * entropy), 0.0)
            values: Tensor = critic(seen, seen)
            error = (values - target).square().mean(1)
            optimiser.zero_grad(set_to_none=True)
            (policy_loss + config.value_weight * error).sum().backward()
            clip_agents(own, config.grad_clip)
            stopped = (~is_learning).nonzero().squeeze(-1)
            with_rows_kept(optimiser, list(policies.parameters()), stopped)
    return {
        "divergence": kl.mean(),
        "value_error": error.detach().mean(),
        "share_of_policies_learning": is_learning.float().mean(),
    }


def _minibatches(
    columns: Sequence[Tensor], number: int, generator: torch.Generator
) -> Iterator[list[Tensor]]:
    """Cuts columns `[agent, sample, ...]`, shuffled alike for all agents, into parts."""
    num = columns[0].shape[1]
    order = torch.randperm(num, generator=generator).to(columns[0].device)
    for rows in order.split(-(-num // number)):
        yield [column[:, rows] for column in columns]


@torch.no_grad()
def with_rows_kept(
    optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], rows: Tensor
) -> None:
    """Steps an optimiser and leaves some agents as they were, moments included.

    Without a gradient Adam would still move them.

    Args:
        optimiser: The optimiser.
        parameters: Parameters whose rows are agents.
        rows: The agents to leave. `[row]`, int64
    """
    kept = []
    if len(rows):
        for parameter in parameters:
            state = optimiser.state.get(parameter, {})
            tensors = [parameter, *(state[k] for k in ("exp_avg", "exp_avg_sq") if k in state)]
            kept += [(tensor, tensor[rows].clone()) for tensor in tensors]
    optimiser.step()
    for tensor, old in kept:
        tensor[rows] = old

"""GI-PPO: PPO whose policies first take a step along the environment's gradient.

After "Gradient Informed Proximal Policy Optimization" (Son et al., NeurIPS
2023). A rollout of drawn actions gives rewards for PPO and, by one backward
pass, the gradient of the return with respect to every action. Each agent's
samples, moved by `alpha` along it, are draws of its *alpha-policy*, towards
which its policy is moved; PPO's clipped passes on the same samples follow.
`alpha` grows while the step can be trusted and shrinks where it cannot
(`adapt_alpha` says by which criteria), so that an agent whose gradient is of
no use falls back to PPO.

What differs from the paper is in `docs/method.md`. RLlib takes no part.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gradmap.algorithms.learner import GradientLearner
from gradmap.algorithms.moments import adam_tensors, load_adam_tensors
from gradmap.algorithms.rollout import Rollout, environment_gradient
from gradmap.algorithms.schedule import cosine_fraction
from gradmap.baselines.advantages import generalised_advantages
from gradmap.baselines.gaussian import Exploring, over_numbers
from gradmap.baselines.gippo_config import GIPPOConfig
from gradmap.baselines.gippo_update import (
    Batch,
    GaussianPolicies,
    adapt_alpha,
    follow_gradient,
    ppo_passes,
)
from gradmap.baselines.price_shares import PriceShares
from gradmap.baselines.rllib.critics import LocalCritic, ValueScale
from gradmap.baselines.stored_worth import StoredWorth
from gradmap.envs.constraints import Violations, violations
from gradmap.envs.core import Core
from gradmap.envs.outcome import Outcome


class GIPPO(GradientLearner):
    """Independent Gaussian policies with critics of their own observations.

    Args:
        core: The environment.
        config: Settings.
        seed: Seed of the initial weights, of exploration and of the order of
            days and samples.

    Attributes:
        policies: The actors and their deviations before the tangent.
        critic: Values of each agent, on the scale of `value_scale`.
        value_scale: Mean and deviation of each agent's value targets, $.
        alpha: Each agent's length of step. `[agent, 1]`
    """

    config: GIPPOConfig

    def __init__(self, core: Core, config: GIPPOConfig, seed: int) -> None:
        super().__init__(core, config, seed)
        shape = (core.num_agents, 1, *core.action_shape[1:])
        start = torch.full(shape, float(config.log_std_initial), device=core.device)
        self.policies = GaussianPolicies(self.actors, nn.Parameter(start))
        critic = LocalCritic(
            core.num_agents, core.num_features, config.critic_hidden, self.generator
        )
        self.critic = critic.to(core.device)
        self.value_scale = ValueScale(core.num_agents).to(core.device)
        rate = config.learning_rate
        # A step along the gradient is no step of PPO: that has moments of its own.
        both = [*self.policies.parameters(), *self.critic.parameters()]
        self.ppo_optimiser = torch.optim.Adam(both, lr=rate, fused=True)
        first = min(config.alpha_initial, config.alpha_max)
        self.alpha = torch.full((core.num_agents, 1), first, device=core.device)
        self._shares = PriceShares(core, config.network_split, config.network_weight)
        self._worth = StoredWorth(core, config.stored_usd_per_kwh)
        self._extra: dict[str, Tensor] = {}

    def schedule(self, progress: float) -> None:
        """Lowers both optimisers' rates; see `GradientLearner`."""
        super().schedule(progress)
        fraction = cosine_fraction(progress, self.config.learning_rate_final)
        for group in self.ppo_optimiser.param_groups:
            group["lr"] = self.config.learning_rate * fraction

    def update(self, days: Tensor) -> Rollout:
        """One rollout with its gradient, the alpha-step, PPO's passes; see `GradientLearner`."""
        config, core = self.config, self.core
        shape = (core.num_steps, len(days), *core.action_shape)
        noise = torch.randn(shape, generator=self.generator).to(core.device)
        exploring = Exploring(self.actors, self.policies.log_std, noise)
        done, gradient = environment_gradient(core, exploring, days, self.objective)
        drawn = torch.stack([each.detach() for each in exploring.drawn], dim=1)
        batch = self._batch(done, drawn, noise.transpose(0, 1), gradient)
        if batch is None:
            return done
        if config.alpha_max > 0:
            follow_gradient(
                self.policies, batch, self.alpha, self.optimiser, config, self.generator
            )
            self.alpha, outside = adapt_alpha(self.policies, batch, self.alpha, config)
            self._extra = {"alpha": self.alpha.mean(), "outside_clip": outside.mean()}
        self._extra |= ppo_passes(
            self.policies, self.critic, batch, self.ppo_optimiser, config, self.generator
        )
        return done

    @torch.no_grad()
    def _batch(self, done: Rollout, drawn: Tensor, noise: Tensor, gradient: Tensor) -> Batch | None:
        """Samples of the usable days, agent first; None if there are no such days."""
        usable = done.outcome.is_usable[:, -1]
        if not bool(usable.any()):
            return None
        log_std = self.policies.log_std.detach().clone()
        advantage, target = self._advantages(done, usable)

        def by_agent(x: Tensor) -> Tensor:
            return x[usable].flatten(0, 1).transpose(0, 1).contiguous()

        # Of the draw, not of the action: the tangent lies between them.
        slope = by_agent(-gradient * (1.0 - torch.tanh(drawn).square()))
        size = over_numbers(slope.square()).mean(1, keepdim=True).sqrt()
        size = size if slope.ndim == 2 else size.unsqueeze(-1)
        advantage, target = advantage.flatten(0, 1), target.flatten(0, 1)
        spread = advantage.std(0, correction=0).clamp_min(1e-4)
        self.value_scale.update(target.mean(0), target.square().mean(0))
        return Batch(
            observation=by_agent(done.observation),
            drawn=by_agent(drawn),
            centre=by_agent(drawn - log_std.exp().squeeze(1) * noise),
            log_std=log_std,
            slope=torch.where(size > 0, slope / size.clamp_min(1e-30), 0.0),
            advantage=((advantage - advantage.mean(0)) / spread).T.contiguous(),
            target=self.value_scale.normalise(target).T.contiguous(),
        )

    def _advantages(self, done: Rollout, usable: Tensor) -> tuple[Tensor, Tensor]:
        """Advantages and value targets of the usable days, $. `[day, time, agent]` each"""
        config, seen = self.config, done.observation[usable]
        values = self.critic(seen.flatten(0, 1).transpose(0, 1), seen).transpose(0, 1)
        values = self.value_scale.denormalise(values).unflatten(0, seen.shape[:2])
        # The day is over after its last step, and time is seen: its end is worth 0.
        values = torch.cat((values, torch.zeros_like(values[:, :1])), dim=1).transpose(0, 1)
        rewards = self.rewards(done)[usable].transpose(0, 1)
        gained = generalised_advantages(rewards, values, config.discount, config.gae_lambda)
        return gained.transpose(0, 1), (gained + values[:-1]).transpose(0, 1)

    @torch.no_grad()
    def rewards(self, done: Rollout) -> Tensor:
        """Minus own cost and share of the price, shaped by what is stored, $.

        As `PricedJointEnv` gives them to IPPO.

        Args:
            done: A batch of whole days.

        Returns:
            Rewards; days that failed hold NaN. `[batch, time, agent]`
        """
        outcome = done.outcome
        reward = -outcome.cost_usd.sum(-1)
        if self.config.price.kind != "none":
            found = violations(outcome.flow, self.limits)
            priced = self._shares(*self.prices.charge_by_limit(found))
            reward = reward - priced.to(reward.dtype)
        worth = self._worth(done.observation)
        after = torch.cat((worth[:, 1:], torch.zeros_like(worth[:, :1])), dim=1)
        return reward + after - worth

    def _metrics(self, outcome: Outcome, found: Violations, usable: Tensor) -> dict[str, float]:
        metrics = super()._metrics(outcome, found, usable)
        return {**metrics, **{name: value.item() for name, value in self._extra.items()}}

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that a resumed run needs; see `Trainer.state_dict`."""
        state = super().state_dict()
        state["log_std"] = self.policies.log_std.detach().clone()
        state["alpha"] = self.alpha.clone()
        for name, module in (("critic", self.critic), ("value_scale", self.value_scale)):
            state.update({f"{name}.{k}": v.clone() for k, v in module.state_dict().items()})
        moments = adam_tensors(self.ppo_optimiser)
        state.update({f"ppo_adam.{k}": v.clone() for k, v in moments.items()})
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` returned; see `Trainer.load_state_dict`."""

        def part(prefix: str) -> dict[str, Tensor]:
            cut = len(prefix)
            return {k[cut:]: v for k, v in state.items() if k.startswith(prefix)}

        super().load_state_dict(state)
        with torch.no_grad():
            self.policies.log_std.copy_(state["log_std"])
            self.alpha = state["alpha"].to(self.alpha.device).clone()
        self.critic.load_state_dict(part("critic."))
        self.value_scale.load_state_dict(part("value_scale."))
        load_adam_tensors(self.ppo_optimiser, part("ppo_adam."))

"""SHAC: gradients through short windows of the day, and a critic's value beyond them.

Short-Horizon Actor-Critic (Xu et al., ICLR 2022). A day is cut into windows;
the state is cut from the gradient between them, and what a window leaves
behind is worth what a slowly moving target critic says of it. The gradient of
a window is short, so it can neither explode nor vanish; the price is a bias
that is the critic's error.

What differs from the paper is in `docs/method.md`.
"""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import Tensor, nn

from gradmap.algorithms.learner import GradientLearner
from gradmap.algorithms.moments import adam_tensors, load_adam_tensors
from gradmap.algorithms.rollout import Rollout
from gradmap.algorithms.schedule import cosine_fraction
from gradmap.baselines.clipping import clip_agents
from gradmap.baselines.price_shares import PriceShares
from gradmap.baselines.rllib.critics import CentralCritic, LocalCritic, ValueScale
from gradmap.baselines.shac_config import SHACConfig
from gradmap.baselines.stored_worth import StoredWorth
from gradmap.envs.constraints import Violations, violations
from gradmap.envs.core import Core
from gradmap.envs.outcome import Outcome, stack_outcomes
from gradmap.envs.state import State


@dataclasses.dataclass(frozen=True)
class Window:
    """Some steps of a batch of days.

    Attributes:
        steps: Which of the day's steps they are.
        seen: What the agents saw, and see after the last step.
            `[batch, time + 1, agent, feature]`
        joint: What a central critic sees then. `[batch, time + 1, entry]`
        action: What the policies chose. `[batch, time, *Core.action_shape]`
        outcomes: What came of each step. `[batch, ...]` each
        outcome: The same, joined. `[batch, time, ...]`
        after: The state after the last step.
        is_last: Whether the day is over then.
    """

    steps: slice
    seen: Tensor
    joint: Tensor
    action: Tensor
    outcomes: tuple[Outcome, ...]
    outcome: Outcome
    after: State
    is_last: bool


class SHAC(GradientLearner):
    """Independent policies learn through windows, each with a value of what comes after.

    Args:
        core: The environment.
        config: Settings.
        seed: Seed of the initial weights and of the order of days and samples.

    Attributes:
        critic: Expected cost to come of each agent, on the scale of `value_scale`.
        target: The critic that values what windows leave behind; it follows slowly.
        value_scale: Mean and deviation of each agent's cost to come, $.
    """

    config: SHACConfig

    def __init__(self, core: Core, config: SHACConfig, seed: int) -> None:
        super().__init__(core, config, seed)
        sizes, widths = (core.num_agents, core.num_features), config.critic_hidden
        critic: nn.Module
        if config.critic == "local":
            critic = LocalCritic(*sizes, widths, self.generator)
        else:
            critic = CentralCritic(*sizes, core.num_global_features, widths, self.generator)
        self.critic = critic.to(core.device)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        self.value_scale = ValueScale(core.num_agents).to(core.device)
        self.critic_optimiser = torch.optim.Adam(
            self.critic.parameters(), lr=config.critic_learning_rate, fused=True
        )
        self._shares = PriceShares(core)
        self._worth = StoredWorth(core, config.stored_usd_per_kwh)
        self._critic_error = torch.zeros((), device=core.device)

    def schedule(self, progress: float) -> None:
        """Lowers the critics' rate beside the policies'; see `GradientLearner`."""
        super().schedule(progress)
        fraction = cosine_fraction(progress, self.config.learning_rate_final)
        for group in self.critic_optimiser.param_groups:
            group["lr"] = self.config.critic_learning_rate * fraction

    def update(self, days: Tensor) -> Rollout:
        """Learns from one window after another; see `GradientLearner`."""
        state = self.core.reset(days)
        noise = self._noise(len(state.days))
        windows = []
        while not self.core.is_done(state):
            window = self._run(state.detach(), noise)
            self._improve_policies(window)
            if self.config.terminal_weight:
                self._improve_critics(window)
            windows.append(window)
            state = window.after
        with torch.no_grad():
            return Rollout(
                days=state.days,
                seen=torch.cat([w.seen[:, :-1] for w in windows], dim=1).unbind(1),
                action=torch.cat([w.action for w in windows], dim=1),
                outcome=stack_outcomes([o for w in windows for o in w.outcomes]),
            )

    def _noise(self, num_days: int) -> Tensor | None:
        """What is added to actions before their tangent. `[time, batch, *action_shape]`"""
        if not self.config.deviation:
            return None
        shape = (self.core.num_steps, num_days, *self.core.action_shape)
        noise = torch.randn(shape, generator=self.generator).to(self.core.device)
        return self.config.deviation * noise

    def _run(self, state: State, noise: Tensor | None = None) -> Window:
        """Runs the policies through the window that begins at a state."""
        core, begin = self.core, state.step
        end = min(begin + self.config.horizon, core.num_steps)
        seen, joint = [core.observe(state)], [core.observe_global(state)]
        actions, outcomes = [], []
        for step in range(begin, end):
            if noise is None:
                action = self.actors.act(seen[-1])
            else:
                centre = self.actors.unsquashed(seen[-1].transpose(0, 1)).transpose(0, 1)
                action = torch.tanh(centre + noise[step])
            state, outcome = core.step(state, action)
            actions.append(action)
            outcomes.append(outcome)
            seen.append(core.observe(state))
            joint.append(core.observe_global(state))
        return Window(
            steps=slice(begin, end),
            seen=torch.stack(seen, dim=1),
            joint=torch.stack(joint, dim=1),
            action=torch.stack(actions, dim=1),
            outcomes=tuple(outcomes),
            outcome=stack_outcomes(outcomes),
            after=state,
            is_last=core.is_done(state),
        )

    def _improve_policies(self, window: Window) -> None:
        """One optimiser step down the window's cost and what comes after it."""
        loss = self.objective(window.outcome, window.steps)
        if self.config.terminal_weight and not window.is_last:
            usable = window.outcome.is_usable[:, -1]
            to_come = self._values(self.target, window.seen[:, -1:], window.joint[:, -1:])
            to_come = torch.where(usable, to_come.sum((-2, -1)), 0.0)
            to_come = to_come.sum() / usable.sum().clamp_min(1)
            loss = loss + self.config.terminal_weight * to_come
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        clip_agents(list(self.actors.parameters()), self.config.grad_clip)
        self.optimiser.step()

    def _values(self, critic: nn.Module, seen: Tensor, joint: Tensor) -> Tensor:
        """Costs to come, $: what the critic says, less what is stored. `[batch, time, agent]`"""
        own = seen.flatten(0, 1).transpose(0, 1)
        value: Tensor = critic(own, joint.flatten(0, 1)).transpose(0, 1)
        usd: Tensor = self.value_scale.denormalise(value).unflatten(0, seen.shape[:2])
        return usd - self._worth(seen)

    @torch.no_grad()
    def _targets(self, window: Window) -> Tensor:
        """Costs to come by TD(lambda) with the target critic, $. `[batch, time, agent]`"""
        outcome, decay = window.outcome, self.config.td_lambda
        cost = outcome.cost_usd.sum(-1)
        if self.config.price.kind != "none":
            found = violations(outcome.flow, self.limits)
            priced = self._shares(*self.prices.charge_by_limit(found, window.steps))
            cost = cost + priced.to(cost.dtype)
        values = self._values(self.target, window.seen[:, 1:], window.joint[:, 1:])
        if window.is_last:
            # The day is over, and time is seen: nothing comes after.
            values[:, -1] = 0.0
        running = values[:, -1]
        targets = torch.empty_like(cost)
        for step in range(cost.shape[1] - 1, -1, -1):
            running = cost[:, step] + (1.0 - decay) * values[:, step] + decay * running
            targets[:, step] = running
        return targets

    def _improve_critics(self, window: Window) -> None:
        """Fits the critics to a window, and lets the target follow."""
        targets = self._targets(window) + self._worth(window.seen[:, :-1])
        usable = window.outcome.is_usable[:, -1]
        if not bool(usable.any()):
            return
        seen, joint, target = (
            x.detach()[usable].flatten(0, 1)
            for x in (window.seen[:, :-1], window.joint[:, :-1], targets)
        )
        self.value_scale.update(target.mean(0), target.square().mean(0))
        target = self.value_scale.normalise(target)
        size = -(-len(target) // self.config.critic_minibatches)
        trunk = getattr(self.critic, "trunk", None)
        shared = [] if trunk is None else list(trunk.parameters())
        own = [p for p in self.critic.parameters() if all(p is not s for s in shared)]
        for _ in range(self.config.critic_passes):
            order = torch.randperm(len(target), generator=self.generator).to(target.device)
            for rows in order.split(size):
                values = self.critic(seen[rows].transpose(0, 1), joint[rows]).transpose(0, 1)
                error = (values - target[rows]).square().mean(0)
                self.critic_optimiser.zero_grad(set_to_none=True)
                error.sum().backward()
                clip_agents(own, self.config.grad_clip, shared)
                self.critic_optimiser.step()
        self._critic_error = error.detach().mean()
        with torch.no_grad():
            pairs = zip(self.target.parameters(), self.critic.parameters(), strict=True)
            for slow, fast in pairs:
                slow.lerp_(fast, 1.0 - self.config.target_decay)

    def _metrics(self, outcome: Outcome, found: Violations, usable: Tensor) -> dict[str, float]:
        metrics = super()._metrics(outcome, found, usable)
        return {**metrics, "critic_error": self._critic_error.item()}

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that a resumed run needs; see `Trainer.state_dict`."""
        state = super().state_dict()
        for name, module in self._modules().items():
            state.update({f"{name}.{k}": v.clone() for k, v in module.state_dict().items()})
        moments = adam_tensors(self.critic_optimiser)
        state.update({f"critic_adam.{k}": v.clone() for k, v in moments.items()})
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` returned; see `Trainer.load_state_dict`."""

        def part(prefix: str) -> dict[str, Tensor]:
            cut = len(prefix)
            return {k[cut:]: v for k, v in state.items() if k.startswith(prefix)}

        super().load_state_dict(state)
        for name, module in self._modules().items():
            module.load_state_dict(part(f"{name}."))
        load_adam_tensors(self.critic_optimiser, part("critic_adam."))

    def _modules(self) -> dict[str, nn.Module]:
        return {"critic": self.critic, "target": self.target, "value_scale": self.value_scale}

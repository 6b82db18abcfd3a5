"""Whole days under a policy, with or without the environment's gradient."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import Tensor

from gradmap.envs.core import Core
from gradmap.envs.observations import NUM_PUBLIC
from gradmap.envs.outcome import Outcome, stack_outcomes
from gradmap.envs.policy import Policy


@dataclasses.dataclass(frozen=True)
class Rollout:
    """A batch of days.

    Attributes:
        days: Index of each day. `[batch]`
        seen: What the agents saw in each step. `[batch, agent, feature]` each
        action: What their policies chose. `[batch, time, agent]`, or
            `[batch, time, agent, 2]`: see `Core.action_shape`
        outcome: What came of it. `[batch, time, ...]`
    """

    days: Tensor
    seen: tuple[Tensor, ...]
    action: Tensor
    outcome: Outcome

    # Put together when asked for: what is seen is the bulk of a rollout, and of
    # it most is the same for all agents.

    @functools.cached_property
    def observation(self) -> Tensor:
        """What the agents saw. `[batch, time, agent, feature]`"""
        return torch.stack(self.seen, dim=1)

    @functools.cached_property
    def public(self) -> Tensor:
        """What all of them saw alike. `[batch, time, public]`"""
        return torch.stack([seen[:, 0, :NUM_PUBLIC] for seen in self.seen], dim=1)

    @functools.cached_property
    def own(self) -> Tensor:
        """What each saw besides. `[batch, time, agent, own]`

        A day of it is one run of memory, which is how learning reads it.
        """
        own = torch.stack([seen[..., NUM_PUBLIC:] for seen in self.seen], dim=-1)
        return own.permute(0, 3, 1, 2)


def rollout(core: Core, policy: Policy, days: Tensor) -> Rollout:
    """Runs a policy over whole days.

    Args:
        core: The environment.
        policy: The policy; gradients flow through it where it lets them.
        days: Index of each day. `[batch]`

    Returns:
        The days.
    """
    return _roll(core, policy, days, nudges=None)


def _roll(core: Core, policy: Policy, days: Tensor, nudges: list[Tensor] | None) -> Rollout:
    seen, actions, outcomes = [], [], []
    state = core.reset(days)
    policy.reset(state.days)
    while not core.is_done(state):
        observation = core.observe(state)
        action = policy.act(observation)
        if nudges is not None:
            action = action + nudges[state.step]
        state, outcome = core.step(state, action)
        seen.append(observation)
        actions.append(action)
        outcomes.append(outcome)
    return Rollout(
        days=state.days,
        seen=tuple(seen),
        action=torch.stack(actions, dim=1),
        outcome=stack_outcomes(outcomes),
    )


def environment_gradient(
    core: Core, actors: torch.nn.Module, days: Tensor, objective: Callable[[Outcome], Tensor]
) -> tuple[Rollout, Tensor]:
    """Rolls out and differentiates the objective with respect to every action.

    The gradient is total along the closed loop: an action moves later states,
    voltages and, through what the policies see of them, later actions. It is
    what a nudge added to the action would do. Weights are left out, which
    spares their products in every step; with `G` this gradient and the
    observations held, `G d pi(o; theta) / d theta` is the exact gradient of
    the objective by the weights.

    Args:
        core: The environment.
        actors: The agents' networks, a `Policy`.
        days: Index of each day. `[batch]`
        objective: Scalar of the whole batch of days.

    Returns:
        The days, cut from the gradient's graph where it costs memory only,
        and the gradient, of the shape of `Rollout.action`, float32.
    """
    shape = (len(days), *core.action_shape)
    nudges = [
        torch.zeros(shape, device=core.device, requires_grad=True) for _ in range(core.num_steps)
    ]
    weights = list(actors.parameters())
    for weight in weights:
        weight.requires_grad_(False)
    try:
        days_run = _roll(core, actors, days, nudges)  # type: ignore[arg-type]
        gradient = torch.autograd.grad(objective(days_run.outcome), nudges)
    finally:
        for weight in weights:
            weight.requires_grad_(True)
    detached = dataclasses.replace(
        days_run,
        seen=tuple(seen.detach() for seen in days_run.seen),
        action=days_run.action.detach(),
    )
    return detached, torch.stack(gradient, dim=1)

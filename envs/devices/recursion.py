"""A device's day as one recursion of a single number, with its gradient by hand.

What a step leaves to the next is one number in every fleet: energy stored,
indoor temperature, output. It moves by

    x' = min(max(keep x + offset + gain(a) a, low + follow x), high + follow x)

with `gain` that of charging or of discharging. Written so, the days of all
fleets are one loop of a dozen small operations, forward and back, where the
fleets' own steps, taped by autograd, are some hundred.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Recursion:
    """How the states of some devices move; see the module.

    Attributes:
        keep: Share of the state that stays. `[device]`
        offset: What comes by itself. `[batch, time, device]`
        gain_up: Change for an action above 0. `[batch, time, device]`
        gain_down: Change for an action below 0, likewise.
        low: Lower bound of the next state. `[device]`
        high: Upper bound. `[device]`
        follow: How the bounds go with the state, 0 or 1. `[device]`
        seen_scale: The state as the policy sees it: its slope. `[device]`
        seen_offset: And its value at 0. `[device]`
    """

    keep: Tensor
    offset: Tensor
    gain_up: Tensor
    gain_down: Tensor
    low: Tensor
    high: Tensor
    follow: Tensor
    seen_scale: Tensor
    seen_offset: Tensor

    @classmethod
    def join(cls, parts: Sequence[Recursion]) -> Recursion:
        """Joins fleets along the agent axis."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(torch.cat([getattr(p, n) for p in parts], dim=-1) for n in names))

    def rows(self, rows: Tensor) -> Recursion:
        """The same for some of the days, time first. `[time, row, device]`"""

        def pick(x: Tensor) -> Tensor:
            return x[rows].transpose(0, 1).contiguous()

        return dataclasses.replace(
            self,
            offset=pick(self.offset),
            gain_up=pick(self.gain_up),
            gain_down=pick(self.gain_down),
        )


class _Scan(torch.autograd.Function):
    """States and actions of days under a feedback; gradient in the actions alone."""

    @staticmethod
    def forward(
        ctx: Any, base: Tensor, start: Tensor, gain: Tensor, seen: Tensor, law: Recursion
    ) -> tuple[Tensor, Tensor]:
        # What the feedback adds is `slope x + shift`.
        slope = gain * law.seen_scale
        shift = base + gain * (law.seen_offset - seen)
        num_steps = len(base)
        states, actions = torch.empty_like(base), torch.empty_like(base)
        to_state, to_action, to_before = (torch.empty_like(base) for _ in range(3))
        x = start
        for t in range(num_steps):
            wanted = torch.addcmul(shift[t], slope[t], x)
            action = wanted.clamp(-1.0, 1.0)
            lever = torch.where(action > 0.0, law.gain_up[t], law.gain_down[t])
            free = torch.addcmul(law.offset[t], law.keep, x).addcmul_(lever, action)
            low, high = (
                torch.addcmul(law.low, law.follow, x),
                torch.addcmul(law.high, law.follow, x),
            )
            after = torch.minimum(torch.maximum(free, low), high)
            is_free = (after == free).to(x.dtype)
            torch.mul(lever, is_free, out=to_state[t])
            to_action[t] = action == wanted
            torch.lerp(law.follow, law.keep, is_free, out=to_before[t])
            states[t], actions[t] = after, action
            x = after
        ctx.save_for_backward(to_state, to_action, to_before, slope)
        return states, actions

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_states: Tensor, grad_actions: Tensor
    ) -> tuple[Tensor, None, None, None, None]:
        to_state, to_action, to_before, slope = ctx.saved_tensors
        grad_base = torch.empty_like(grad_states)
        carried = torch.zeros_like(grad_states[0])
        for t in range(len(grad_states) - 1, -1, -1):
            after = carried + grad_states[t]
            wanted = torch.addcmul(grad_actions[t], after, to_state[t]).mul_(to_action[t])
            grad_base[t] = wanted
            carried = torch.mul(after, to_before[t]).addcmul_(wanted, slope[t])
        return grad_base, None, None, None, None


def scan(
    base: Tensor, start: Tensor, gain: Tensor, seen: Tensor, law: Recursion
) -> tuple[Tensor, Tensor]:
    """Plays days of devices whose actions answer to their own state.

    The action of a step is `base + gain (own - seen)`, cut off at -1 and 1,
    `own` being the state as the policy sees it.

    Args:
        base: Action at the state seen. `[time, row, device]`; the gradient
            flows to it alone
        start: State at midnight. `[row, device]`
        gain: Answer of the action to the state, likewise `[time, row, device]`.
        seen: The state at which `base` holds. `[time, row, device]`
        law: How states move, from `Recursion.rows`.

    Returns:
        The state after every step, and the actions. `[time, row, device]`
    """
    result: tuple[Tensor, Tensor] = _Scan.apply(base, start, gain, seen, law)  # type: ignore[no-untyped-call]
    return result

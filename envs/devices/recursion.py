"""A device's day as one recursion of a single number, with its gradient by hand.

What a step leaves to the next is one number in every fleet: energy stored,
indoor temperature, output. It moves by

    x' = min(max(keep x + offset + gain(a) a, low + follow x), high + follow x)

with `gain` that of charging or of discharging. Written so, the days of all
fleets are one loop of a dozen small operations, forward and back, where the
fleets' own steps, taped by autograd, are some hundred. A CPU takes the compiled
loops of `gradmap.envs.devices.day_kernels` in its place.
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


class _Scan(torch.autograd.Function):
    """States and actions of days under a feedback; gradient in the actions alone."""

    @staticmethod
    def forward(
        ctx: Any, base: Tensor, given: tuple[Tensor, ...], law: Recursion, rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        start, gain, seen = given
        states, actions, *levers = _play(base, start, gain, seen, law, rows)
        ctx.save_for_backward(gain, law.seen_scale, rows, *levers)
        return states, actions

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_states: Tensor, grad_actions: Tensor
    ) -> tuple[Tensor, None, None, None]:
        gain, scale, rows, *levers = ctx.saved_tensors
        back = _back(grad_states, grad_actions, gain, scale, rows, *levers)
        return back, None, None, None


def _play(
    base: Tensor, start: Tensor, gain: Tensor, seen: Tensor, law: Recursion, rows: Tensor
) -> tuple[Tensor, ...]:
    """States and actions, then what the backward pass needs.

    That is what an action does to the next state, what a wish does to the
    action, and what a state does to the next one. Row first, but the memory of
    a step is one run.
    """
    # What the feedback adds is `slope x + shift`.
    slope = _in_turn(gain, rows) * law.seen_scale
    shift = base.transpose(0, 1) + _in_turn(gain * (law.seen_offset - seen), rows)
    offset, up, down = (_in_turn(x, rows) for x in (law.offset, law.gain_up, law.gain_down))
    results = tuple(torch.empty_like(slope) for _ in range(5))
    states, actions, to_state, to_action, to_before = results
    x = start[rows]
    for t in range(len(slope)):
        wanted = torch.addcmul(shift[t], slope[t], x)
        action = wanted.clamp(-1.0, 1.0)
        lever = torch.where(action > 0.0, up[t], down[t])
        free = torch.addcmul(offset[t], law.keep, x).addcmul_(lever, action)
        low, high = (torch.addcmul(end, law.follow, x) for end in (law.low, law.high))
        after = torch.minimum(torch.maximum(free, low), high)
        is_free = (after == free).to(x.dtype)
        torch.mul(lever, is_free, out=to_state[t])
        to_action[t] = action == wanted
        torch.lerp(law.follow, law.keep, is_free, out=to_before[t])
        states[t], actions[t] = after, action
        x = after
    return tuple(x.transpose(0, 1) for x in results)


def _back(
    grad_states: Tensor,
    grad_actions: Tensor,
    gain: Tensor,
    scale: Tensor,
    rows: Tensor,
    *levers: Tensor,
) -> Tensor:
    """The gradient of what `_play` did."""
    to_state, to_action, to_before = (x.transpose(0, 1) for x in levers)
    slope = _in_turn(gain, rows) * scale
    grad_base = torch.empty_like(slope)
    carried = torch.zeros_like(slope[0])
    for t in range(len(slope) - 1, -1, -1):
        after = carried + grad_states[:, t]
        wanted = torch.addcmul(grad_actions[:, t], after, to_state[t]).mul_(to_action[t])
        grad_base[t] = wanted
        carried = torch.mul(after, to_before[t]).addcmul_(wanted, slope[t])
    return grad_base.transpose(0, 1)


def _in_turn(x: Tensor, rows: Tensor) -> Tensor:
    """Some of the days, time first. `[time, row, device]`"""
    return x[rows].transpose(0, 1).contiguous()


def scan(
    base: Tensor, start: Tensor, gain: Tensor, seen: Tensor, law: Recursion, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Plays days of devices whose actions answer to their own state.

    The action of a step is `base + gain (own - seen)`, cut off at -1 and 1,
    `own` being the state as the policy sees it.

    Args:
        base: Action at the state seen. `[row, time, device]`, float32; the
            gradient flows to it alone
        start: State at midnight. `[day, device]`
        gain: Answer of the action to the state. `[day, time, device]`
        seen: The state at which `base` holds. `[day, time, device]`
        law: How states move on the days.
        rows: Which of the days. `[row]`, int64

    Returns:
        The state after every step, and the actions. `[row, time, device]`
    """
    given = (start, gain, seen)
    result: tuple[Tensor, Tensor] = _Scan.apply(base, given, law, rows)  # type: ignore[no-untyped-call]
    return result

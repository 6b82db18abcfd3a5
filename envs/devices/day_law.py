"""Whole days of devices by one law of motion and one bill, forward and back.

On a CPU a day is one compiled loop; elsewhere the motion is a loop of small operations over the
steps, and the bill a dozen over all steps at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gradmap.envs.devices import day_kernels
from gradmap.envs.devices.recursion import Recursion, scan
from gradmap.envs.devices.settlement import Settlement


@dataclasses.dataclass(frozen=True)
class DayLaw:
    """How devices move on some days, and what that costs.

    Attributes:
        start: The number that moves, at midnight. `[day, device]`
        motion: How it moves.
        bill: What devices draw and cost.
        worth: Worth of each unit that the number stands above its start at the day's end, $.
            `[day, device]`
        tariff_usd_per_kw: Price of a step's energy, for each kW. `[day, time]`
        sun_pu: Sun over the highest of the training days; 0 where no device asks. `[day, time]`
    """

    start: Tensor
    motion: Recursion
    bill: Settlement
    worth: Tensor
    tariff_usd_per_kw: Tensor
    sun_pu: Tensor


@dataclasses.dataclass(frozen=True)
class Feedback:
    """How actions answer to the devices' own states: `gain (own - seen)` is added.

    Attributes:
        gain: Derivative of the action by the state as the policy sees it.
            `[day, time, agent]`, with an axis of 2 numbers behind it where an
            action has two
        seen: The state at which nothing is added. `[day, time, agent]`
    """

    gain: Tensor
    seen: Tensor


@dataclasses.dataclass(frozen=True)
class Played:
    """What devices did on some days, and what that came to by their end.

    Attributes:
        states: The number that moves, after every step. `[row, time, device]`
        p_kw: Power drawn. `[row, time, device]`
        q_kvar: Reactive power drawn. `[row, time, device]`
        cost_usd: Cost of all devices over the day. `[row]`
        clipped_kw: How far setpoints were from what devices could do, summed
            over devices and steps. `[row]`
    """

    states: Tensor
    p_kw: Tensor
    q_kvar: Tensor
    cost_usd: Tensor
    clipped_kw: Tensor


def play_days(law: DayLaw, base: Tensor, feedback: Feedback, rows: Tensor) -> Played:
    """Plays days of devices whose actions answer to their own state.

    The action of a step is `base + gain (own - seen)`, cut off at -1 and 1,
    `own` being the state as the policy sees it.

    Args:
        law: Of the days.
        base: Action at the state seen. `[row, time, device]`; the gradient
            flows to it alone
        feedback: What is added.
        rows: Which of the days. `[row]`, int64
    """
    if base.device.type != "cpu":
        return play_by_operations(law, base, feedback, rows)
    return Played(*_Compiled.apply(base, feedback, law, rows))  # type: ignore[no-untyped-call]


def play_by_operations(law: DayLaw, base: Tensor, feedback: Feedback, rows: Tensor) -> Played:
    """Does the same on any device, by the operations of a tensor library."""
    states, action = scan(base, law.start, feedback.gain, feedback.seen, law.motion, rows)
    bill = law.bill
    change = states - torch.cat((law.start[rows].unsqueeze(1), states[:, :-1]), dim=1)
    setpoint = bill.asked * action + bill.idle
    p_kw = torch.where(change >= 0.0, bill.up, bill.down) * change
    p_kw = p_kw + bill.level * states + bill.obeys * setpoint
    used = (1.0 - action).clamp_max(1.0)
    q_kvar = bill.kvar_per_kw * p_kw + bill.absorbed * law.sun_pu[rows].unsqueeze(-1) * used
    price = law.tariff_usd_per_kw[rows].unsqueeze(-1) + bill.charge + bill.fuel * p_kw
    outside = (bill.cold - states).clamp_min(0.0) + (states - bill.hot).clamp_min(0.0)
    cost = price * p_kw + bill.wear * p_kw.abs() + bill.strain * outside
    left = law.worth[rows] * (states[:, -1] - law.start[rows])
    clipped = (bill.watched * (setpoint - p_kw).abs()).sum((-2, -1))
    return Played(states, p_kw, q_kvar, cost.sum((-2, -1)) - left.sum(-1), clipped)


class _Compiled(torch.autograd.Function):
    """What is in `Played`; gradient in the actions alone."""

    @staticmethod
    def forward(
        ctx: Any, base: Tensor, feedback: Feedback, law: DayLaw, rows: Tensor
    ) -> tuple[Tensor, ...]:
        shape, dtype = base.shape, base.dtype
        states, actions, p_kw, q_kvar, is_free, is_inside = (
            torch.empty(shape, dtype=dtype) for _ in range(6)
        )
        sums = tuple(torch.empty(len(rows), dtype=dtype) for _ in range(2))
        made = (states, actions, p_kw, q_kvar, is_free, is_inside)
        laws = _laws(law, feedback)
        day_kernels.play(*_arrays((base, rows)), *laws, _arrays(made), _arrays(sums))
        ctx.set_materialize_grads(False)
        ctx.laws = laws
        ctx.save_for_backward(rows, *made)
        return states, p_kw, q_kvar, *sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        rows, *made = ctx.saved_tensors
        by_states, by_p, by_q, by_cost, by_clipped = grads
        if by_states is None:  # which the kernel then leaves out
            by_states = made[0].new_zeros(0, *made[0].shape[1:])
        by_p, by_q = (torch.zeros_like(made[0]) if x is None else x for x in (by_p, by_q))
        by_sums = [made[0].new_zeros(len(rows)) if x is None else x for x in (by_cost, by_clipped)]
        to_base = torch.empty_like(made[0])
        given = (*ctx.laws, _arrays(made), _arrays((by_p, by_q, by_states)), _arrays(by_sums))
        day_kernels.back(*_arrays((rows,)), *given, *_arrays((to_base,)))
        return to_base, None, None, None


def _laws(law: DayLaw, feedback: Feedback) -> tuple[tuple[Any, ...], ...]:
    """The law as the kernels read it."""
    given = (law.start, feedback.gain, feedback.seen, law.worth)
    today = (law.tariff_usd_per_kw, law.sun_pu)
    groups = (given, tuple(vars(law.motion).values()), tuple(vars(law.bill).values()), today)
    return tuple(_arrays(group) for group in groups)


def _arrays(tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    return tuple(x.detach().contiguous().numpy() for x in tensors)

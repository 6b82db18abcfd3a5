"""The devices of whole days by themselves, without the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from gradmap.envs.devices.base import DeviceStep, Fleet, Surroundings, react
from gradmap.envs.devices.inverter import Inverters
from gradmap.envs.devices.recursion import Recursion, scan


def join_fleets(steps: Sequence[DeviceStep]) -> DeviceStep:
    """Joins what the fleets did along the agent axis.

    Args:
        steps: One of each fleet.
    """
    parts = zip(*(vars(step).values() for step in steps), strict=True)
    return DeviceStep(*(torch.cat(part, dim=-1) for part in parts))


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
class DaySums:
    """What devices drew in each step, and what that came to by the day's end.

    Attributes:
        p_kw: Power drawn. `[row, time, agent]`
        q_kvar: Reactive power drawn. `[row, time, agent]`
        cost_usd: Cost of all devices over the day. `[row]`
        clipped_kw: How far setpoints were from what devices could do, summed
            over devices and steps. `[row]`
    """

    p_kw: Tensor
    q_kvar: Tensor
    cost_usd: Tensor
    clipped_kw: Tensor


class DeviceDays:
    """The devices of some days, to be played many times over.

    Args:
        fleets: The fleets.
        sizes: Number of devices of each.
        midnight: State of each at midnight. `[day, device, entry]` each
        today: Price and weather of the days. `[day, time, 1]` each
        inverters: What makes reactive power of the second number of actions;
            None where they have one.
    """

    def __init__(
        self,
        fleets: Sequence[Fleet],
        sizes: Sequence[int],
        midnight: Sequence[Tensor],
        today: Surroundings,
        inverters: Inverters | None = None,
    ) -> None:
        self._fleets = fleets
        self._inverters = inverters
        self._sizes = list(sizes)
        self._midnight = midnight
        self._start = torch.cat([state[..., 0] for state in midnight], dim=-1)
        self._today = today
        self._law = Recursion.join([fleet.recursion(today) for fleet in fleets])

    def play(
        self, action: Tensor, feedback: Feedback | None = None, rows: Tensor | None = None
    ) -> DeviceStep:
        """Plays the days, or some of them.

        Args:
            action: Actions; values outside [-1, 1] count as the nearest end,
                after the feedback. `[row, time, agent]`, or
                `[row, time, agent, 2]` where they are two numbers, float32
            feedback: What is added to them; None for nothing.
            rows: Which of the days; None for all. `[row]`, int64

        Returns:
            What the devices did, differentiable in the actions.
            `[row, time, agent]`
        """
        if rows is None:
            rows = torch.arange(len(self._start), device=action.device)
        parts, share = self._play(action, feedback, rows)
        done = join_fleets([_less_leftover(*part) for part in parts])
        if self._inverters is None:
            return done
        return self._inverters.add_to(done, share)

    def sums(self, action: Tensor, feedback: Feedback, rows: Tensor) -> DaySums:
        """Plays some of the days and keeps what learning asks for, at half the cost.

        Args:
            action: Actions, as in `play`.
            feedback: What is added to them.
            rows: Which of the days. `[row]`, int64

        Returns:
            Powers and sums, differentiable in the actions.
        """
        parts, share = self._play(action, feedback, rows)
        p_kw = torch.cat([done.p_kw for done, _ in parts], dim=-1)
        q_kvar = torch.cat([done.q_kvar for done, _ in parts], dim=-1)
        if self._inverters is not None:
            q_kvar = q_kvar + self._inverters.kvar(p_kw, share)
        costs = [_day_cost_usd(done) - left.sum((-2, -1)) for done, left in parts]
        clipped = [(done.setpoint_kw - done.p_kw).abs().sum((-2, -1)) for done, _ in parts]
        return DaySums(p_kw, q_kvar, torch.stack(costs).sum(0), torch.stack(clipped).sum(0))

    def _play(
        self, action: Tensor, feedback: Feedback | None, rows: Tensor
    ) -> tuple[list[tuple[DeviceStep, Tensor]], Tensor]:
        """What each fleet did, and the worth of what it holds at the end; the second numbers."""
        gain, seen = self._answers(action, feedback)
        # Of two numbers the first moves devices.
        base, share, share_gain = action, action, gain
        if self._inverters is not None:
            (base, share), (gain, share_gain) = action.unbind(-1), gain.unbind(-1)
        states, chosen = scan(base, self._start, gain, seen, self._law, rows)
        before = torch.cat((self._start[rows].unsqueeze(1), states[:, :-1]), dim=1)
        moved = (x.split(self._sizes, dim=-1) for x in (before, states, chosen))
        today = self._today[rows]
        own = zip(self._fleets, self._midnight, *moved, strict=True)
        parts = [
            self._settle(fleet, night[rows], x, after, act, today)
            for fleet, night, x, after, act in own
        ]
        if self._inverters is not None:
            # No state waits for it: the feedback is of states that are known by now.
            own_seen = self._law.seen_scale * before + self._law.seen_offset
            share = (share + share_gain[rows] * (own_seen - seen[rows])).clamp(-1.0, 1.0)
        return parts, share

    def _answers(self, action: Tensor, feedback: Feedback | None) -> tuple[Tensor, Tensor]:
        """Gain and states seen, of no feedback if there is none. `[day, time, agent]` each"""
        if feedback is not None:
            return feedback.gain, feedback.seen
        shape = (len(self._start), *action.shape[1:])
        gain = torch.zeros(shape, dtype=action.dtype, device=action.device)
        return gain, gain if self._inverters is None else gain[..., 0]

    @staticmethod
    def _settle(
        fleet: Fleet,
        midnight: Tensor,
        before: Tensor,
        after: Tensor,
        action: Tensor,
        today: Surroundings,
    ) -> tuple[DeviceStep, Tensor]:
        """What a fleet's days cost and draw, and the worth of what is left. `[row, 1, device]`"""
        p_kw = fleet.powers(before, after, action, today.dt_hours)
        # The number that moves comes first in a state, and is all that a step is settled by.
        done = fleet.settle(after.unsqueeze(-1), fleet.setpoints(action), p_kw, today)
        done = react(fleet, done, action, today)
        # The others stay as at midnight.
        last = torch.cat((after[:, -1].unsqueeze(-1), midnight[..., 1:]), dim=-1)
        return done, fleet.leftover_usd(last, today[:, -1]).unsqueeze(1)


def _less_leftover(done: DeviceStep, leftover_usd: Tensor) -> DeviceStep:
    """Takes the worth of what is left off the last step's bill."""
    last = done.energy_usd[:, -1:] - leftover_usd
    return dataclasses.replace(done, energy_usd=torch.cat((done.energy_usd[:, :-1], last), dim=1))


def _day_cost_usd(done: DeviceStep) -> Tensor:
    """Own costs of all devices over a day. `[row]`"""
    costs = (done.energy_usd, done.fuel_usd, done.wear_usd, done.discomfort_usd)
    return torch.stack([cost.sum((-2, -1)) for cost in costs]).sum(0)

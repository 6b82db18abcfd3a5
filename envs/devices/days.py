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
        # Time first, as the recursion has it; of two numbers the first moves devices.
        base, gain, seen = self._in_turn(action, feedback, rows)
        share, share_gain = base, gain
        if self._inverters is not None:
            (base, share), (gain, share_gain) = base.unbind(-1), gain.unbind(-1)
        start = self._start[rows]
        states, chosen = scan(base, start, gain, seen, self._law.rows(rows))
        before = torch.cat((start.unsqueeze(0), states[:-1]))
        moved = (x.transpose(0, 1).split(self._sizes, dim=-1) for x in (before, states, chosen))
        today = self._today[rows]
        own = zip(self._fleets, self._midnight, *moved, strict=True)
        done = join_fleets(
            [
                self._settle(fleet, night[rows], x, after, act, today)
                for fleet, night, x, after, act in own
            ]
        )
        if self._inverters is None:
            return done
        # No state waits for it: the feedback is of states that are known by now.
        own_seen = self._law.seen_scale * before + self._law.seen_offset
        wanted = share + share_gain * (own_seen - seen)
        return self._inverters.add_to(done, wanted.clamp(-1.0, 1.0).transpose(0, 1))

    @staticmethod
    def _in_turn(
        action: Tensor, feedback: Feedback | None, rows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Actions, gain and states seen, time first. `[time, row, agent]` each"""
        base = action.transpose(0, 1)
        if feedback is None:
            gain = torch.zeros_like(base)
            return base, gain, gain if base.ndim == 3 else gain[..., 0]
        gain, seen = (x[rows].transpose(0, 1) for x in (feedback.gain, feedback.seen))
        return base, gain, seen

    @staticmethod
    def _settle(
        fleet: Fleet,
        midnight: Tensor,
        before: Tensor,
        after: Tensor,
        action: Tensor,
        today: Surroundings,
    ) -> DeviceStep:
        """What a fleet's days cost and draw."""
        p_kw = fleet.powers(before, after, action, today.dt_hours)
        # The number that moves comes first in a state; the others stay as at midnight.
        kept = midnight[:, None, :, 1:].expand(-1, after.shape[1], -1, -1)
        state = torch.cat((after.unsqueeze(-1), kept), dim=-1)
        done = fleet.settle(state, fleet.setpoints(action), p_kw, today)
        done = react(fleet, done, action, today)
        leftover = fleet.leftover_usd(state[:, -1], today[:, -1]).unsqueeze(1)
        bill = torch.cat((done.energy_usd[:, :-1], done.energy_usd[:, -1:] - leftover), dim=1)
        return dataclasses.replace(done, energy_usd=bill)

"""The devices of whole days by themselves, without the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from gradmap.envs.devices.base import DeviceStep, Fleet, Surroundings
from gradmap.envs.devices.day_law import DayLaw, Feedback, Played, play_days
from gradmap.envs.devices.inverter import Inverters
from gradmap.envs.devices.recursion import Recursion
from gradmap.envs.devices.settlement import Settlement


def join_fleets(steps: Sequence[DeviceStep]) -> DeviceStep:
    """Joins what the fleets did along the agent axis.

    Args:
        steps: One of each fleet.
    """
    parts = zip(*(vars(step).values() for step in steps), strict=True)
    return DeviceStep(*(torch.cat(part, dim=-1) for part in parts))


class DeviceDays:
    """The devices of some days, to be played many times over.

    Args:
        fleets: The fleets.
        midnight: State of each at midnight. `[day, device, entry]` each
        today: Price and weather of the days. `[day, time, 1]` each
        inverters: What makes reactive power of the second number of actions;
            None where they have one.
    """

    def __init__(
        self,
        fleets: Sequence[Fleet],
        midnight: Sequence[Tensor],
        today: Surroundings,
        inverters: Inverters | None = None,
    ) -> None:
        self._inverters = inverters
        sun = torch.zeros_like(today.tariff_usd_per_kwh) if today.sun_pu is None else today.sun_pu
        self.law = DayLaw(
            start=torch.cat([state[..., 0] for state in midnight], dim=-1),
            motion=Recursion.join([fleet.recursion(today) for fleet in fleets]),
            bill=Settlement.join([fleet.settlement(today) for fleet in fleets]),
            worth=torch.cat(
                [_worth(*pair, today[:, -1]) for pair in zip(fleets, midnight, strict=True)], dim=-1
            ),
            tariff_usd_per_kw=(today.dt_hours * today.tariff_usd_per_kwh).squeeze(-1),
            sun_pu=sun.squeeze(-1),
        )

    def play(
        self, action: Tensor, feedback: Feedback | None = None, rows: Tensor | None = None
    ) -> Played:
        """Plays the days, or some of them.

        Args:
            action: Actions; values outside [-1, 1] count as the nearest end,
                after the feedback. `[row, time, agent]`, or
                `[row, time, agent, 2]` where they are two numbers, float32
            feedback: What is added to them; None for nothing.
            rows: Which of the days; None for all. `[row]`, int64

        Returns:
            What the devices did, differentiable in the actions.
        """
        if rows is None:
            rows = torch.arange(len(self.law.start), device=action.device)
        feedback = self._nothing(action) if feedback is None else feedback
        if self._inverters is None:
            return play_days(self.law, action, feedback, rows)
        # Of two numbers the first moves devices.
        (base, share), (gain, share_gain) = action.unbind(-1), feedback.gain.unbind(-1)
        played = play_days(self.law, base, Feedback(gain, feedback.seen), rows)
        # No state waits for the second: the feedback is of states that are known by now.
        before = torch.cat((self.law.start[rows].unsqueeze(1), played.states[:, :-1]), dim=1)
        own_seen = self.law.motion.seen_scale * before + self.law.motion.seen_offset
        share = (share + share_gain[rows] * (own_seen - feedback.seen[rows])).clamp(-1.0, 1.0)
        chosen = self._inverters.kvar(played.p_kw, share)
        return dataclasses.replace(played, q_kvar=played.q_kvar + chosen)

    def _nothing(self, action: Tensor) -> Feedback:
        """A feedback that adds nothing."""
        shape = (len(self.law.start), *action.shape[1:])
        gain = torch.zeros(shape, dtype=action.dtype, device=action.device)
        return Feedback(gain, gain if self._inverters is None else gain[..., 0])


def _worth(fleet: Fleet, midnight: Tensor, last: Surroundings) -> Tensor:
    """Worth of each unit that is left at the day's end. `[day, device]`"""
    one_more = torch.zeros_like(midnight)
    one_more[..., 0] = 1.0
    return fleet.leftover_usd(one_more, last)

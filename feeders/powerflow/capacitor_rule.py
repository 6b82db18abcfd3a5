"""What a capacitor's control looks at, and when it switches."""

from __future__ import annotations

import torch
from torch import Tensor

from gradmap.feeders.controls import GREATEST, LEAST, MEAN, CapacitorKind
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.planar import to_complex
from gradmap.feeders.powerflow.solve import PowerFlow


class CapacitorRule:
    """The capacitors' controls of a network.

    Args:
        network: The network.

    Attributes:
        count: Number of controls.
        needs_hour: Whether one of them goes by the time of day.
    """

    def __init__(self, network: Network) -> None:
        c, device = network.feeder.controls.capacitor, network.device
        self.count = len(c.name)
        self.needs_hour = bool((c.kind == CapacitorKind.TIME).any())

        def tensor(array: object) -> Tensor:
            return torch.tensor(array, device=device)

        self._at, self._kind, self._phase = tensor(c.capacitor), tensor(c.kind), tensor(c.phase)
        self._on, self._off = tensor(c.on), tensor(c.off)
        self._on_delay, self._off_delay = tensor(c.on_delay_s), tensor(c.off_delay_s)
        self._pt, self._ct = tensor(c.pt_ratio), tensor(c.ct_ratio)
        self._low, self._high = tensor(c.low_v), tensor(c.high_v)
        self._owner, self._from, self._to = map(tensor, (c.probe_control, c.probe_from, c.probe_to))
        self._volt = 1e3 * tensor(network.feeder.node_kv_base)
        is_own = self._owner == torch.arange(self.count, device=device)[:, None]
        order = is_own.cumsum(1) - 1
        self._is_own = is_own
        self._is_phase = is_own & (order == self._phase[:, None])

    def wish(self, flow: PowerFlow, hour: Tensor) -> tuple[Tensor, Tensor]:
        """Which capacitors want to switch at a solution, `[batch]`.

        Args:
            flow: The solution, at taps of its own.
            hour: Hour of the day. `[batch]`

        Returns:
            Whether each one wants to, `[batch, capacitor]`, and its delay, s,
            infinite if not.
        """
        is_on = flow.capacitors
        delay = torch.full(is_on.shape, torch.inf, dtype=torch.float64, device=is_on.device)
        if not self.count:
            return torch.zeros_like(is_on), delay
        mine = is_on[:, self._at]
        closes, opens = self._wants(flow, hour)
        switches = torch.where(mine, opens, closes)
        own = torch.where(mine, self._off_delay, self._on_delay)
        wishes = torch.zeros_like(is_on)
        wishes[:, self._at] = switches
        delay[:, self._at] = torch.where(switches, own, torch.inf)
        return wishes, delay

    def _wants(self, flow: PowerFlow, hour: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each control would close and would open. `[batch, control]`"""
        maps = flow.tapped
        assert maps is not None
        volt = torch.nn.functional.pad(flow.v_pu.to(torch.complex128) * self._volt, (0, 1))
        voltage = volt[:, self._from] - volt[:, self._to]
        current = to_complex(maps.watched_current(maps.image(flow.j)))
        power = (volt[:, self._from] * current.conj()).imag * 1e-3
        v = self._picked(voltage.abs()) / self._pt
        amp = self._picked(current.abs()) / self._ct
        kvar = power @ self._is_own.double().T
        is_voltage = self._kind == CapacitorKind.VOLTAGE
        found = torch.where(self._kind == CapacitorKind.KVAR, kvar, amp)
        closes = torch.where(is_voltage, v < self._on, found > self._on)
        opens = torch.where(is_voltage, v > self._off, found < self._off)
        is_time = self._kind == CapacitorKind.TIME
        by_clock = self._by_the_clock(hour)
        closes, opens = (
            torch.where(is_time, clock, other)
            for clock, other in zip(by_clock, (closes, opens), strict=True)
        )
        return (
            closes | ((self._low > 0) & (v < self._low)),
            opens | ((self._high > 0) & (v > self._high)),
        )

    def _by_the_clock(self, hour: Tensor) -> tuple[Tensor, Tensor]:
        """Whether the hour closes and whether it opens; a span may go over midnight."""
        clock = hour.unsqueeze(1)
        is_after_on, is_before_off = clock >= self._on, clock < self._off
        is_same_day = self._off > self._on
        closes = is_after_on & (is_before_off | ~is_same_day)
        opens = torch.where(
            is_same_day, ~is_before_off | ~is_after_on, ~is_before_off & ~is_after_on
        )
        return closes, opens

    def _picked(self, values: Tensor) -> Tensor:
        """Takes the phase, the greatest, the least or the mean. `[batch, control]`"""
        each = values.unsqueeze(1)
        inf = torch.inf
        own, phase = self._is_own, self._is_phase
        total = torch.where(own, each, 0.0).sum(-1)
        found = torch.where(phase, each, 0.0).sum(-1)
        if values.shape[1]:
            greatest = torch.where(own, each, -inf).amax(-1)
            least = torch.where(own, each, inf).amin(-1)
            found = torch.where(self._phase == GREATEST, greatest, found)
            found = torch.where(self._phase == LEAST, least, found)
        mean = total / own.sum(-1).clamp_min(1)
        return torch.where(self._phase == MEAN, mean, found)

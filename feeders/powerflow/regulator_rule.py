"""What a regulator's control measures, and how far it wants to move."""

from __future__ import annotations

import torch
from torch import Tensor

from gradmap.feeders.controls import GREATEST, LEAST
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.planar import to_complex
from gradmap.feeders.powerflow.solve import PowerFlow

SHARE = 0.7
"""Share of the way to the set point that one move goes, as OpenDSS has it."""


class RegulatorRule:
    """The regulators of a network.

    Args:
        network: The network; its regulators may lack controls, and stay then.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        feeder, device = network.feeder, network.device
        r, c = feeder.regulators, feeder.controls.regulator
        self.count = len(c.held)

        def tensor(array: object) -> Tensor:
            return torch.tensor(array, device=device)

        self._vreg, self._half_band = tensor(r.vreg_v), 0.5 * tensor(r.band_v)
        self._per_volt = tensor(r.pt_ratio / c.winding_v) if self.count else tensor(r.pt_ratio)
        self._step, self._low, self._high = map(tensor, (r.tap_step_pu, r.tap_min, r.tap_max))
        self._delay, self._is_inverse = tensor(c.delay_s), tensor(c.is_inverse)
        self._max_change, self._direction = tensor(c.max_change), tensor(c.direction)
        self._limit, self._phase = tensor(c.limit_v), tensor(c.phase)
        self._moves = tensor([not why for why in c.held])
        self._volt = 1e3 * tensor(feeder.node_kv_base)
        impedance = torch.complex(tensor(r.ldc_r_v), tensor(r.ldc_x_v)) / tensor(r.ct_primary_a)
        self._lay_probes_out(impedance)

    def _lay_probes_out(self, impedance: Tensor) -> None:
        """Makes the table of probes, `[regulator, phase]`, one past the last for none."""
        c, device = self._network.feeder.controls.regulator, self._network.device
        owner = c.probe_regulator.tolist()
        rows: list[list[int]] = [[] for _ in range(self.count)]
        for probe, regulator in enumerate(owner):
            rows[regulator].append(probe)
        width = max(map(len, rows), default=0) or 1
        table = [row + [len(owner)] * (width - len(row)) for row in rows]
        self._table = torch.tensor(table, dtype=torch.int64, device=device).reshape(-1, width)
        self._is_probe = self._table < len(owner)
        index = torch.tensor(owner, dtype=torch.int64, device=device)
        self._from, self._to, self._wire = (
            torch.tensor(part, device=device) for part in (c.probe_from, c.probe_to, c.probe_wire)
        )
        self._ratio = torch.tensor(c.probe_ratio, device=device)[index]
        self._impedance = torch.where(self._wire >= 0, impedance[index], 0.0)

    def wish(self, flow: PowerFlow) -> tuple[Tensor, Tensor]:
        """What each regulator wants at a solution at its own taps, `[batch]`.

        Args:
            flow: The solution.

        Returns:
            Positions to move by, 0 if content, `[batch, regulator]`, int64;
            the delay, s, infinite if content.
        """
        taps = flow.taps
        if not self.count:
            return torch.zeros_like(taps), taps.new_zeros(
                taps.shape, dtype=torch.float64
            ) + torch.inf
        plain, found = self.measure(flow)
        miss = self._vreg - found
        is_over = (self._limit > 0) & (plain > self._limit)
        is_out = (miss.abs() > self._half_band) | is_over
        boost = torch.where(is_over, self._limit - plain, miss)
        wanted = torch.round(boost.nan_to_num(0.0) * self._per_volt / self._step)
        # In this order, as OpenDSS computes it: 0.7 times 10 positions is 6, not 7.
        size = torch.trunc(SHARE * (wanted.abs() * self._step) / self._step)
        size = torch.minimum(size.clamp_min(1.0), self._max_change)
        steps = (torch.sign(wanted) * size).to(torch.int64) * self._direction
        can = torch.where(steps > 0, taps < self._high, taps > self._low)
        acts = is_out & (wanted != 0) & can & self._moves
        haste = (miss.abs() / self._half_band).clamp(max=10.0)
        delay = torch.where(self._is_inverse, self._delay / haste, self._delay)
        return steps * acts, torch.where(acts, delay, torch.inf)

    def measure(self, flow: PowerFlow) -> tuple[Tensor, Tensor]:
        """Reads every regulator's relay.

        Args:
            flow: A solution at taps of its own; leading axes count as one batch.

        Returns:
            The voltage on the control's scale as measured and corrected for
            the line's drop, V. `[batch, regulator]` each
        """
        maps = flow.tapped
        assert maps is not None
        flat = flow.v_pu.reshape(-1, flow.v_pu.shape[-1]).to(torch.complex128)
        volt = torch.nn.functional.pad(flat * self._volt, (0, 1))
        voltage = (volt[:, self._from] - volt[:, self._to]) / self._ratio
        planar = maps.wire_current(maps.wire_voltage(maps.image(flow.j)))
        current = to_complex(planar) @ maps.static.basis.T.to(torch.complex128)
        corrected = voltage + self._impedance * current[:, self._wire.clamp_min(0)]
        return self._picked(voltage.abs(), corrected.abs())

    def _picked(self, voltage: Tensor, corrected: Tensor) -> tuple[Tensor, Tensor]:
        """Takes the phase that counts for each regulator."""
        table = torch.nn.functional.pad(voltage, (0, 1))[:, self._table]
        greatest = table.masked_fill(~self._is_probe, -torch.inf).argmax(-1)
        least = table.masked_fill(~self._is_probe, torch.inf).argmin(-1)
        phase = torch.where(self._phase == LEAST, least, self._phase.clamp_min(0))
        phase = torch.where(self._phase == GREATEST, greatest, phase).unsqueeze(-1)
        other = torch.nn.functional.pad(corrected, (0, 1))[:, self._table]
        return table.gather(-1, phase).squeeze(-1), other.gather(-1, phase).squeeze(-1)

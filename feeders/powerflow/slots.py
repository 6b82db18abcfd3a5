"""Terminal values laid out by slot and port, the shape that the loop works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gradmap.feeders.powerflow.network import Network


class SlotPower:
    """A buffer for conjugate powers by slot and port.

    Args:
        network: The network.
        batch: Number of scenarios.

    Attributes:
        power: `P` and `-Q`, `[slot, batch, 2, port]`, 0 where there is no
            terminal.
    """

    def __init__(self, network: Network, batch: int) -> None:
        slots, padded = network.slot_terminal.shape
        self._network = network
        self._by_port = (batch, slots, network.num_ports)
        self.power = network.start.new_zeros(slots, batch, 2, padded)
        filled = self.power[..., : network.num_ports].transpose(0, 1)
        self._p, self._minus_q = filled[:, :, 0], filled[:, :, 1]
        self._all_p, self._all_minus_q = self.power.transpose(0, 1).unbind(2)

    def load(self, p_kw: Tensor, q_kvar: Tensor) -> None:
        """Copies in the powers of the terminals, `[batch, terminal]`."""
        network = self._network
        if network.is_regular:
            self._p.copy_(p_kw.reshape(self._by_port))
            torch.neg(q_kvar.reshape(self._by_port), out=self._minus_q)
            return
        # One more column, of zeros, stands for the places without a terminal.
        index = network.slot_terminal
        self._all_p.copy_(torch.nn.functional.pad(p_kw, (0, 1))[:, index])
        torch.neg(torch.nn.functional.pad(q_kvar, (0, 1))[:, index], out=self._all_minus_q)


def by_terminal(network: Network, values: Tensor) -> Tensor:
    """Picks each terminal's value.

    Args:
        network: The network.
        values: `[slot, batch, port]`.

    Returns:
        `[batch, terminal]`.
    """
    batch = values.shape[1]
    if network.is_regular:
        used = values[..., : network.num_ports]
        return used.transpose(0, 1).reshape(batch, network.num_terminals)
    flat = values.transpose(0, 1).reshape(batch, -1)
    return flat.index_select(1, network.terminal_place)

"""Terminal values laid out by slot and port, the shape that the loop works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gradmap.feeders.powerflow.network import Network


def power_by_slot(network: Network, p_kw: Tensor, q_kvar: Tensor) -> Tensor:
    """Arranges the conjugate powers of the terminals by slot and port.

    Args:
        network: The network.
        p_kw: Active power, `[batch, terminal]`.
        q_kvar: Reactive power, `[batch, terminal]`.

    Returns:
        `P` and `-Q`, `[slot, batch, 2, port]`, 0 where there is no terminal.
    """
    slots, padded = network.slot_terminal.shape
    batch, used = p_kw.shape[0], network.num_ports
    out = p_kw.new_zeros(slots, batch, 2, padded)
    if network.is_regular:
        by_port = (batch, slots, used)
        filled = out[..., :used]
        filled[:, :, 0].copy_(p_kw.reshape(by_port).transpose(0, 1))
        filled[:, :, 1].copy_(q_kvar.reshape(by_port).transpose(0, 1)).neg_()
        return out
    index = network.slot_terminal.flatten()
    for part, power, sign in ((0, p_kw, 1.0), (1, q_kvar, -1.0)):
        # One column of zeros stands for the places without a terminal.
        padded_power = torch.nn.functional.pad(power, (0, 1))
        gathered = padded_power.index_select(1, index).view(batch, slots, padded)
        torch.mul(gathered.transpose(0, 1), sign, out=out[:, :, part])
    return out


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

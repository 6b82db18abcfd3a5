"""How a day's network answers to the power of devices, as it is kept for cuts."""

from __future__ import annotations

from torch import Tensor

from gradmap.baselines.dispatch.devices import Array
from gradmap.baselines.dispatch.sensitivity import Groups, terminal_powers
from gradmap.feeders.powerflow.response import current_response
from gradmap.feeders.powerflow.solve import PowerFlow
from gradmap.feeders.powerflow.sparse_slopes import SparseSlopes

Response = Array | SparseSlopes
"""Change of the port currents of a dense network for each kW, `[time, group, 2 port]`; of a
sparse one its slopes, from which those of each limit are pulled."""


def responses(
    flow: PowerFlow, base: tuple[Tensor, Tensor, Tensor], groups: Groups, group_kw: Tensor
) -> Response:
    """How the network of a day answers to the groups' power.

    Args:
        flow: The power flow. `[time]`
        base: Active and reactive base load, and photovoltaics. `[time, terminal]`
        groups: The groups.
        group_kw: Their power. `[time, group]`

    Returns:
        See `Response`.
    """
    p, q = terminal_powers(*base, groups, group_kw)
    device = flow.network.device
    terminal = (groups.terminal + flow.network.num_load_terminals).to(device)
    given = (flow, p.to(device), q.to(device), terminal, groups.kvar_per_kw)
    if flow.network.method == "sparse":
        return SparseSlopes(*given)
    array: Array = current_response(*given).cpu().double().numpy()
    return array

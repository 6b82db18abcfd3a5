"""Who pays how much of the network's price, where rewards are per agent."""

from __future__ import annotations

import torch
from torch import Tensor

from gradmap.baselines.rllib.config import Split
from gradmap.envs.core import Core


class PriceShares:
    """Divides the price of the network's violations among the agents.

    Args:
        core: The environment.
        split: `even` divides every price among all agents; `local` that of a
            voltage among the agents at its bus, where there are any.
        weight: How many times the agents together pay the price.
    """

    def __init__(self, core: Core, split: Split = "local", weight: float = 1.0) -> None:
        self._num_agents = core.num_agents
        self._weight = weight
        self._shares = None if split == "even" else local_shares(core)

    def __call__(self, nodes: Tensor, branches: Tensor) -> Tensor:
        """What every agent pays.

        Args:
            nodes: Price at each node, $. `[..., monitored]`
            branches: Price of each branch, $. `[..., branch]`

        Returns:
            The price, $, dtype of `nodes`. `[..., agent]`
        """
        even = branches.sum(-1, keepdim=True)
        if self._shares is None:
            even = nodes.sum(-1, keepdim=True) + even
            price = even.expand(*even.shape[:-1], self._num_agents) / self._num_agents
            return self._weight * price
        return self._weight * (nodes @ self._shares + even / self._num_agents)


def local_shares(core: Core) -> Tensor:
    """Shares of every node's price: divided among the agents at its bus, or among all.

    Args:
        core: The environment.

    Returns:
        Shares, each row's sum 1. `[monitored, agent]`, dtype of the power flow
    """
    feeder = core.feeder
    number = {bus: index for index, bus in enumerate(dict.fromkeys(feeder.node_bus))}
    bus_of_node = torch.tensor([number[bus] for bus in feeder.node_bus], device=core.device)
    node_of_terminal = torch.tensor(feeder.terminals.node_from, device=core.device)
    bus_of_agent = bus_of_node[node_of_terminal[core.agent_terminal]]
    is_there = bus_of_node[core.limits.monitored].unsqueeze(-1) == bus_of_agent
    # A bus without agents is everybody's.
    is_there = is_there | ~is_there.any(-1, keepdim=True)
    shares = is_there.to(core.network.real_dtype)
    return shares / shares.sum(-1, keepdim=True)

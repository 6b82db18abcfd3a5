"""Batched, differentiable three-phase power flow in torch."""

from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import PowerFlow, solve_power_flow

__all__ = ["Network", "PowerFlow", "solve_power_flow"]

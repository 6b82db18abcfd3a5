"""The cheapest dispatch of many devices, with prices, a network and a lower bound."""

from gradmap.baselines.dispatch.horizon import Horizon
from gradmap.baselines.dispatch.problem import Dispatch, solve_dispatch
from gradmap.baselines.dispatch.sensitivity import GridModel, Groups, grid_values, linearise

__all__ = [
    "Dispatch",
    "GridModel",
    "Groups",
    "Horizon",
    "grid_values",
    "linearise",
    "solve_dispatch",
]

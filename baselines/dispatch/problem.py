"""The cheapest dispatch of all devices over a horizon, with the network linearised."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gradmap.baselines.dispatch.devices import Block, fleet_blocks
from gradmap.baselines.dispatch.horizon import Horizon
from gradmap.baselines.dispatch.interior import Solution, solve_interior
from gradmap.baselines.dispatch.newton import Newton
from gradmap.baselines.dispatch.rows import UNIT, Choice, Rows, extend, fill_rows
from gradmap.baselines.dispatch.sensitivity import GridModel
from gradmap.envs.devices.base import DeviceStep, Fleet

_ROWS_PER_STEP = 4  # added in a round; more make rounds fewer and each one slower


@dataclasses.dataclass(frozen=True)
class Dispatch:
    """A dispatch of a batch of days.

    Attributes:
        p_kw: Power drawn by each agent, float64. `[batch, time, agent]`
        action: The actions that lead to it, float32. `[batch, time, agent]`
        cost_usd: What the devices' own accounts say of it, float64. `[batch]`
        bound_usd: Lower bound of what any dispatch within the rows costs, a
            limit's charge for giving way included, float64. `[batch]`
        excess: By how much the linear model's limits are exceeded most, p.u.
            or share of a rating; 0 without a grid. `[batch]`
        price_usd: Price of each limit, $ per p.u. or rating over a step: positive
            at upper ends, negative at lower ones. `[batch, time, limit]`; None
            without a grid.
        choice: The rows of the problem, a start for the next one like it.
        num_rounds: Problems solved.
        iterations: Newton steps in all.
    """

    p_kw: Tensor
    action: Tensor
    cost_usd: Tensor
    bound_usd: Tensor
    excess: Tensor
    price_usd: Tensor | None
    choice: Choice
    num_rounds: int
    iterations: int


def solve_dispatch(
    fleets: Sequence[Fleet],
    states: Sequence[Tensor],
    horizon: Horizon,
    grid: GridModel | None = None,
    *,
    margin_pu: float = 0.0,
    choice: Choice | None = None,
    max_rounds: int = 8,
    tolerance_pu: float = 1e-5,
    tolerance: float = 1e-5,
    limit_usd: float = 30_000.0,
) -> Dispatch:
    """Finds the cheapest dispatch of a batch of days.

    Args:
        fleets: The fleets, in the order of the agents.
        states: State of each where the horizon begins. `[batch, device, entry]`
        horizon: Prices and weather.
        grid: The network; None to leave it out, which is exact and a lower
            bound of any day with a network.
        margin_pu: How far inside the limits to stay, p.u. or share of a
            rating; negative to go beyond.
        choice: Rows to begin with; None begins without any.
        max_rounds: Problems to solve at most; rows are added after each.
        tolerance_pu: Excess that adds no row.
        tolerance: Of the cost, as a share of it.
        limit_usd: Price of 1 p.u., or of a branch's rating, at which a limit
            gives way for a step.

    Returns:
        The dispatch. Where `max_rounds` were not enough its `excess` is above
        `tolerance_pu`; its bound is one nevertheless.

    Raises:
        GradmapError: If a fleet has no convex problem.
    """
    blocks = fleet_blocks(fleets, states, horizon)
    batch, time = horizon.tariff_usd_per_kwh.shape
    model = None if grid is None else _Model(grid.tightened(margin_pu))
    sizes = [fleet.num_devices for fleet in fleets]
    group = torch.zeros(sum(sizes), dtype=torch.int64) if grid is None else grid.group
    groups = [part.numpy() for part in group.split(sizes)]
    chosen = Choice.empty(batch, time) if choice is None or model is None else choice
    num_rounds = iterations = 0
    added = 1
    while added and num_rounds < max_rounds:
        num_rounds += 1
        rows = no_rows(batch, time) if model is None else model.rows(chosen)
        found = [
            solve_interior(*day, price_max=limit_usd * UNIT, tolerance=tolerance)
            for day in zip(blocks, [groups] * batch, rows, strict=True)
        ]
        iterations += sum(each.iterations for each in found)
        action, p_kw, cost = play_devices(fleets, states, horizon, actions_of(blocks, found))
        excess = torch.zeros(batch, dtype=torch.float64)
        if model is None:
            break
        excess, chosen, added = model.extend(chosen, p_kw, tolerance_pu)
    price = None if model is None else model.prices(chosen, found)
    return Dispatch(
        p_kw=p_kw,
        action=action,
        cost_usd=cost,
        bound_usd=torch.tensor([each.bound_usd for each in found], dtype=torch.float64),
        excess=excess,
        price_usd=price,
        choice=chosen,
        num_rounds=num_rounds,
        iterations=iterations,
    )


class _Model:
    """A grid model as arrays."""

    def __init__(self, grid: GridModel) -> None:
        self.grid = grid
        names = ("value", "per_kw", "group_kw", "low", "high")
        self.arrays = {name: getattr(grid, name).numpy() for name in names}

    def rows(self, choice: Choice) -> list[Rows]:
        """The rows of a choice."""
        return fill_rows(choice, **self.arrays)

    def extend(self, choice: Choice, p_kw: Tensor, tolerance: float) -> tuple[Tensor, Choice, int]:
        """Adds the limits that powers exceed; returns the largest excess, too."""
        grid, num_groups = self.grid, self.grid.group_kw.shape[-1]
        zeros = torch.zeros(*p_kw.shape[:-1], num_groups, dtype=torch.float64)
        value = grid.at(zeros.index_add(-1, grid.group, p_kw))
        over, under = value - grid.high, grid.low - value
        depth = torch.maximum(over, under)
        is_high = (over > under).numpy()
        beyond = (depth - tolerance).numpy()
        chosen, added = extend(choice, beyond, self.arrays["per_kw"], is_high, _ROWS_PER_STEP)
        return depth.amax((1, 2)).clamp_min(0.0), chosen, added

    def prices(self, choice: Choice, found: Sequence[Solution]) -> Tensor:
        """The rows' prices laid out by limit."""
        out = np.zeros(self.arrays["value"].shape)
        price = np.stack([each.price for each in found])
        slots = price.shape[2]
        limit, is_high = choice.limit[..., :slots], choice.is_high[..., :slots]
        b, t, s = np.nonzero((limit >= 0) & (price != 0))
        sign = np.where(is_high[b, t, s], 1.0, -1.0) / UNIT
        np.add.at(out, (b, t, limit[b, t, s]), sign * price[b, t, s])
        return torch.from_numpy(out)


def no_rows(batch: int, time: int) -> list[Rows]:
    """Rows of problems without a network, for each day of a batch."""
    shape = (time, 1)
    return [Rows(np.zeros((*shape, 1)), np.ones(shape), np.zeros(shape, bool))] * batch


def actions_of(blocks: Sequence[Sequence[Block]], found: Sequence[Solution]) -> list[Tensor]:
    """Actions of each fleet, float32. `[batch, time, device]` each

    Args:
        blocks: The fleets of each day.
        found: Their solutions.
    """
    days = []
    for fleets, solution in zip(blocks, found, strict=True):
        pairs = zip(fleets, solution.variables, strict=True)
        days.append([block.action_of(Newton(block).power(v)) for block, v in pairs])
    return [
        torch.from_numpy(np.clip(np.stack(fleet), -1.0, 1.0)).float()
        for fleet in zip(*days, strict=True)
    ]


def play_devices(
    fleets: Sequence[Fleet], states: Sequence[Tensor], horizon: Horizon, actions: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Lets the devices follow actions.

    The devices' own step has the last word on what they can do, so that the
    power is the environment's to rounding.

    Args:
        fleets: The fleets.
        states: Their states where the horizon begins. `[batch, device, entry]`
        horizon: Prices and weather.
        actions: Of each fleet. `[batch, time, device]`

    Returns:
        Actions and power of all agents, `[batch, time, agent]`, and the cost, `[batch]`.
    """
    now = [state.detach().double() for state in states]
    device = now[0].device
    whole = horizon.surroundings().to(device)
    cost = torch.zeros(len(now[0]), dtype=torch.float64, device=device)
    power = []
    for t in range(horizon.num_steps):
        around = dataclasses.replace(whole[:, t], is_last=t == horizon.num_steps - 1)
        done: list[DeviceStep] = []
        for k, (fleet, action) in enumerate(zip(fleets, actions, strict=True)):
            now[k], step = fleet.step(now[k], action[:, t].to(device).double(), around)
            done.append(step)
            usd = step.energy_usd + step.fuel_usd + step.wear_usd + step.discomfort_usd
            cost = cost + usd.sum(-1)
        power.append(torch.cat([step.p_kw for step in done], -1))
    return torch.cat(actions, -1), torch.stack(power, 1).cpu(), cost.cpu()

"""The agents of a task: their devices and where they are connected."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from gradmap.envs.config import TaskConfig
from gradmap.envs.devices.base import Fleet
from gradmap.envs.devices.battery import make_batteries
from gradmap.envs.devices.generator import make_generators
from gradmap.envs.devices.heat_pump import make_heat_pumps
from gradmap.feeders.model import Feeder

FleetT = TypeVar("FleetT")


@dataclasses.dataclass(frozen=True)
class Agents:
    """All agents, device type by device type.

    Attributes:
        fleets: The fleets in the order of the agents; none is empty.
        names: `battery_0007` and the like; the number counts over all agents
            of the type. `[agent]`
        kinds: Device type of every agent. `[agent]`
        terminal: Load terminal at which the agent is connected, int64.
            `[agent]`
    """

    fleets: tuple[Fleet, ...]
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    terminal: Tensor

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        return len(self.names)

    @property
    def sizes(self) -> list[int]:
        """Number of agents in each fleet, in order."""
        return [fleet.num_devices for fleet in self.fleets]


def _place(weights: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Spreads `num` devices over terminals in proportion to `weights`.

    Systematic sampling: one random offset, then equal steps along the
    cumulative weight. Counts are within one of proportional, for any `num`.
    """
    edges = torch.cumsum(weights, 0) / weights.sum()
    points = (torch.arange(num) + torch.rand(1, generator=generator)) / max(num, 1)
    order = torch.randperm(num, generator=generator)
    found = torch.searchsorted(edges.contiguous(), points.to(edges.dtype))
    return found.clamp_max(len(weights) - 1)[order]


def build_agents(config: TaskConfig, feeder: Feeder) -> Agents:
    """Draws the agents of a task, on the CPU, deterministic in its seed.

    Args:
        config: The task.
        feeder: The feeder that they are connected to.

    Returns:
        The agents.
    """
    generator = torch.Generator().manual_seed(config.seed)
    counts = config.mix.counts(config.num_agents)
    scale = config.unit_scale
    makers: dict[str, Callable[[int], Fleet]] = {
        "battery": lambda n: make_batteries(n, scale * config.battery_kw, generator),
        "heat_pump": lambda n: make_heat_pumps(n, scale * config.heat_pump_kw, scale, generator),
        "generator": lambda n: make_generators(n, scale * config.generator_kw, generator),
    }
    load_kw = torch.tensor(feeder.terminals.p_kw)
    fleets: list[Fleet] = []
    names: list[str] = []
    kinds: list[str] = []
    terminals: list[Tensor] = []
    for kind, num in counts.items():
        if num == 0:
            continue
        fleets.append(makers[kind](num))
        terminals.append(_place(load_kw, num, generator))
        names += [f"{kind}_{i:04d}" for i in range(num)]
        kinds += [kind] * num
    return Agents(tuple(fleets), tuple(names), tuple(kinds), torch.cat(terminals))


def move_fleet(fleet: FleetT, device: torch.device) -> FleetT:
    """Returns the fleet with its parameters on another torch device."""
    moved = {
        field.name: value.to(device)
        for field in dataclasses.fields(fleet)  # type: ignore[arg-type]
        if isinstance(value := getattr(fleet, field.name), Tensor)
    }
    return dataclasses.replace(fleet, **moved)  # type: ignore[type-var]

"""The agents of a task: their devices and where they are connected."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from gradmap.envs.config import TaskConfig
from gradmap.envs.devices.base import Fleet
from gradmap.envs.devices.battery import make_batteries
from gradmap.envs.devices.ev_charger import make_ev_chargers
from gradmap.envs.devices.generator import make_generators
from gradmap.envs.devices.heat_pump import make_heat_pumps
from gradmap.envs.devices.pv_inverter import make_pv_inverters
from gradmap.envs.placement import Device, count_kinds, read_devices
from gradmap.envs.sites import load_kw, site_terminals, site_weights
from gradmap.feeders.errors import GradmapError
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

    Raises:
        GradmapError: If there is no place for them on the feeder.
    """
    generator = torch.Generator().manual_seed(config.seed)
    if config.placement.csv is not None:
        return _listed_agents(config, feeder, read_devices(config.placement.csv), generator)
    scale = real_devices(config, feeder)
    weights = site_weights(config.placement, feeder)
    fleets: list[Fleet] = []
    terminals: list[Tensor] = []
    counts = config.mix.counts(config.num_agents)
    for kind, num in counts.items():
        if num == 0:
            continue
        mean_kw = scale * _size_kw(config, kind)
        fleets.append(_make(config, kind, num, mean_kw, scale, generator))
        terminals.append(_place(weights, num, generator))
    return _join(fleets, {kind: num for kind, num in counts.items() if num}, terminals)


def real_devices(config: TaskConfig, feeder: Feeder) -> float:
    """How many real devices one agent stands for: `difficulty` decides, if it is given.

    Args:
        config: The task.
        feeder: Its feeder.
    """
    if config.difficulty is None:
        return config.unit_scale
    counts = config.mix.counts(config.num_agents)
    single_kw = sum(num * _size_kw(config, kind) for kind, num in counts.items())
    peak_kw = config.scenarios.base_load_scale * float(load_kw(feeder).sum())
    if not peak_kw > 0:
        raise GradmapError(
            f"difficulty is a share of the peak load, but feeder {feeder.name} has none: leave "
            "difficulty out, or give loads and scenarios.base_load_scale a value above 0"
        )
    return config.difficulty * peak_kw * config.crowding / single_kw


_SPREAD = 0.2
"""How far the rated power of drawn devices lies from the mean at most, as a share."""


def _make(
    config: TaskConfig,
    kind: str,
    num: int,
    mean_kw: float | Tensor,
    real: float | Tensor,
    generator: torch.Generator,
    spread: float = _SPREAD,
) -> Fleet:
    """Draws the devices of a type; each stands for `real` ones."""
    if kind == "battery":
        kvar = config.battery_kvar_per_kw
        return make_batteries(num, mean_kw, generator, spread, kvar)
    if kind == "heat_pump":
        return make_heat_pumps(num, mean_kw, real, generator, spread)
    if kind == "generator":
        return make_generators(num, mean_kw, generator, spread)
    if kind == "ev_charger":
        return make_ev_chargers(num, mean_kw, real, generator, spread)
    return make_pv_inverters(num, mean_kw, generator, spread, config.pv_kvar_per_kw)


def _size_kw(config: TaskConfig, kind: str) -> float:
    """Mean rated power of a single real device, kW."""
    size: float = getattr(config, f"{kind}_kw")
    return size


def _listed_agents(
    config: TaskConfig, feeder: Feeder, devices: Sequence[Device], generator: torch.Generator
) -> Agents:
    """The devices of a file, each of the size it states, type by type."""
    fleets, terminals = [], []
    at = site_terminals(devices, feeder)
    counts = count_kinds(devices)
    for kind, num in counts.items():
        own = [i for i, device in enumerate(devices) if device.kind == kind]
        size_kw = torch.tensor([devices[i].size_kw for i in own])
        houses = size_kw / _size_kw(config, kind)
        fleets.append(_make(config, kind, num, size_kw, houses, generator, 0.0))
        terminals.append(at[own])
    return _join(fleets, counts, terminals)


def _join(
    fleets: Sequence[Fleet], counts: Mapping[str, int], terminals: Sequence[Tensor]
) -> Agents:
    names = tuple(f"{kind}_{i:04d}" for kind, num in counts.items() for i in range(num))
    kinds = tuple(kind for kind, num in counts.items() for _ in range(num))
    return Agents(tuple(fleets), names, kinds, torch.cat(list(terminals)))


def move_fleet(fleet: FleetT, device: torch.device) -> FleetT:
    """Returns the fleet with its parameters on another torch device."""
    moved = {
        field.name: value.to(device)
        for field in dataclasses.fields(fleet)  # type: ignore[arg-type]
        if isinstance(value := getattr(fleet, field.name), Tensor)
    }
    return dataclasses.replace(fleet, **moved)  # type: ignore[type-var]

"""The agents of a task: their devices and where they are connected."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from gradmap.envs.config import TaskConfig
from gradmap.envs.devices.base import Fleet
from gradmap.envs.devices.battery import BatteryFleet, make_batteries
from gradmap.envs.devices.ev_charger import make_ev_chargers
from gradmap.envs.devices.generator import make_generators
from gradmap.envs.devices.heat_pump import make_heat_pumps
from gradmap.envs.devices.pv_inverter import PVInverterFleet, make_pv_inverters
from gradmap.envs.kinds import KINDS
from gradmap.envs.own_devices import OwnDevice, own_devices
from gradmap.envs.own_fleet import join_alike, own_fleet
from gradmap.envs.placement import Device, count_kinds, read_devices
from gradmap.envs.sites import load_kw, site_terminals, site_weights
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import Feeder

FleetT = TypeVar("FleetT")
InverterFleetT = TypeVar("InverterFleetT", BatteryFleet, PVInverterFleet)


@dataclasses.dataclass(frozen=True)
class Agents:
    """All agents, device type by device type.

    Attributes:
        fleets: The fleets in the order of the agents; none is empty.
        names: `battery_0007` and the like; the number counts over all agents
            of the type that are drawn. The circuit's own devices are named
            after their element, see `OwnDevice`. `[agent]`
        kinds: Device type of every agent. `[agent]`
        terminal: Terminal of the feeder at which the agent is connected,
            int64. `[agent]`
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

    Of each device type the circuit's own come first, see
    `gradmap.envs.own_devices`; all others are those of the same task with so
    many fewer agents and nothing handed over.

    Args:
        config: The task.
        feeder: The feeder that they are connected to.

    Returns:
        The agents.

    Raises:
        GradmapError: If there is no place for them on the feeder, or the
            circuit's own are more than the task's agents.
    """
    if config.placement.csv is not None:
        generator = torch.Generator().manual_seed(config.seed)
        return _listed_agents(config, feeder, read_devices(config.placement.csv), generator)
    own = own_devices(config.hand_over, feeder)
    num_drawn = config.num_agents - len(own)
    if num_drawn < 0:
        raise GradmapError(
            f"num_agents is {config.num_agents}, but the circuit hands over {len(own)} devices "
            f"({own[0].name}, ...): give num_agents {len(own)}, or more for others beside them"
        )
    if not own:
        return _drawn_agents(config, feeder)
    rest = dataclasses.replace(config, num_agents=max(num_drawn, 1), hand_over=())
    return _with_own(config, feeder, own, _drawn_agents(rest, feeder) if num_drawn else None)


def agent_counts(config: TaskConfig, feeder: Feeder) -> dict[str, int]:
    """Number of agents of each device type, the circuit's own included.

    Args:
        config: The task.
        feeder: Its feeder.
    """
    own = [device.kind for device in own_devices(config.hand_over, feeder)]
    num_drawn = config.num_agents - len(own)
    drawn = config.mix.counts(num_drawn) if num_drawn > 0 else {}
    counts = {kind: drawn.get(kind, 0) + own.count(kind) for kind in KINDS}
    return {kind: num for kind, num in counts.items() if num or kind in drawn}


def _drawn_agents(config: TaskConfig, feeder: Feeder) -> Agents:
    """The agents that the task's mix and seed make."""
    generator = torch.Generator().manual_seed(config.seed)
    scale = real_devices(config, feeder)
    counts = {kind: num for kind, num in config.mix.counts(config.num_agents).items() if num}
    weights = site_weights(config.placement, feeder, tuple(counts))
    fleets: list[Fleet] = []
    terminals: list[Tensor] = []
    for kind, num in counts.items():
        mean_kw = scale * _size_kw(config, kind)
        fleets.append(_make(config, kind, num, mean_kw, scale, generator))
        terminals.append(_place(weights[kind], num, generator))
    return _join(fleets, counts, terminals)


def _with_own(
    config: TaskConfig, feeder: Feeder, own: Sequence[OwnDevice], drawn: Agents | None
) -> Agents:
    """The circuit's own devices and those drawn, one fleet for each type."""
    fleets: list[Fleet] = []
    names: list[str] = []
    terminals: list[Tensor] = []
    rest = {} if drawn is None else {fleet.kind: fleet for fleet in drawn.fleets}
    for kind in KINDS:
        mine = [device for device in own if device.kind == kind]
        if mine:
            fleet = own_fleet(config, feeder, kind, mine)
            fleets.append(join_alike(fleet, rest[kind]) if kind in rest else fleet)
            names += [device.name for device in mine]
            terminals.append(torch.tensor([device.terminal for device in mine]))
        elif kind in rest:
            fleets.append(rest[kind])
        if drawn is not None and kind in rest:
            at = [i for i, other in enumerate(drawn.kinds) if other == kind]
            names += [drawn.names[i] for i in at]
            terminals.append(drawn.terminal[at])
    kinds = tuple(fleet.kind for fleet in fleets for _ in range(fleet.num_devices))
    return Agents(tuple(fleets), tuple(names), kinds, torch.cat(terminals))


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
        return _rated(config, make_batteries(num, mean_kw, generator, spread, kvar))
    if kind == "heat_pump":
        return make_heat_pumps(num, mean_kw, real, generator, spread)
    if kind == "generator":
        return make_generators(num, mean_kw, generator, spread)
    if kind == "ev_charger":
        return make_ev_chargers(num, mean_kw, real, generator, spread)
    inverters = make_pv_inverters(num, mean_kw, generator, spread, config.pv_kvar_per_kw)
    return _rated(config, inverters)


def _rated(config: TaskConfig, fleet: InverterFleetT) -> InverterFleetT:
    """The fleet with inverters where its reactive power is a free choice."""
    if config.reactive == "rule":
        return fleet
    return dataclasses.replace(fleet, kva=config.inverter_kva_per_kw * fleet.p_max_kw)


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

"""Fleets of the circuit's own devices, sized by the circuit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from gradmap.envs.config import TaskConfig
from gradmap.envs.devices.base import Fleet
from gradmap.envs.devices.battery import BatteryFleet, make_batteries
from gradmap.envs.devices.generator import make_generators
from gradmap.envs.devices.pv_inverter import make_pv_inverters
from gradmap.envs.own_devices import OwnDevice
from gradmap.feeders.model import Feeder, FloatArray
from gradmap.feeders.plants import Plants

FleetT = TypeVar("FleetT")

_SEED = 2  # beside the task's seed: that of the agents' is 0, that of the days' draws 1


def own_fleet(config: TaskConfig, feeder: Feeder, kind: str, devices: Sequence[OwnDevice]) -> Fleet:
    """The circuit's own devices of one type.

    What the circuit does not say (fuel, ramp and wear) is drawn as for other
    agents, once for each element: its phases are alike.

    Args:
        config: The task.
        feeder: The feeder.
        kind: Device type.
        devices: The devices, all of the type.
    """
    rows = list(dict.fromkeys(device.plant for device in devices))
    phases = {device.plant: device.num_phases for device in devices}
    share = np.array([1.0 / phases[row] for row in rows])
    generator = torch.Generator().manual_seed(config.seed + _SEED)
    plants, num = feeder.plants, len(rows)
    kva = None if config.reactive == "rule" else _tensor(share * plants.s_rated_kva[rows])
    fleet: Fleet
    if kind == "generator":
        size = share * np.maximum(plants.p_rated_kw[rows], _fed_kw(feeder, rows))
        fleet = make_generators(num, _tensor(size), generator, 0.0)
    elif kind == "battery":
        size = share * _within_kva(plants, rows, config.battery_kvar_per_kw)
        kvar = config.battery_kvar_per_kw
        drawn = make_batteries(num, _tensor(size), generator, 0.0, kvar)
        fleet = _with_storage(drawn, plants, rows, share)
        fleet = dataclasses.replace(fleet, kva=kva)
    else:
        size = share * _within_kva(plants, rows, config.pv_kvar_per_kw)
        drawn_pv = make_pv_inverters(num, _tensor(size), generator, 0.0, config.pv_kvar_per_kw)
        fleet = dataclasses.replace(drawn_pv, kva=kva)
    return _take(fleet, torch.tensor([rows.index(device.plant) for device in devices]))


def _within_kva(plants: Plants, rows: Sequence[int], kvar_per_kw: float) -> FloatArray:
    """Rated power for which the inverter has room beside its reactive power, kW."""
    room = plants.s_rated_kva[rows] / math.sqrt(1.0 + kvar_per_kw**2)
    return np.minimum(plants.p_rated_kw[rows], room)


def _fed_kw(feeder: Feeder, rows: Sequence[int]) -> FloatArray:
    """What elements feed in at the snapshot, which `GenMult` may put above their rating, kW."""
    t = feeder.terminals
    # By kind too: a load may be called `generator.x` where there is a generator x.
    named = [("" if kind == "load" else name) for name, kind in zip(t.load, t.kind, strict=True)]
    at = [[name == feeder.plants.name[row] for name in named] for row in rows]
    return -np.array([t.p_kw[own].sum() for own in at])


def _with_storage(
    fleet: BatteryFleet, plants: Plants, rows: Sequence[int], share: FloatArray
) -> BatteryFleet:
    """Energy above the reserve, and the round trip's efficiency in equal parts both ways."""
    usable = (plants.capacity_kwh - plants.reserve_kwh)[rows]
    stored = (plants.stored_kwh - plants.reserve_kwh)[rows]
    both = (plants.charge_efficiency * plants.discharge_efficiency)[rows]
    return dataclasses.replace(
        fleet,
        energy_max_kwh=_tensor(share * usable),
        efficiency=_tensor(np.sqrt(both)),
        start_share=_tensor(np.clip(stored / usable, 0.0, 1.0)),
    )


def _tensor(values: FloatArray) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _take(fleet: FleetT, index: Tensor) -> FleetT:
    """The fleet with the devices of an index, in its order."""
    taken = {
        field.name: value[index]
        for field in dataclasses.fields(fleet)  # type: ignore[arg-type]
        if isinstance(value := getattr(fleet, field.name), Tensor)
    }
    return dataclasses.replace(fleet, **taken)  # type: ignore[type-var]


def join_alike(one: FleetT, other: FleetT) -> FleetT:
    """Joins two fleets of one type; a parameter that only one has is NaN in the other.

    Args:
        one: The devices that come first.
        other: Those after them.
    """
    joined = {}
    for field in dataclasses.fields(one):  # type: ignore[arg-type]
        values = [getattr(fleet, field.name) for fleet in (one, other)]
        if any(isinstance(value, Tensor) for value in values):
            nothing = [torch.full((fleet.num_devices,), torch.nan) for fleet in (one, other)]  # type: ignore[attr-defined]
            pairs = zip(values, nothing, strict=True)
            joined[field.name] = torch.cat([none if x is None else x for x, none in pairs])
    return dataclasses.replace(one, **joined)  # type: ignore[type-var]

"""The terminals of a feeder at which agents can sit."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gradmap.envs.kinds import KINDS
from gradmap.envs.placement import Device, Placement
from gradmap.feeders.errors import GradmapError, raise_faults
from gradmap.feeders.model import GROUND, Feeder, FloatArray

_LEAST_KW = 1e-6  # of a terminal that is rated at nothing: its features are then 0


def load_kw(feeder: Feeder) -> FloatArray:
    """Rated active power of every load terminal, kW; 0 at what feeds in. `[terminal]`

    Args:
        feeder: The feeder.
    """
    is_load = np.array([kind == "load" for kind in feeder.terminals.kind])
    return np.where(is_load, np.maximum(feeder.terminals.p_kw, 0.0), 0.0)


def site_rating_kw(feeder: Feeder) -> FloatArray:
    """What base load and sun of a site are measured by, kW, above 0. `[terminal]`

    Args:
        feeder: The feeder.
    """
    return np.maximum(np.abs(feeder.terminals.p_kw), _LEAST_KW)


def site_weights(
    placement: Placement, feeder: Feeder, kinds: Sequence[str] = KINDS
) -> dict[str, Tensor]:
    """Weight of every terminal in the draw of the agents' sites, float64.

    Args:
        placement: Where agents sit.
        feeder: The feeder.
        kinds: The device types that are asked for.

    Returns:
        By device type. `[terminal]` each

    Raises:
        GradmapError: If a bus is unknown, or there is no load to sit beside;
            names all.
    """
    weights, at = load_kw(feeder), _terminal_buses(feeder)
    lists = {"placement.buses": placement.buses} | {
        f"placement.buses_of.{kind}": buses for kind, buses in placement.buses_of.items()
    }
    faults = [
        phrase
        for key, buses in lists.items()
        for phrase in _bus_faults(feeder, [bus.lower() for bus in buses], key, weights, at)
    ]
    raise_faults(f"feeder {feeder.name}", faults)
    if not weights.sum() > 0:
        raise GradmapError(
            f"feeder {feeder.name} has no load with a rated power above 0 kW; agents sit beside "
            "loads, in proportion to them: name sites in placement.csv, or give loads a power"
        )
    found = {}
    for kind in kinds:
        wanted = {bus.lower() for bus in placement.of(kind)}
        own = np.where([bus in wanted for bus in at], weights, 0.0) if wanted else weights
        found[kind] = torch.tensor(own)
    return found


def _bus_faults(
    feeder: Feeder, wanted: Sequence[str], key: str, weights: FloatArray, at: Sequence[str]
) -> list[str]:
    """A phrase for each bus of a list that is unknown or has no load."""
    faults = _unknown_buses(feeder, wanted, key)
    for bus in dict.fromkeys(wanted):
        if bus in feeder.bus_names and not weights[[own == bus for own in at]].sum() > 0:
            faults.append(f"{key}: bus {bus} has no load for agents to sit beside")
    return faults


def site_terminals(devices: Sequence[Device], feeder: Feeder) -> Tensor:
    """Terminal of every device of a file, int64. `[device]`

    A device takes the terminal of its phase; between phases, that of either.

    Args:
        devices: The devices.
        feeder: The feeder.

    Raises:
        GradmapError: If a bus is unknown or has no terminal on the phase;
            names all.
    """
    terminals, phases = feeder.terminals, feeder.node_phase
    at, power = _terminal_buses(feeder), load_kw(feeder)
    by_bus: dict[str, list[int]] = {}
    for index, bus in enumerate(at):
        by_bus.setdefault(bus, []).append(index)
    found, faults = [], _unknown_buses(feeder, [d.bus for d in devices], "placement.csv")
    for device in devices:
        own = by_bus.get(device.bus, [])
        if device.phase is not None:
            first = [i for i in own if phases[terminals.node_from[i]] == device.phase]
            second = [
                i
                for i in own
                if terminals.node_to[i] != GROUND and phases[terminals.node_to[i]] == device.phase
            ]
            own = first or second
        if own:
            found.append(max(own, key=lambda i: (power[i], -i)))
        elif device.bus in feeder.bus_names:
            phase = "" if device.phase is None else f" on phase {device.phase}"
            faults.append(
                f"placement.csv line {device.row}: bus {device.bus} has no load{phase} for a "
                "device to sit beside"
            )
    raise_faults(f"feeder {feeder.name}", faults)
    return torch.tensor(found, dtype=torch.int64)


def _terminal_buses(feeder: Feeder) -> list[str]:
    """Bus of every terminal, lower case. `[terminal]`"""
    bus = feeder.node_bus
    return [bus[node].lower() for node in feeder.terminals.node_from]


def _unknown_buses(feeder: Feeder, wanted: Sequence[str], key: str) -> list[str]:
    """A phrase for each bus that the feeder does not have."""
    known = [bus.lower() for bus in feeder.bus_names]
    faults = []
    for bus in dict.fromkeys(wanted):
        if bus not in known:
            near = difflib.get_close_matches(bus, known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            faults.append(f"{key}: the feeder has no bus {bus}{hint}")
    return faults

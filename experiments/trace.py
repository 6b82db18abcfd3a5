"""A few agents' whole days, kept beside a judgement so that one can look at them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from gradmap.envs.core import Core
from gradmap.envs.devices.battery import BatteryFleet
from gradmap.envs.devices.ev_charger import EVChargerFleet
from gradmap.envs.devices.generator import GeneratorFleet
from gradmap.envs.devices.heat_pump import HeatPumpFleet
from gradmap.envs.devices.pv_inverter import PVInverterFleet
from gradmap.feeders.model import GROUND

if TYPE_CHECKING:
    from gradmap.experiments.evaluate import Played

Arrays = dict[str, npt.NDArray[Any]]

RANKS = ("worst", "median")
"""Agents of each device type that are kept: at the terminal whose voltage moves
most with what the devices do, and at the one in the middle of that order."""

STATE_UNITS = {
    "battery": "state of charge, %",
    "heat_pump": "indoor temperature, degC",
    "generator": "output before the step, kW",
    "ev_charger": "energy in the car, kWh",
    "pv_inverter": "output before the step, kW",
}
"""What an agent's own state is, by its device type."""


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Agents that are kept.

    Attributes:
        agent: Index of each. `[kept]`
        rank: Which of `RANKS` it is. `[kept]`
    """

    agent: npt.NDArray[np.int64]
    rank: tuple[str, ...]


@torch.no_grad()
def choose_agents(core: Core) -> Chosen:
    """Chooses the agents to keep: the same ones whatever the policy and its seed.

    The first day is run twice, every device drawing all it can and then as
    little; agents are ranked by how far this moves their terminal's voltage.

    Args:
        core: The environment.

    Returns:
        Two agents of every device type, one where there is no second.
    """
    days = torch.zeros(2, dtype=torch.int64, device=core.device)
    action = torch.ones(2, core.num_steps, core.num_agents, device=core.device)
    action[1] = -1.0
    flow = core.run_open_loop(days, core.whole_action(action)).flow
    at_terminal = flow.v_terminal_magnitude_pu[..., core.agent_terminal]
    moved = np.nan_to_num((at_terminal[1] - at_terminal[0]).abs().amax(0).double().cpu().numpy())
    agents: dict[int, str] = {}
    for kind in dict.fromkeys(core.agent_kinds):
        own = np.array([i for i, each in enumerate(core.agent_kinds) if each == kind])
        order = own[np.argsort(-moved[own], kind="stable")]
        agents.setdefault(int(order[0]), RANKS[0])
        agents.setdefault(int(order[len(order) // 2]), RANKS[1])
    return Chosen(np.array(list(agents), dtype=np.int64), tuple(agents.values()))


def trace(core: Core, played: Played) -> Arrays:
    """What the chosen agents saw and did.

    Args:
        core: The environment that ran the days.
        played: The days.

    Returns:
        Arrays by name, float32 unless said otherwise. `trace_agent`,
        `trace_kind`, `trace_rank`, `trace_bus`: name, device type, one of
        `RANKS` and bus of every agent, text `[kept]`. `trace_comfort_degc`:
        edges of the comfort band, NaN but for heat pumps `[kept, 2]`.
        `trace_state`: own state before the step, in the units of
        `STATE_UNITS`; `trace_action`: what its policy chose for the active
        power; `trace_p_kw`: power drawn, kW; `trace_q_kvar`: reactive power
        drawn, kvar, where that is free; `trace_v_pu`: own terminal's voltage, p.u.;
        `trace_base_kw` and `trace_pv_kw`: base load and photovoltaics of that
        terminal, kW; `[day, time, kept]` each. `trace_tariff_usd_per_kwh` and
        `trace_temp_outdoor_degc`: `[day, time]`.
    """
    chosen = choose_agents(core)
    kept = chosen.agent
    terminal = core.agent_terminal.cpu().numpy()[kept]
    scenarios = core.scenarios
    node = core.feeder.terminals.node_from[terminal]
    active, reactive = played.action, {}
    if core.num_actions > 1:
        active = played.action[..., 0]
        reactive = {"trace_q_kvar": played.q_kvar[..., kept].astype(np.float32)}
    return {
        "trace_agent": np.array([core.agent_names[i] for i in kept]),
        "trace_kind": np.array([core.agent_kinds[i] for i in kept]),
        "trace_rank": np.array(chosen.rank),
        "trace_bus": np.array([core.feeder.node_bus[i] for i in node]),
        "trace_comfort_degc": _comfort(core)[kept],
        "trace_state": _physical(core, played.own_state)[..., kept],
        "trace_action": active[..., kept].astype(np.float32),
        "trace_p_kw": played.p_kw[..., kept].astype(np.float32),
        **reactive,
        "trace_v_pu": _terminal_voltage(core, played, terminal),
        "trace_base_kw": scenarios.base_p_kw[played.days][..., terminal],
        "trace_pv_kw": scenarios.pv_kw[played.days][..., terminal],
        "trace_tariff_usd_per_kwh": scenarios.tariff_usd_per_kwh[played.days],
        "trace_temp_outdoor_degc": scenarios.temp_outdoor_degc[played.days],
    }


def _terminal_voltage(
    core: Core, played: Played, terminal: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Voltage magnitude across terminals, per unit of their rating. `[day, time, kept]`"""
    feeder, terminals = core.feeder, core.feeder.terminals
    kilovolt = played.physics.v_pu * feeder.node_kv_base
    first, second = terminals.node_from[terminal], terminals.node_to[terminal]
    back = np.where(second == GROUND, 0.0, kilovolt[..., second])
    across = np.abs(kilovolt[..., first] - back) / terminals.kv_rated[terminal]
    return np.asarray(across, np.float32)


def _physical(core: Core, seen: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Turns own states as policies see them into their units. `[day, time, agent]`"""
    middle, half = [], []
    for fleet in core.fleets:
        # The inverse of each fleet's `observe`.
        if isinstance(fleet, BatteryFleet):
            own = np.full((2, fleet.num_devices), 50.0)
        elif isinstance(fleet, HeatPumpFleet):
            low, high = (edge.cpu().numpy() for edge in _band(fleet))
            own = np.array([0.5 * (high + low), 0.5 * (high - low)])
        elif isinstance(fleet, EVChargerFleet):
            own = np.repeat(0.5 * fleet.need_kwh.cpu().numpy()[None], 2, 0)
        elif isinstance(fleet, (GeneratorFleet, PVInverterFleet)):
            own = np.repeat(0.5 * fleet.p_max_kw.cpu().numpy()[None], 2, 0)
        else:
            own = np.array([np.zeros(fleet.num_devices), np.ones(fleet.num_devices)])
        middle.append(own[0])
        half.append(own[1])
    result = np.concatenate(middle) + np.concatenate(half) * seen
    return np.asarray(result, np.float32)


def _comfort(core: Core) -> npt.NDArray[np.float32]:
    """Edges of every agent's comfort band, NaN where it has none. `[agent, 2]`"""
    parts = []
    for fleet in core.fleets:
        band = np.full((fleet.num_devices, 2), np.nan, np.float32)
        if isinstance(fleet, HeatPumpFleet):
            band = torch.stack(_band(fleet), dim=-1).cpu().numpy()
        parts.append(band)
    return np.concatenate(parts)


def _band(fleet: HeatPumpFleet) -> tuple[torch.Tensor, torch.Tensor]:
    return fleet.comfort_low_degc, fleet.comfort_high_degc

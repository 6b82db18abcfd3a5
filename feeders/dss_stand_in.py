"""Single-phase OpenDSS elements in the place of a circuit's own, one a terminal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradmap.feeders.dss_engine import quiet
from gradmap.feeders.dss_terminals import GENERATOR_KINDS
from gradmap.feeders.dss_text import quoted
from gradmap.feeders.model import GROUND, Feeder, LoadModel

# Law of a device: constant power over a wide band.
_DEVICE_VMIN_PU = 0.8
_DEVICE_VMAX_PU = 1.2
_DEVICE_VLOW_PU = 0.5
_GENERATOR_MODELS = {
    LoadModel.GENERATOR: 1,
    LoadModel.GENERATOR_ACROSS: 1,
    LoadModel.GENERATOR_LIMITED: 7,
}


def replace_elements(engine: Any, feeder: Feeder, devices: bool) -> list[str]:
    """Takes the circuit's loads and generators out and puts single phases in.

    Args:
        engine: An OpenDSS context that holds the feeder's circuit.
        feeder: The feeder.
        devices: Whether a device follows for each terminal.

    Returns:
        `class.name` of the element at each terminal, devices last.
    """
    with quiet():
        _disable(engine, feeder)
        text = engine.Text
        names = []
        for i in range(len(feeder.terminals)):
            name, command = _terminal(feeder, i)
            text.Command = command
            names.append(name)
        for i in range(len(feeder.terminals) if devices else 0):
            names.append(f"load.gradmap_device_{i}")
            text.Command = (
                f"New {names[-1]} {_across(feeder, i)} kW=0 kvar=0 Status=Fixed Model=1 "
                f"Vminpu={_DEVICE_VMIN_PU} Vmaxpu={_DEVICE_VMAX_PU} Vlowpu={_DEVICE_VLOW_PU}"
            )
        for command in _frozen(feeder):
            text.Command = command
    return names


def _disable(engine: Any, feeder: Feeder) -> None:
    """Takes out what the feeder holds as terminals, and what is frozen."""
    circuit = engine.ActiveCircuit
    if circuit.Loads.Count:
        engine.Text.Command = "BatchEdit Load..* Enabled=No"
    names = {str(name).lower() for name in circuit.AllElementNames}
    out = [name for name in names if name.partition(".")[0] in GENERATOR_KINDS]
    # A frozen regulator rests at its tap as it is.
    out += [name for name in feeder.frozen if name in names and not name.startswith("regcontrol.")]
    for name in out:
        circuit.SetActiveElement(name)
        circuit.ActiveCktElement.Enabled = False


def _terminal(feeder: Feeder, i: int) -> tuple[str, str]:
    """The element that stands for terminal `i`, and the command that makes it."""
    t = feeder.terminals
    model = LoadModel(t.model[i])
    # str, not repr: numpy's repr names its type.
    limits = f"Vminpu={t.vmin_pu[i]} Vmaxpu={t.vmax_pu[i]}"
    if model in _GENERATOR_MODELS:
        name = f"generator.gradmap_generator_{i}"
        connection = "Delta" if model == LoadModel.GENERATOR_ACROSS else "Wye"
        command = (
            f"New {name} {_across(feeder, i, connection)} kVA=100 kW={-t.p_kw[i]} "
            f"kvar={-t.q_kvar[i]} Status=Fixed Model={_GENERATOR_MODELS[model]} {limits}"
        )
        return name, command
    name = f"load.gradmap_load_{i}"
    command = (
        f"New {name} {_across(feeder, i)} kW={t.p_kw[i]} kvar={t.q_kvar[i]} Status=Fixed "
        f"Model={t.model[i]} {limits} Vlowpu={t.vlow_pu[i]} "
        f"CVRwatts={t.cvr_p[i]} CVRvars={t.cvr_q[i]}"
    )
    if model == LoadModel.ZIP:
        command += f" ZIPV=[{' '.join(map(str, t.zipv[i]))}]"
    return name, command


def _across(feeder: Feeder, i: int, connection: str = "") -> str:
    """Phases, bus, connection and rated voltage of an element across terminal `i`."""
    t = feeder.terminals
    bus, _, node = feeder.node_names[t.node_from[i]].rpartition(".")
    other = 0
    if t.node_to[i] != GROUND:
        other = int(feeder.node_names[t.node_to[i]].rpartition(".")[2])
    connection = connection or ("Delta" if other else "Wye")
    at = quoted(f"{bus}.{node}.{other}")
    return f"Phases=1 Bus1={at} Conn={connection} kV={t.kv_rated[i]}"


def _frozen(feeder: Feeder) -> list[str]:
    """The commands that make a current source for each node of a frozen element."""
    commands = []
    for node in np.flatnonzero(feeder.frozen_current_a):
        current = complex(feeder.frozen_current_a[node])
        commands.append(
            f"New Isource.gradmap_frozen_{node} Phases=1 Bus1={quoted(feeder.node_names[node])} "
            f"Amps={abs(current)!r} Angle={math.degrees(math.atan2(current.imag, current.real))!r}"
        )
    return commands

"""The circuit's own generators, PV systems and storage, handed over to agents.

Without `hand_over` they are base load: generators and storage as the snapshot
has them, PV systems with the sun. Handed over, each phase of an element is an
agent at that phase's own terminal, of the device type that fits the element
(`gradmap.envs.kinds.OWN_KINDS`), with the element's rated power, energy and
efficiencies in equal parts; what the element drew or fed leaves the base load.

Reactive power: a device of the task has none unless the task gives its type
some (`battery_kvar_per_kw`, `pv_kvar_per_kw`, `reactive`). Where it has none, the circuit's
own stays in the base load, so that nothing of the snapshot is lost; where it
has some, that is all of it.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from gradmap.envs.config import TaskConfig
from gradmap.envs.kinds import KINDS, OWN_KINDS, HandOver
from gradmap.envs.scenarios.config import QUARTERS
from gradmap.envs.scenarios.model import ScenarioSet
from gradmap.envs.scenarios.profiles import load_year
from gradmap.feeders.errors import GradmapError, raise_faults
from gradmap.feeders.model import Feeder

_SUN_KW = 1e-6
"""Roof that carries the sun where no other does: a milliwatt, far below any tolerance."""


@dataclasses.dataclass(frozen=True)
class OwnDevice:
    """A phase of an element of the circuit, for an agent.

    Attributes:
        name: Name of the agent: its device type, `_`, and the element's name,
            `battery_tank`; `battery_tank-2` for the second of several phases.
            What is neither letter nor digit in the element's name is `-`.
        kind: Device type.
        element: The element, `storage.tank`.
        terminal: Its terminal of the phase, counted from 0.
        plant: Its row in `Feeder.plants`.
        num_phases: Number of terminals that the element has.
    """

    name: str
    kind: str
    element: str
    terminal: int
    plant: int
    num_phases: int


def own_devices(hand_over: Sequence[HandOver], feeder: Feeder) -> tuple[OwnDevice, ...]:
    """The devices that a circuit hands over, in the order of the agents.

    Args:
        hand_over: Device types, or `all` of those that there are.
        feeder: The feeder.

    Raises:
        GradmapError: If there is none of a type, or an element has no rating
            to go by; names all.
    """
    if not hand_over:
        return ()
    terminals = feeder.terminals
    wanted: set[str] = set(OWN_KINDS.values() if "all" in hand_over else hand_over)
    own = [
        index
        for index, kind in enumerate(terminals.kind)
        if kind in OWN_KINDS and OWN_KINDS[kind] in wanted
    ]
    _check_there(hand_over, wanted, [OWN_KINDS[terminals.kind[i]] for i in own], feeder)
    rows = {name: row for row, name in enumerate(feeder.plants.name)}
    elements = list(dict.fromkeys(terminals.load[i] for i in own))
    faults = [phrase for name in elements for phrase in _rating_faults(feeder, name, rows)]
    raise_faults(f"feeder {feeder.name}: hand_over", faults)
    names, num_phases = _agent_names(feeder, own), Counter(terminals.load[i] for i in own)
    found = [
        OwnDevice(
            name=names[i],
            kind=OWN_KINDS[terminals.kind[i]],
            element=terminals.load[i],
            terminal=i,
            plant=rows[terminals.load[i]],
            num_phases=num_phases[terminals.load[i]],
        )
        for i in own
    ]
    return tuple(sorted(found, key=lambda device: KINDS.index(device.kind)))


def _check_there(
    hand_over: Sequence[HandOver], wanted: set[str], found: Sequence[str], feeder: Feeder
) -> None:
    """Refuses a task that asks for what the circuit does not have."""
    missing = sorted(set() if "all" in hand_over and found else wanted - set(found))
    if not missing:
        return
    classes = {kind: name for name, kind in OWN_KINDS.items()}
    lacks = ", ".join(f"{classes[kind]} (for {kind})" for kind in missing)
    known = {OWN_KINDS[kind] for kind in feeder.terminals.kind if kind in OWN_KINDS}
    raise GradmapError(
        f"feeder {feeder.name}: hand_over finds no element of class {lacks} in the circuit; "
        + (
            f"name only what there is: {', '.join(kind for kind in KINDS if kind in known)}"
            if known
            else "there is nothing to hand over: leave hand_over out, or add such elements"
        )
    )


def _rating_faults(feeder: Feeder, element: str, rows: dict[str, int]) -> list[str]:
    """What keeps an element from being a device, a phrase each."""
    if element not in rows:
        return [f"{element} has no ratings in the feeder's file: read the circuit, save it again"]
    plants, row = feeder.plants, rows[element]
    faults = []
    positive = {"rated power, kW": plants.p_rated_kw[row]}
    if plants.kind[row] != "generator":
        positive["kVA"] = plants.s_rated_kva[row]
    if plants.kind[row] == "storage":
        positive["kWhrated above its %reserve"] = plants.capacity_kwh[row] - plants.reserve_kwh[row]
    for name, value in positive.items():
        if not value > 0:
            faults.append(f"{element} has {name} of {value:g}, expected more than 0")
    for name in ("charge_efficiency", "discharge_efficiency"):
        value = getattr(plants, name)[row]
        if not 0 < value <= 1:
            faults.append(f"{element} has a {name} of {value:g}, expected more than 0, 1 at most")
    return faults


def _agent_names(feeder: Feeder, own: Sequence[int]) -> dict[int, str]:
    """A name for the agent at each terminal, none twice."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for index in own:
        kind, _, rest = feeder.terminals.name[index].partition(".")
        slug = re.sub(r"[^a-z0-9]+", "-", rest.lower()).strip("-") or "own"
        # Digits alone are the names of agents that are drawn.
        base = f"{OWN_KINDS[kind]}_{'own-' if slug.isdigit() else ''}{slug}"
        name, number = base, 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        names[index] = name
    return names


def without_own(scenarios: ScenarioSet, feeder: Feeder, config: TaskConfig) -> ScenarioSet:
    """Takes what agents do out of the base load; a second time changes nothing.

    Args:
        scenarios: The days.
        feeder: The feeder.
        config: The task.

    Returns:
        The same set where nothing is handed over. Where PV systems are and no
        roof tells how much sun there is, a roof of a milliwatt carries it.

    Raises:
        GradmapError: See `own_devices`.
    """
    own = own_devices(config.hand_over, feeder)
    if not own:
        return scenarios
    base_p_kw, base_q_kvar = scenarios.base_p_kw.copy(), scenarios.base_q_kvar.copy()
    base_p_kw[..., [device.terminal for device in own]] = 0.0
    kvar = {"battery": config.battery_kvar_per_kw, "pv_inverter": config.pv_kvar_per_kw}
    has_own = {kind for kind, ratio in kvar.items() if ratio or config.reactive == "free"}
    base_q_kvar[..., [d.terminal for d in own if d.kind in has_own]] = 0.0
    days = dataclasses.replace(scenarios, base_p_kw=base_p_kw, base_q_kvar=base_q_kvar)
    inverters = [device.terminal for device in own if device.kind == "pv_inverter"]
    is_dark = bool(inverters) and not scenarios.pv_kw.any()
    return _with_sun(days, inverters[0]) if is_dark else days


def _with_sun(scenarios: ScenarioSet, terminal: int) -> ScenarioSet:
    """Puts a roof of `_SUN_KW` under the measured sun; none on days that were not measured."""
    year = load_year()
    place = {date: row for row, date in enumerate(year.date)}
    if not set(scenarios.date) <= set(place):
        return scenarios
    sun = year.solar.mean(axis=2)[[place[date] for date in scenarios.date]]
    steps = round(24.0 / scenarios.dt_hours)
    sun = sun.reshape(len(sun), steps, QUARTERS // steps).mean(axis=2)[:, : scenarios.num_steps]
    pv_kw = scenarios.pv_kw.copy()
    pv_kw[..., terminal] = np.float32(_SUN_KW) * sun / sun.max()
    return dataclasses.replace(scenarios, pv_kw=pv_kw)

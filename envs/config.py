"""What defines a task: how many agents of which device, where, how large."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, Literal, get_args

from gradmap.envs.kinds import KINDS, MAX_KVAR_PER_KW, MORE_KINDS, HandOver
from gradmap.envs.placement import Placement, count_kinds, read_devices
from gradmap.envs.scenarios.config import ScenarioConfig
from gradmap.feeders.errors import GradmapError, raise_faults

DAY_TAPS = {
    "creg1a": 1,
    "creg2a": 0,
    "creg3a": 0,
    "creg3c": 0,
    "creg4a": 4,
    "creg4b": 1,
    "creg4c": 2,
}
"""Regulator taps of the published task.

Those that OpenDSS finds at the rated load (6, 0, 2, 0, 10, 4, 6) push the far
end above 1.05 p.u. on any ordinary day; these are the same pattern at about a
third of the boost, with which base load alone hardly ever leaves the limits.
"""

_LATER_KEYS = (
    "regulation",
    *("placement", "difficulty", "battery_kvar_per_kw", "pv_kvar_per_kw"),
    *(f"{kind}_kw" for kind in MORE_KINDS),
    "hand_over",
    *("reactive", "inverter_kva_per_kw"),
)

Reactive = Literal["rule", "free"]
"""Whether reactive power follows from an agent's single number, or is a second one."""


@dataclasses.dataclass(frozen=True)
class AgentMix:
    """Shares of the device types among the agents; any non-negative numbers.

    Attributes:
        battery: Share of batteries.
        heat_pump: Share of heat pumps.
        generator: Share of controllable generators.
        ev_charger: Share of chargers of electric cars.
        pv_inverter: Share of photovoltaic inverters that can curtail.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    battery: float = 0.4
    heat_pump: float = 0.4
    generator: float = 0.2
    ev_charger: float = 0.0
    pv_inverter: float = 0.0

    def counts(self, num_agents: int) -> dict[str, int]:
        """Splits a number of agents by the shares, largest remainders first.

        Args:
            num_agents: Number of agents, at least 1.

        Returns:
            Number of agents of each device type; they sum to `num_agents`.
            Types that the published task does not have are named only if they
            have a share.
        """
        shares = {
            name: share
            for name, share in dataclasses.asdict(self).items()
            if share or name not in MORE_KINDS
        }
        total = sum(shares.values())
        exact = {name: num_agents * share / total for name, share in shares.items()}
        counts = {name: int(value) for name, value in exact.items()}
        by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
        for name in by_remainder[: num_agents - sum(counts.values())]:
            counts[name] += 1
        return counts

    def total(self) -> int | None:
        """Sum of the shares where they are numbers of agents, whole and more than one in all."""
        shares = [float(share) for share in dataclasses.astuple(self)]
        is_whole = all(share.is_integer() for share in shares)
        return int(sum(shares)) if is_whole and sum(shares) > 1 else None


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """A task, whole: equal configurations are equal tasks.

    Attributes:
        name: Name of the task, without number of agents.
        feeder: Name of the feeder in the catalog, or path of a circuit's
            master file, which ends in `.dss`.
        taps: Regulator taps, fixed for the task, or what a day begins from if
            `regulation` moves them: one position for every regulator control
            by name, or None for those of the circuit.
        num_agents: Number of agents, at least 1, those of `hand_over` included.
        mix: Shares of the device types among the agents that are drawn.
        seed: Seed of the fleet: sites, sizes, parameters, initial states.
        battery_kw: Mean rated power of a battery at 1,000 agents, kW.
        heat_pump_kw: Mean rated electric power of a heat pump, likewise.
        generator_kw: Mean rated power of a generator, likewise.
        vmin_pu: Lower voltage limit at every monitored node, p.u.
        vmax_pu: Upper voltage limit at every monitored node, p.u.
        scenarios: Where the days come from.
        placement: Where the agents are connected.
        difficulty: Rated power of all devices over the feeder's peak load
            (rated load times `scenarios.base_load_scale`): all devices are
            scaled alike to it; None leaves sizes as they are above. Below 50
            agents it shrinks as `unit_scale` does. What `hand_over` adds has
            the circuit's sizes and is not counted.
        ev_charger_kw: Mean rated power of a charger of an electric car.
        pv_inverter_kw: Mean rated power of a photovoltaic inverter.
        battery_kvar_per_kw: Reactive power that a battery draws with each kW
            drawn, and feeds with each fed, 0 for none.
        pv_kvar_per_kw: Reactive power that an inverter may absorb per kW that
            the sun gives, 0 for none, 0.44 at most: see
            `gradmap.envs.devices.pv_inverter`.
        regulation: `fixed`, or `quasi-static`: taps and capacitors begin a day
            at `taps` and follow their controls in every step, see
            `gradmap.feeders.powerflow.regulation`.
        hand_over: Which of the circuit's own generators, PV systems and
            storage become agents, in place of a part of the base load: see
            `gradmap.envs.own_devices`. All other agents are drawn.
        reactive: `rule`: reactive power follows from the one number that an
            agent chooses, as `battery_kvar_per_kw` and `pv_kvar_per_kw` say;
            `free`: batteries and PV inverters choose it inside their kVA
            circle, and every action is two numbers, see
            `gradmap.envs.devices.inverter`.
        inverter_kva_per_kw: Apparent power of an inverter over the rated power
            of its device, 1 or more, where reactive power is free; those of
            `hand_over` have the circuit's.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str = "ieee123-mixed-v1"
    feeder: str = "ieee123"
    taps: dict[str, int] | None = dataclasses.field(default_factory=lambda: dict(DAY_TAPS))
    num_agents: int = 1000
    mix: AgentMix = AgentMix()
    seed: int = 0
    battery_kw: float = 12.0
    heat_pump_kw: float = 5.0
    generator_kw: float = 8.0
    vmin_pu: float = 0.95
    vmax_pu: float = 1.05
    scenarios: ScenarioConfig = ScenarioConfig(base_load_scale=1.25, pv_penetration=0.5)
    placement: Placement = Placement()
    difficulty: float | None = None
    ev_charger_kw: float = 7.0
    pv_inverter_kw: float = 6.0
    battery_kvar_per_kw: float = 0.0
    pv_kvar_per_kw: float = 0.0
    regulation: Literal["fixed", "quasi-static"] = "fixed"
    hand_over: tuple[HandOver, ...] = ()
    reactive: Reactive = "rule"
    inverter_kva_per_kw: float = 1.1

    def __post_init__(self) -> None:
        faults = [*self.placement.faults(), *self._take_devices(), *self._own_faults()]
        faults += self._reactive_faults()
        if self.num_agents < 1:
            faults.append(f"num_agents is {self.num_agents}, expected 1 or more")
        shares = dataclasses.asdict(self.mix)
        if min(shares.values()) < 0 or sum(shares.values()) <= 0:
            faults.append(f"mix is {shares}, expected shares of 0 or more with a positive sum")
        for field in (*(f"{kind}_kw" for kind in KINDS), "difficulty"):
            value = getattr(self, field)
            if value is not None and not (0 < value < math.inf):
                faults.append(f"{field} is {value}, expected more than 0")
        if not 0 < self.vmin_pu < self.vmax_pu:
            faults.append(
                f"voltage limits are {self.vmin_pu} and {self.vmax_pu}, expected 0 < vmin < vmax"
            )
        if self.regulation not in ("fixed", "quasi-static"):
            faults.append(f"regulation is {self.regulation!r}, expected 'fixed' or 'quasi-static'")
        raise_faults(f"task {self.name}", faults)

    def _take_devices(self) -> list[str]:
        """Takes number and mix from a file of devices; returns what is at fault."""
        if self.placement.csv is None:
            return []
        try:
            counts = count_kinds(read_devices(self.placement.csv))
        except GradmapError as error:
            return [str(error)]
        mix = AgentMix(**{kind: float(counts.get(kind, 0)) for kind in KINDS})
        known = {field.name: field.default for field in dataclasses.fields(self)}
        faults = []
        for name, found in (("num_agents", sum(counts.values())), ("mix", mix)):
            given = getattr(self, name)
            if given not in (known[name], found):
                faults.append(f"{name} is {given}, placement.csv lists {found}; leave {name} out")
            object.__setattr__(self, name, found)
        if self.difficulty is not None:
            faults.append("difficulty scales sizes, which placement.csv gives; leave one out")
        return faults

    def _reactive_faults(self) -> list[str]:
        """What is at fault with reactive power."""
        faults = []
        if self.reactive not in get_args(Reactive):
            faults.append(f"reactive is {self.reactive!r}, expected 'rule' or 'free'")
        is_free = self.reactive == "free"
        for field in ("battery_kvar_per_kw", "pv_kvar_per_kw"):
            value = getattr(self, field)
            if not 0 <= value <= MAX_KVAR_PER_KW:
                faults.append(f"{field} is {value}, expected 0 to {MAX_KVAR_PER_KW}")
            elif is_free and value:
                faults.append(
                    f"{field} is {value}, but reactive is 'free': a rule for what agents choose "
                    f"themselves; leave {field} out, or set reactive to 'rule'"
                )
        if not 1 <= self.inverter_kva_per_kw < math.inf:
            faults.append(
                f"inverter_kva_per_kw is {self.inverter_kva_per_kw}, expected 1 or more: an "
                "inverter carries the rated power of its device"
            )
        return faults

    def _own_faults(self) -> list[str]:
        """What is at fault with `hand_over` and places by device type, beside the rest."""
        known, faults = get_args(HandOver), []
        for name in self.hand_over:
            if name not in known:
                faults.append(f"hand_over names {name!r}, expected some of {', '.join(known)}")
        if self.hand_over and self.placement.csv is not None:
            faults.append("placement.csv lists every device; leave it or hand_over out")
        shares = dataclasses.asdict(self.mix)
        for kind in self.placement.buses_of:
            if kind in KINDS and not shares[kind]:
                faults.append(
                    f"placement.buses_of names places for {kind}, of which mix has none: give "
                    f"mix.{kind} a share, or leave it out"
                )
        return faults

    def identity(self) -> dict[str, Any]:
        """What tells this task from others, as JSON can hold it.

        Keys that came after the first release are left out while they say
        nothing, so that what was trained before keeps its task.
        """
        whole, first = dataclasses.asdict(self), dataclasses.asdict(TaskConfig())
        for name in _LATER_KEYS:
            if whole[name] == first[name]:
                del whole[name]
        for name in MORE_KINDS:
            if not whole["mix"][name]:
                del whole["mix"][name]
        if not self.placement.buses_of and "placement" in whole:
            del whole["placement"]["buses_of"]
        return whole

    @property
    def unit_scale(self) -> float:
        """How many real devices one agent stands for.

        The feeder's flexible power is the same for any number of agents from
        50 up, so that tasks of different size bind alike; below 50 agents it
        shrinks: more than 20 real devices a terminal can leave the voltages between
        which loads and devices draw the power they ask for (0.8 to 1.2 p.u.).
        """
        return 1000.0 / max(self.num_agents, 50)

    @property
    def crowding(self) -> float:
        """Share of the flexible power that so few agents are given, 1 from 50 up."""
        return min(self.num_agents, 50) / 50.0

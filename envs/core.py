"""The environment itself: batched, differentiable, without side effects.

    core = gradmap.make("ieee123-mixed-v1", num_agents=1000)
    state = core.reset(core.days("train")[:8])
    while not core.is_done(state):
        observation = core.observe(state)
        state, outcome = core.step(state, policy(observation))

Gradients flow from costs, voltages and currents to the actions, through the
device states, the power flow and the observations of later steps.
"""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np
import torch
from torch import Tensor

from gradmap.envs.actions import Actions
from gradmap.envs.config import TaskConfig
from gradmap.envs.constraints import Limits, monitored_nodes
from gradmap.envs.devices.base import DeviceStep, Foresighted, Surroundings
from gradmap.envs.devices.days import DeviceDays, join_fleets
from gradmap.envs.devices.inverter import Inverters
from gradmap.envs.fleet import Agents, move_fleet
from gradmap.envs.observations import (
    FEATURES,
    MORE_FEATURES,
    NUM_PUBLIC,
    clock_features,
    public_features,
    stack_features,
    stack_global,
)
from gradmap.envs.outcome import Outcome, join_outcome, stack_outcomes
from gradmap.envs.own_devices import without_own
from gradmap.envs.scenarios.model import ScenarioSet
from gradmap.envs.sites import site_rating_kw
from gradmap.envs.state import State
from gradmap.envs.sun import sun_pu
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import Feeder
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.regulation import Regulation, Settled
from gradmap.feeders.powerflow.solve import PowerFlow, solve_power_flow

REFILL_QUANTILE = 0.25
"""What is stored at midnight is worth the lower quartile of all prices: about
what it costs to fill up overnight, so that a day's end neither hoards nor dumps."""


def refill_price(scenarios: ScenarioSet) -> float:
    """Value of what a device holds at the end of a day, $/kWh: see `REFILL_QUANTILE`.

    Args:
        scenarios: The days of the task, all splits.
    """
    return float(np.quantile(scenarios.tariff_usd_per_kwh, REFILL_QUANTILE))


class Core(Actions):
    """The task on one torch device.

    Args:
        config: The task.
        feeder: Its feeder.
        scenarios: Its days; the terminals must be the feeder's. What agents
            take over from the circuit is taken out of the base load.
        agents: Its agents.
        batch_size: Number of scenario-days that callers step together when
            they do not say otherwise.
        device: Torch device.
        dtype: Complex dtype of the power flow. Devices, observations and
            policies are float32 in any case; `_solve` is the one place where
            the two meet.
        refill_usd_per_kwh: Value of what a device holds at the end of a day;
            `refill_price` of the scenarios if left out. Days under stress
            keep that of the task: a price spike makes no night dearer.

    Attributes:
        refill_usd_per_kwh: The value in force.
        regulation: What moves taps and capacitors; None if they are fixed.
        inverters: What makes reactive power of the second number of actions;
            None where actions are one number and it follows by rule.

    Raises:
        GradmapError: If scenarios and feeder do not fit, or nothing in the
            feeder can be regulated where the task asks for it.
    """

    def __init__(
        self,
        config: TaskConfig,
        feeder: Feeder,
        scenarios: ScenarioSet,
        agents: Agents,
        *,
        batch_size: int = 8,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.complex128,
        refill_usd_per_kwh: float | None = None,
    ) -> None:
        if tuple(scenarios.terminal_names) != feeder.terminals.name:
            raise GradmapError(
                f"scenarios are for {len(scenarios.terminal_names)} terminals that are not those "
                f"of feeder {feeder.name}; build the scenarios from this feeder"
            )
        self.config = config
        self.feeder = feeder
        self.scenarios = without_own(scenarios, feeder, config)
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.network = Network.from_feeder(feeder, devices=True, dtype=dtype, device=self.device)
        is_fixed = config.regulation == "fixed"
        self.regulation = None if is_fixed else Regulation(self.network)
        self.agent_names = agents.names
        self.agent_kinds = agents.kinds
        self.agent_terminal = agents.terminal.to(self.device)
        self.fleets = tuple(move_fleet(fleet, self.device) for fleet in agents.fleets)
        self._sizes = agents.sizes
        self.inverters = Inverters.of(self.fleets) if config.reactive == "free" else None
        self.dt_hours = float(scenarios.dt_hours)
        known = refill_usd_per_kwh
        self.refill_usd_per_kwh = refill_price(scenarios) if known is None else float(known)
        self.limits = Limits(
            config.vmin_pu,
            config.vmax_pu,
            monitored_nodes(self.network),
        )
        self._load_scenarios()

    def _load_scenarios(self) -> None:
        """Puts the scenarios on the device, and draws every day's initial states."""

        def tensor(array: object) -> Tensor:
            return torch.tensor(array, dtype=torch.float32, device=self.device)

        days = self.scenarios
        self._base_p_kw = tensor(days.base_p_kw)
        self._base_q_kvar = tensor(days.base_q_kvar)
        self._pv_kw = tensor(days.pv_kw)
        self._temp_degc = tensor(days.temp_outdoor_degc)
        self._tariff = tensor(days.tariff_usd_per_kwh)
        self._clock = clock_features(days.num_steps).to(self.device)
        weekdays = [datetime.date.fromisoformat(date).weekday() for date in days.date]
        self._working_day = tensor([1.0 if day < 5 else -1.0 for day in weekdays])
        rated_kw = tensor(site_rating_kw(self.feeder))
        self._site = torch.stack((self._base_p_kw / rated_kw, self._pv_kw / rated_kw), dim=-1)
        # One draw per agent and day, so that a day always begins alike.
        generator = torch.Generator().manual_seed(self.config.seed + 1)
        draws = torch.rand(days.num_days, self.num_agents, generator=generator)
        self._draws = draws.to(self.device)
        self._has_outlook = any(isinstance(fleet, Foresighted) for fleet in self.fleets)
        if self._has_outlook:
            self._hour = torch.arange(days.num_steps, device=self.device) * self.dt_hours
            self._sun_pu = tensor(sun_pu(days))
            if any(f.kind == "pv_inverter" for f in self.fleets) and not self._sun_pu.any():
                raise GradmapError(
                    "there is no sun for PV inverters: raise scenarios.pv_penetration and "
                    "scenarios.pv_size above 0, or leave mix.pv_inverter out"
                )

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        return len(self.agent_names)

    @property
    def num_steps(self) -> int:
        """Steps a day."""
        return int(self.scenarios.num_steps)

    @property
    def num_features(self) -> int:
        """Length of an agent's observation."""
        return len(FEATURES) + (len(MORE_FEATURES) if self._has_outlook else 0)

    @property
    def num_global_features(self) -> int:
        """Length of what a central critic may see."""
        return NUM_PUBLIC + 3 * self.network.num_load_terminals + len(self.fleets)

    def days(self, split: str) -> Tensor:
        """Indices of the days of a split, int64, on the core's device. `[day]`"""
        return torch.tensor(self.scenarios.days(split), dtype=torch.int64, device=self.device)

    def reset(self, days: Tensor) -> State:
        """Begins a batch of days at midnight.

        Args:
            days: Index of each scenario's day. `[batch]`, int64

        Returns:
            The state. The voltages measured before midnight are those of the
            first step's base load with every device idle; where taps are
            alive, they have settled to it from the task's own.

        Raises:
            GradmapError: If there is no such day.
        """
        days = days.to(self.device)
        num_days = self.scenarios.num_days
        first, last = torch.stack(torch.aminmax(days)).tolist() if len(days) else (0, 0)
        if first < 0 or last >= num_days:
            raise GradmapError(
                f"days go from {first} to {last}, expected indices from 0 to {num_days - 1}"
            )
        devices = self._devices_at_midnight(days)
        idle = torch.zeros(len(days), self.num_agents, device=self.device)
        with torch.no_grad():
            midnight = torch.tensor(0, device=self.device)
            flow, settled = self._solve(days, midnight, idle, idle)
        num_loads = self.network.num_load_terminals
        measured = flow.v_terminal_magnitude_pu[..., :num_loads].to(torch.float32)
        ones = torch.ones_like(measured)
        measured = torch.where(flow.converged.unsqueeze(-1), measured, ones)
        return State(0, days, devices, measured, ~flow.converged, *_positions(settled))

    def _devices_at_midnight(self, days: Tensor) -> tuple[Tensor, ...]:
        draws = self._draws[days].split(self._sizes, dim=-1)
        temp_mean = self._temp_degc[days].mean(dim=-1, keepdim=True)
        pairs = zip(self.fleets, draws, strict=True)
        return tuple(fleet.initial_state(draw, temp_mean) for fleet, draw in pairs)

    def is_done(self, state: State) -> bool:
        """Tells whether the day is over."""
        return state.step >= self.num_steps

    def observe(self, state: State) -> Tensor:
        """What every agent sees now.

        Args:
            state: The state; after the day's end the last step's weather and
                prices are shown.

        Returns:
            The observation, float32. `[batch, agent, feature]`
        """
        step = min(state.step, self.num_steps - 1)
        seen = stack_features(
            self._public(state.days, step),
            torch.cat(self._own_states(state), dim=-1),
            self._site[state.days, step][:, self.agent_terminal],
            state.v_measured_pu[:, self.agent_terminal],
        )
        return seen if not self._has_outlook else torch.cat((seen, self._outlook(state, step)), -1)

    def _outlook(self, state: State, step: int) -> Tensor:
        """What some device types see besides; see `MORE_FEATURES`. `[batch, agent, 2]`"""
        now = self._surroundings(state.days, step)
        parts = [
            fleet.outlook(now)
            if isinstance(fleet, Foresighted)
            else torch.zeros(len(state.days), fleet.num_devices, 2, device=self.device)
            for fleet in self.fleets
        ]
        return torch.cat([part.expand(len(state.days), -1, -1) for part in parts], dim=1)

    def observe_global(self, state: State) -> Tensor:
        """What a central critic may see in training; no agent does.

        Args:
            state: The state; after the day's end as in `observe`.

        Returns:
            Public figures, every load terminal's voltage, load and sun, and
            the mean of each fleet; see `stack_global`. `[batch, num_global_features]`,
            float32
        """
        step = min(state.step, self.num_steps - 1)
        fleets = [own.mean(dim=-1) for own in self._own_states(state)]
        return stack_global(
            self._public(state.days, step),
            state.v_measured_pu,
            self._site[state.days, step],
            torch.stack(fleets, dim=-1),
        )

    def _public(self, days: Tensor, step: int) -> Tensor:
        return public_features(
            self._clock[step],
            self._working_day[days],
            self._tariff[days, step],
            self._temp_degc[days, step],
        )

    def _own_states(self, state: State) -> list[Tensor]:
        """What each fleet shows of its devices. `[batch, device]` each"""
        pairs = zip(self.fleets, state.devices, strict=True)
        return [fleet.observe(own) for fleet, own in pairs]

    def stored_kwh(self, state: State) -> Tensor:
        """Energy that every agent could still feed in, float32. `[batch, agent]`

        Args:
            state: The state.
        """
        parts = zip(self.fleets, state.devices, strict=True)
        return torch.cat([fleet.stored_kwh(own) for fleet, own in parts], dim=-1)

    def step(self, state: State, action: Tensor) -> tuple[State, Outcome]:
        """Moves every scenario by one step.

        Where taps are alive, they settle to the powers of the step, from where
        the step before left them, and the voltages are those after that. The
        gradient takes them as given.

        Args:
            state: The state, before the day's end.
            action: Actions; values outside [-1, 1] count as the nearest end.
                `[batch, *action_shape]`, float32

        Returns:
            The next state and what the step brought.

        Raises:
            GradmapError: If the day is over or the action has another shape.
        """
        if self.is_done(state):
            raise GradmapError("the day is over; call reset to begin another")
        self._check_shape(action, "batch", len(state.days))
        devices, done = self._step_devices(state, action.clamp(-1.0, 1.0))
        steps = torch.tensor(state.step, device=self.device)
        flow, settled = self._solve(state.days, steps, done.p_kw, done.q_kvar, state)
        num_loads = self.network.num_load_terminals
        measured = flow.v_terminal_magnitude_pu[..., :num_loads].to(torch.float32)
        # A failed scenario keeps its last good measurement, and its flag.
        measured = torch.where(flow.converged.unsqueeze(-1), measured, state.v_measured_pu)
        is_failed = state.is_failed | ~flow.converged
        after = State(
            state.step + 1, state.days, devices, measured, is_failed, *_positions(settled)
        )
        return after, join_outcome(done, flow, ~is_failed, settled)

    def run_open_loop(self, days: Tensor, action: Tensor) -> Outcome:
        """Runs whole days on actions known beforehand.

        The same as stepping through the day, but since no action waits for a
        voltage, all steps are one batched power flow; one after the other
        where taps are alive.

        Args:
            days: Index of each day. `[batch]`, int64
            action: Actions of the whole day. `[batch, time, *action_shape]`, float32

        Returns:
            The outcome, `[batch, time, ...]`.

        Raises:
            GradmapError: If the actions have another shape.
        """
        self._check_shape(action, "batch, time", len(days), self.num_steps)
        state = self.reset(days)
        if self.regulation is not None:
            return self._run_in_turn(state, action)
        steps: list[DeviceStep] = []
        for act in action.clamp(-1.0, 1.0).unbind(1):
            devices, done = self._step_devices(state, act)
            state = dataclasses.replace(state, step=state.step + 1, devices=devices)
            steps.append(done)
        joined = zip(*(vars(step).values() for step in steps), strict=True)
        done = DeviceStep(*(torch.stack(part, dim=1) for part in joined))
        clock = torch.arange(self.num_steps, device=self.device)
        flow, _ = self._solve(state.days.unsqueeze(-1), clock, done.p_kw, done.q_kvar)
        is_usable = flow.converged.cumprod(dim=-1).bool() & ~state.is_failed.unsqueeze(-1)
        return join_outcome(done, flow, is_usable)

    def _run_in_turn(self, state: State, action: Tensor) -> Outcome:
        outcomes = []
        for act in action.unbind(1):
            state, outcome = self.step(state, act)
            outcomes.append(outcome)
        return stack_outcomes(outcomes)

    def device_days(self, days: Tensor) -> DeviceDays:
        """The devices of whole days by themselves, to be played many times over.

        Args:
            days: Index of each day, on the core's device. `[batch]`
        """
        today = self.day_surroundings(days)
        midnight = self._devices_at_midnight(days)
        return DeviceDays(self.fleets, midnight, today, self.inverters)

    def day_surroundings(self, days: Tensor) -> Surroundings:
        """What whole days bring to the devices. `[day, time, 1]`

        Args:
            days: Index of each day, on the core's device. `[day]`
        """
        return self._surroundings(days, slice(None))

    def _surroundings(self, days: Tensor, step: int | slice) -> Surroundings:
        """What a step, or every step of the day, brings to the devices."""
        tariff = self._tariff[days, step]
        around = Surroundings(
            tariff.unsqueeze(-1),
            self._temp_degc[days, step].unsqueeze(-1),
            self.refill_usd_per_kwh,
            self.dt_hours,
            step == self.num_steps - 1,
        )
        if not self._has_outlook:
            return around
        hour = self._hour[step].expand_as(tariff).unsqueeze(-1)
        return dataclasses.replace(around, hour=hour, sun_pu=self._sun_pu[days, step].unsqueeze(-1))

    def _step_devices(self, state: State, action: Tensor) -> tuple[tuple[Tensor, ...], DeviceStep]:
        """Moves the fleets and joins what they did along the agent axis."""
        now = self._surroundings(state.days, state.step)
        active = action if self.inverters is None else action[..., 0]
        actions = active.split(self._sizes, dim=-1)
        moved = [
            fleet.step(own, act, now)
            for fleet, own, act in zip(self.fleets, state.devices, actions, strict=True)
        ]
        done = join_fleets([step for _, step in moved])
        if self.inverters is not None:
            done = self.inverters.add_to(done, action[..., 1])
        return tuple(own for own, _ in moved), done

    def sum_by_terminal(self, power: Tensor) -> Tensor:
        """Adds the agents' power up at every load terminal. `[..., terminal]`

        Args:
            power: Power of the agents. `[..., agent]`
        """
        shape = (*power.shape[:-1], self.network.num_load_terminals)
        zeros = torch.zeros(shape, dtype=power.dtype, device=self.device)
        return zeros.index_add(-1, self.agent_terminal, power)

    def usual_power(self, split: str) -> tuple[Tensor, Tensor]:
        """Median base load and sun of a split's steps, no device drawing anything.

        Args:
            split: The days.

        Returns:
            Active power, kW, and reactive power, kvar, at the network's
            terminals: those of base load, then those of sun and devices.
            `[terminal]` each
        """
        days = self.days(split)
        p_kw, q_kvar, pv_kw = (
            x[days].flatten(0, 1).median(dim=0).values
            for x in (self._base_p_kw, self._base_q_kvar, self._pv_kw)
        )
        return torch.cat((p_kw, -pv_kw)), torch.cat((q_kvar, torch.zeros_like(q_kvar)))

    def _solve(
        self,
        days: Tensor,
        steps: Tensor,
        p_kw: Tensor,
        q_kvar: Tensor,
        before: State | None = None,
    ) -> tuple[PowerFlow, Settled | None]:
        """Solves the network: base load, sun and the agents' power.

        Args:
            days: Index of each day, broadcast against `steps`.
            steps: Step of the day.
            p_kw: Active power of the agents. `[..., agent]`
            q_kvar: Reactive power of the agents. `[..., agent]`
            before: Where taps and capacitors stood; the feeder's own if left out.

        Returns:
            The power flow, leading axes those of the powers, and what taps and
            capacitors did, None where they are fixed.
        """
        p_device = self.sum_by_terminal(p_kw) - self._pv_kw[days, steps]
        q_device = self.sum_by_terminal(q_kvar)
        powers = (
            torch.cat((self._base_p_kw[days, steps], p_device), dim=-1),
            torch.cat((self._base_q_kvar[days, steps], q_device), dim=-1),
        )
        if self.regulation is None:
            return solve_power_flow(self.network, *powers), None
        stood = (None, None) if before is None else (before.taps, before.capacitors)
        hour = (steps * self.dt_hours).expand(len(days))
        settled = self.regulation.settle(powers[0], powers[1], *stood, hour=hour)
        switched = settled.capacitors if self.regulation.switches_capacitors else None
        # The same start with a gradient and without: asking for one moves no value.
        flow = solve_power_flow(
            self.network, *powers, guess=settled.flow, taps=settled.taps, capacitors=switched
        )
        return flow, settled


def _positions(settled: Settled | None) -> tuple[Tensor | None, Tensor | None]:
    return (None, None) if settled is None else (settled.taps, settled.capacitors)

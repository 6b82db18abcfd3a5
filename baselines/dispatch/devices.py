"""Each fleet over a horizon, as a convex problem of one shape.

Every variable has a box `[0, upper]` (shifted where its range begins
elsewhere), a linear cost and a curvature. The first ones are *controls*; the
others are *parts* of a state that follows, device by device,

    x_t = decay x_{t-1} + sum_c gain_c u_c + drift_t,        x = sum_s sign_s y_s.

The power drawn is affine in the controls or the state. This is each device of
the environment exactly, fuel's square included, but for one relaxation: a
battery may charge and discharge in the same step. With a positive price that
only burns money; where a price of the network is so negative that burning
pays, the problem is a relaxation, and its value still a lower bound.

Arrays are numpy, float64, `[variable, time, device]`, one day at a time: its
numbers stay in the cache, and the loop over time runs over contiguous slices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gradmap.baselines.dispatch.horizon import Horizon
from gradmap.envs.devices.base import Fleet, Surroundings
from gradmap.envs.devices.battery import BatteryFleet
from gradmap.envs.devices.ev_charger import DEFICIT, EVChargerFleet
from gradmap.envs.devices.generator import GeneratorFleet
from gradmap.envs.devices.heat_pump import KVAR_PER_KW, HeatPumpFleet, cop
from gradmap.envs.devices.pv_inverter import PVInverterFleet
from gradmap.feeders.errors import GradmapError

Array = npt.NDArray[np.float64]

_TEMP_RANGE_K = 60.0
"""Box of the kelvins outside the comfort band: wider than any weather drives them."""


@dataclasses.dataclass(frozen=True)
class Block:
    """A fleet over a horizon; shapes broadcast to `[variable, time, device]`.

    Attributes:
        upper: Upper end of every variable's box.
        cost: Linear cost, $ per unit of the variable.
        curvature: Second derivative of the cost.
        start: Where an interior method begins, inside the box.
        gain: What each control adds to the state. `[control, time, device]`
        sign: Sign of each part of the state, 1 or -1. `[part]`
        decay: What is left of a state a step later. `[device]`
        drift: What moves the state without control, the initial state
            included. `[time, device]`
        power_control: Power drawn per unit of each control, kW. `[control]`
        power_state: Power drawn per unit of the state, kW.
        constant: Cost that no choice moves, $.
        action_of: Turns power drawn `[time, device]` into actions.
    """

    upper: Array
    cost: Array
    curvature: Array
    start: Array
    gain: Array
    sign: Array
    decay: Array
    drift: Array
    power_control: Array
    power_state: float
    constant: float
    action_of: Callable[[Array], Array]

    @property
    def num_controls(self) -> int:
        """Number of controls; the other variables are parts of the state."""
        return len(self.gain)

    @property
    def shape(self) -> tuple[int, ...]:
        """`(variable, time, device)`."""
        return self.upper.shape

    def near(self, p_kw: Array, weight_usd: float) -> Block:
        """Returns the block with a charge on the square of a change of power.

        Args:
            p_kw: Power to stay near to. `[time, device]`
            weight_usd: Twice what a change by the whole range costs a step, $.
        """
        factors = [*self.power_control, *(self.power_state * self.sign)]
        cost = self.cost.copy()
        curvature = np.broadcast_to(self.curvature, self.shape).copy()
        for k, factor in enumerate(factors):
            if factor:
                charge = weight_usd / self.upper[k] ** 2
                curvature[k] += charge
                cost[k] -= charge * np.maximum(p_kw / factor, 0.0)
        return dataclasses.replace(self, cost=cost, curvature=curvature)


def fleet_blocks(
    fleets: Sequence[Fleet], states: Sequence[Tensor], horizon: Horizon
) -> list[tuple[Block, ...]]:
    """Writes the fleets as convex problems, those of each day in turn.

    Args:
        fleets: The fleets.
        states: State of each where the horizon begins. `[batch, device, entry]`
        horizon: Prices and weather.

    Raises:
        GradmapError: If a fleet is of a type that has no convex problem here.
    """
    unknown = [fleet.kind for fleet in fleets if type(fleet) not in _MAKERS]
    if unknown:
        known = ", ".join(each.__name__ for each in _MAKERS)
        raise GradmapError(
            f"no dispatch problem for device type {', '.join(unknown)}; expected {known}"
        )
    return [
        tuple(
            _MAKERS[type(fleet)](fleet, _array(state[day]).T, _Outlook.of(horizon, day))
            for fleet, state in zip(fleets, states, strict=True)
        )
        for day in range(len(horizon.tariff_usd_per_kwh))
    ]


@dataclasses.dataclass(frozen=True)
class _Outlook:
    """A day's horizon: $ for a kW over a step, weather, COP `[time, 1]`, end of day."""

    around: Surroundings
    dt_hours: float
    price: Array
    temp_degc: Array
    performance: Array
    last_performance: float
    refill_usd_per_kwh: float

    @classmethod
    def of(cls, horizon: Horizon, day: int) -> _Outlook:
        temp = horizon.temp_outdoor_degc[day]
        performance = _array(cop(temp))[:, None]
        return cls(
            horizon.surroundings()[day],
            horizon.dt_hours,
            horizon.dt_hours * _array(horizon.tariff_usd_per_kwh[day])[:, None],
            _array(temp)[:, None],
            performance,
            float(performance[-1, 0] if horizon.is_day_end else performance.mean()),
            horizon.refill_usd_per_kwh,
        )


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().double().numpy()
    return array


def _parameters(fleet: Any, *names: str) -> list[Array]:
    """Parameters as arrays. `[device]` each"""
    return [_array(getattr(fleet, name)) for name in names]


def _whole(*parts: Array) -> Array:
    """Stacks variables after broadcasting. `[variable, time, device]`"""
    return np.stack(np.broadcast_arrays(*parts))


def _at_end(value: Array, like: Array) -> Array:
    """Zero, but `value` at the last step."""
    array = np.zeros(like.shape)
    array[-1] = value
    return array


def _battery_block(fleet: BatteryFleet, state: Array, ahead: _Outlook) -> Block:
    """Charge, discharge and energy stored, kW and kWh."""
    p_max, capacity, eta, wear = _parameters(
        fleet, "p_max_kw", "energy_max_kwh", "efficiency", "wear_usd_per_kwh"
    )
    energy, first = state
    dt, price = ahead.dt_hours, ahead.price
    drift = np.zeros((len(price), *energy.shape))
    drift[0] = energy
    worth = ahead.refill_usd_per_kwh * eta
    one = np.ones_like(drift)
    upper = _whole(p_max * one, p_max * one, capacity * one)
    return Block(
        upper=upper,
        cost=_whole(price + wear * dt, wear * dt - price, _at_end(-worth, drift)),
        curvature=np.zeros((3, 1, 1)),
        start=0.5 * upper,
        gain=_whole(dt * eta * one, -dt / eta * one),
        sign=np.ones(1),
        decay=np.ones_like(eta),
        drift=drift,
        power_control=np.array([1.0, -1.0]),
        power_state=0.0,
        constant=float((worth * first).sum()),
        action_of=lambda p_kw: p_kw / p_max,
    )


def _heat_pump_block(fleet: HeatPumpFleet, state: Array, ahead: _Outlook) -> Block:
    """Power; temperature as its place in the band plus kelvins above less those below."""
    p_max, loss, constant_h, rise, low, high, discomfort = _parameters(
        fleet,
        *("p_max_kw", "loss_kw_per_k", "time_constant_hours", "gain_k"),
        *("comfort_low_degc", "comfort_high_degc", "discomfort_usd_per_kh"),
    )
    indoor, first = state
    dt, price = ahead.dt_hours, ahead.price
    decay = np.exp(-dt / constant_h)
    drift = (1.0 - decay) * (ahead.temp_degc + rise - low)
    drift[0] += decay * (indoor - low)
    worth = ahead.refill_usd_per_kwh * loss * constant_h / ahead.last_performance
    one = np.ones_like(drift)
    ends, kelvin = _at_end(worth, drift), dt * discomfort * one
    upper = _whole(p_max * one, (high - low) * one, _TEMP_RANGE_K * one, _TEMP_RANGE_K * one)
    start = 0.5 * upper
    start[2:] = 0.5
    return Block(
        upper=upper,
        cost=_whole(price * one, -ends, kelvin - ends, kelvin + ends),
        curvature=np.zeros((4, 1, 1)),
        start=start,
        gain=_whole((1.0 - decay) * ahead.performance / loss),
        sign=np.array([1.0, 1.0, -1.0]),
        decay=decay,
        drift=drift,
        power_control=np.ones(1),
        power_state=0.0,
        constant=float((worth * (first - low)).sum()),
        action_of=lambda p_kw: 2.0 * p_kw / p_max - 1.0,
    )


def _generator_block(fleet: GeneratorFleet, state: Array, ahead: _Outlook) -> Block:
    """Change of output above its steepest fall, and output, kW."""
    p_max, ramp, linear, square = _parameters(
        fleet, "p_max_kw", "ramp_kw", "fuel_usd_per_kwh", "fuel_usd_per_kw2h"
    )
    before = state[0]
    dt, price = ahead.dt_hours, ahead.price
    drift = np.zeros((len(price), *before.shape)) - ramp
    drift[0] += before
    one = np.ones_like(drift)
    upper = _whole(2.0 * ramp * one, p_max * one)
    return Block(
        upper=upper,
        cost=_whole(0.0 * one, dt * linear - price),
        curvature=_whole(0.0 * p_max, 2.0 * dt * square)[:, None],
        start=0.5 * upper,
        gain=_whole(one),
        sign=np.ones(1),
        decay=np.ones_like(p_max),
        drift=drift,
        power_control=np.zeros(1),
        power_state=-1.0,
        constant=0.0,
        action_of=lambda p_kw: -2.0 * p_kw / p_max - 1.0,
    )


def _ev_charger_block(fleet: EVChargerFleet, state: Array, ahead: _Outlook) -> Block:
    """Charging power, and how far the car is from full, kWh."""
    p_max, need, eta, unmet = _parameters(
        fleet, "p_max_kw", "need_kwh", "efficiency", "unmet_usd_per_kwh"
    )
    energy, first = state
    dt, price = ahead.dt_hours, ahead.price
    is_home, is_leaving, trips = (
        _array(of(ahead.around)) for of in (fleet.is_home, fleet.is_leaving, fleet.trips_kwh)
    )
    drift = -trips
    drift[0] += energy - need
    worth = ahead.refill_usd_per_kwh / eta
    one = np.ones_like(drift)
    upper = _whole(p_max * np.maximum(is_home, _CLOSED), DEFICIT * need * one)
    return Block(
        upper=upper,
        cost=_whole(price * is_home, unmet * is_leaving + _at_end(worth, drift)),
        curvature=np.zeros((2, 1, 1)),
        start=0.5 * upper,
        gain=_whole(dt * eta * is_home),
        sign=-np.ones(1),
        decay=np.ones_like(eta),
        drift=drift,
        power_control=np.ones(1),
        power_state=0.0,
        constant=float((worth * (first - need)).sum()),
        action_of=lambda p_kw: 2.0 * p_kw / p_max - 1.0,
    )


def _pv_inverter_block(fleet: PVInverterFleet, state: Array, ahead: _Outlook) -> Block:
    """Output, and once more as a state, of which nothing is kept, kW."""
    if fleet.kvar_per_kw:
        raise GradmapError(
            "no dispatch problem for PV inverters with reactive power: their action moves it and "
            "the output along one line, which is not convex; set task.pv_kvar_per_kw to 0, or "
            "leave out the methods that plan (receding-horizon, perfect-foresight)"
        )
    (p_max,) = _parameters(fleet, "p_max_kw")
    sun = _array(fleet.available_kw(ahead.around))
    most = np.maximum(sun, _CLOSED * p_max)
    one = np.ones_like(most)
    upper = _whole(most, 2.0 * most)
    return Block(
        upper=upper,
        cost=_whole(-ahead.price * sun / most, 0.0 * one),
        curvature=np.zeros((2, 1, 1)),
        start=_whole(0.5 * most, 0.5 * most),
        gain=_whole(one),
        sign=np.ones(1),
        decay=np.zeros_like(p_max),
        drift=0.0 * one,
        power_control=-np.ones(1),
        power_state=0.0,
        constant=0.0,
        action_of=lambda p_kw: -2.0 * p_kw / most - 1.0,
    )


_CLOSED = 1e-4
"""Share of the rated power that a box keeps where a device can do nothing: the method
needs an inside. It earns and costs nothing there, so that the bound stays one, and the
environment's own step takes away what is asked for."""

_MAKERS: dict[type, Callable[[Any, Array, _Outlook], Block]] = {
    BatteryFleet: _battery_block,
    HeatPumpFleet: _heat_pump_block,
    GeneratorFleet: _generator_block,
    EVChargerFleet: _ev_charger_block,
    PVInverterFleet: _pv_inverter_block,
}


def kvar_per_kw(fleet: Fleet) -> float:
    """Reactive power that the fleet draws with each kW drawn.

    Args:
        fleet: The fleet.
    """
    if isinstance(fleet, HeatPumpFleet):
        return KVAR_PER_KW
    return fleet.kvar_per_kw if isinstance(fleet, BatteryFleet) else 0.0

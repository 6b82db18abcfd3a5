"""The quantities by which methods are compared, each with its denominator.

They are computed from plain arrays, so that the torch power flow and OpenDSS
are judged by the same lines. A day on which a power flow failed is left out
of every figure and counted in `solver_failures`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from gradmap.feeders.model import Feeder

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

TOLERANCE_PU = 1e-5
"""Voltage beyond a limit that counts as a violation, p.u.: ten times what two
solvers may differ by, so that a policy that sits on the limit is judged alike."""

TOLERANCE_LOADING = 1e-4
"""Loading beyond a branch's rating that counts as overload, over the rating."""

VOLTAGE_USD_PER_PU = 300.0
"""What a p.u. of violation at one node for one step counts in `violation_usd_per_day`, $."""

OVERLOAD_USD = 30.0
"""What a rating of overload of one branch for one step counts there, $."""

QUANTITIES = {
    "cost_usd_per_day": "operating cost of all agents, $ per day",
    "cost_energy_usd_per_day": "of which energy at the tariff, $ per day",
    "cost_fuel_usd_per_day": "of which fuel, $ per day",
    "cost_wear_usd_per_day": "of which battery wear, $ per day",
    "cost_discomfort_usd_per_day": "of which discomfort, priced, $ per day",
    "violation_usd_per_day": f"violations at a fixed price, ${VOLTAGE_USD_PER_PU:g} per p.u., node "
    f"and step and ${OVERLOAD_USD:g} per rating, branch and step, $ per day",
    "node_step_violation_pct": "node-steps outside the voltage band, % of monitored node-steps",
    "node_step_over_pct": "of which above the band, % of monitored node-steps",
    "node_step_under_pct": "of which below the band, % of monitored node-steps",
    "step_violation_pct": "steps with any node outside the band, % of steps",
    "violation_mean_pu": "depth, mean over the node-steps in violation, p.u.",
    "violation_p95_pu": "depth, 95th percentile over the node-steps in violation, p.u.",
    "violation_max_pu": "depth, largest over all node-steps, p.u.",
    "thermal_overload_step_pct": "steps with any branch above its rating, % of steps",
    "branch_step_overload_pct": "branch-steps above the rating, % of branch-steps",
    "loading_max_pct": "largest branch loading, % of its rating",
    "losses_kwh_per_day": "losses in lines and transformers, kWh per day",
    "source_kwh_per_day": "energy drawn from the source, net, kWh per day",
    "source_peak_kw": "largest power drawn from the source in a step, kW",
    "unbalance_max_pct": "negative over positive sequence voltage, largest over "
    "three-phase buses and steps, %",
    "discomfort_kh": "kelvin hours outside the comfort band, per heat pump and day",
    "clipped_kwh_per_day": "setpoints that devices could not follow, all agents, kWh per day",
    "solver_failures": "power flows that did not converge, number of steps",
    "days": "days judged",
}
"""Every quantity of every task, what it is and what it is divided by.

The price of violations is that of evaluation and fixed: the one that learners
share by default (`PriceConfig`), whatever a method learnt with."""

REGULATION_QUANTITIES = {
    "tap_operations_per_day": "positions that taps moved by, all regulators together, per day",
    "capacitor_operations_per_day": "switchings of all capacitors together, per day",
}
"""Quantities of tasks whose taps are alive, besides `QUANTITIES`."""


@dataclasses.dataclass(frozen=True)
class Physics:
    """The network over some days, by either engine.

    Attributes:
        v_pu: Complex node voltages, p.u. `[day, time, node]`
        loading: Branch loading over its rating. `[day, time, branch]`
        losses_kw: Losses. `[day, time]`
        source_kw: Power drawn from the source. `[day, time]`
        converged: Whether the power flow converged. `[day, time]`
    """

    v_pu: npt.NDArray[np.complex128]
    loading: FloatArray
    losses_kw: FloatArray
    source_kw: FloatArray
    converged: BoolArray


@dataclasses.dataclass(frozen=True)
class Band:
    """Limits as the judge applies them.

    Attributes:
        vmin_pu: Lower voltage limit, p.u.
        vmax_pu: Upper voltage limit, p.u.
        monitored: Indices of the monitored nodes. `[monitored]`
    """

    vmin_pu: float
    vmax_pu: float
    monitored: npt.NDArray[np.int64]


def network_by_day(
    physics: Physics, band: Band, feeder: Feeder, dt_hours: float
) -> dict[str, FloatArray]:
    """The network's quantities for every day.

    Args:
        physics: The network.
        band: Limits.
        feeder: Feeder of the nodes.
        dt_hours: Length of a step, hours.

    Returns:
        Quantities by name, `[day]` each. Days with a failed power flow hold
        what their other steps gave, and are for the caller to leave out.
    """
    magnitude = np.abs(physics.v_pu[..., band.monitored])
    over = magnitude > band.vmax_pu + TOLERANCE_PU
    under = magnitude < band.vmin_pu - TOLERANCE_PU
    overload = physics.loading > 1.0 + TOLERANCE_LOADING
    outside = over | under
    deep = depth(physics, band)
    beyond = np.where(overload, physics.loading - 1.0, 0.0)
    return {
        "violation_usd_per_day": VOLTAGE_USD_PER_PU * deep.sum((1, 2))
        + OVERLOAD_USD * beyond.sum((1, 2)),
        "node_step_violation_pct": 100.0 * outside.mean((1, 2)),
        "node_step_over_pct": 100.0 * over.mean((1, 2)),
        "node_step_under_pct": 100.0 * under.mean((1, 2)),
        "step_violation_pct": 100.0 * outside.any(-1).mean(1),
        "violation_max_pu": deep.max((1, 2), initial=0.0),
        "thermal_overload_step_pct": 100.0 * overload.any(-1).mean(1),
        "branch_step_overload_pct": 100.0 * overload.mean((1, 2)),
        "loading_max_pct": 100.0 * np.nan_to_num(physics.loading).max((1, 2), initial=0.0),
        "losses_kwh_per_day": dt_hours * physics.losses_kw.sum(1),
        "source_kwh_per_day": dt_hours * physics.source_kw.sum(1),
        "source_peak_kw": physics.source_kw.max(1),
        "unbalance_max_pct": unbalance_pct(physics.v_pu, feeder).max((1, 2), initial=0.0),
        "solver_failures": (~physics.converged).sum(1).astype(np.float64),
    }


def depth(physics: Physics, band: Band) -> FloatArray:
    """Depth of each violation, 0 inside the band. `[day, time, monitored]`"""
    magnitude = np.abs(physics.v_pu[..., band.monitored])
    outside = np.maximum(magnitude - band.vmax_pu, band.vmin_pu - magnitude)
    return np.where(outside > TOLERANCE_PU, outside, 0.0)


def unbalance_pct(v_pu: npt.NDArray[np.complex128], feeder: Feeder) -> FloatArray:
    """Voltage unbalance: negative over positive sequence, percent.

    Args:
        v_pu: Complex node voltages. `[..., node]`
        feeder: Feeder of the nodes.

    Returns:
        Unbalance of every bus with three phases. `[..., bus]`
    """
    index: dict[str, dict[int, int]] = {}
    for node, (bus, phase) in enumerate(zip(feeder.node_bus, feeder.node_phase, strict=True)):
        index.setdefault(bus, {})[int(phase)] = node
    triples = [[at[1], at[2], at[3]] for at in index.values() if {1, 2, 3} <= at.keys()]
    if not triples:
        return np.zeros((*v_pu.shape[:-1], 0))
    a, b, c = np.moveaxis(v_pu[..., np.array(triples)], -1, 0)
    turn = np.exp(2j * np.pi / 3)
    positive = np.abs(a + turn * b + turn**2 * c)
    negative = np.abs(a + turn**2 * b + turn * c)
    result: FloatArray = 100.0 * negative / np.maximum(positive, 1e-9)
    return result


def summarise(by_day: dict[str, FloatArray], physics: Physics, band: Band) -> dict[str, float]:
    """Draws every quantity together over the days without a failure.

    Args:
        by_day: Quantities of every day, of network and agents. `[day]` each
        physics: The network.
        band: Limits.

    Returns:
        Quantities by name: means over days, but the largest of those that end
        in `max` or are peaks; NaN if no day is left.
    """
    good = physics.converged.all(1)
    result: dict[str, float] = {}
    for name, values in by_day.items():
        kept = values[good]
        pooled = np.max if ("_max_" in name or "_peak_" in name) else np.mean
        result[name] = float(pooled(kept)) if len(kept) else float("nan")
    deep = depth(physics, band)[good]
    deep = deep[deep > 0]
    result["violation_mean_pu"] = float(deep.mean()) if deep.size else 0.0
    result["violation_p95_pu"] = float(np.quantile(deep, 0.95)) if deep.size else 0.0
    result["solver_failures"] = float((~physics.converged).sum())
    result["days"] = float(good.sum())
    known = [name for name in QUANTITIES if name in result]
    return {name: result[name] for name in known + [n for n in result if n not in QUANTITIES]}

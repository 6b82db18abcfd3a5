"""Our power flow held to OpenDSS's, node by node.

The one module of this layer that imports `gradmap.feeders.powerflow`; nothing
in the layer imports it in turn. The nominal case alone proves little, since
the loads' thresholds lie outside it: light and heavy load, raised and lowered
taps, reverse flow and random injections are compared as well.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from gradmap.feeders.catalog import load_feeder, reload_feeder
from gradmap.feeders.dss_replay import OpenDSSReplay, ReplaySolution
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import GROUND, BoolArray, ComplexArray, Feeder, FloatArray
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import PowerFlow, solve_power_flow

# Well below the tolerance asked for, so that neither engine's own stands in the way.
_OUR_TOLERANCE_PU = 1e-10
_MAX_ITERATIONS = 500
_HIGH_TAP = 12


@dataclasses.dataclass(frozen=True)
class ValidationRow:
    """One case of a validation.

    Attributes:
        case: Name of the case.
        num_scenarios: Power flows in it.
        max_error_pu: Largest difference of a complex node voltage, per unit of
            the node's base; NaN if an engine did not converge.
        worst_node: Where that is.
        max_current_error_a: Largest difference of a branch current, A.
        max_loss_error_kw: Largest difference of the feeder's losses, kW.
        iterations: Iterations of our power flow, the most over the scenarios.
        num_outside: Terminals with a voltage outside their law's vmin..vmax,
            the most over the scenarios.
        converged: Whether both engines converged in every scenario.
    """

    case: str
    num_scenarios: int
    max_error_pu: float
    worst_node: str
    max_current_error_a: float
    max_loss_error_kw: float
    iterations: int
    num_outside: int
    converged: bool


@dataclasses.dataclass(frozen=True)
class ValidationReport:
    """The cases of a validation and the verdict.

    Attributes:
        feeder: Name of the feeder.
        tolerance_pu: Difference in voltage that passes.
        rows: The cases.
    """

    feeder: str
    tolerance_pu: float
    rows: tuple[ValidationRow, ...]

    @property
    def passed(self) -> bool:
        """Whether every case converged within the tolerance."""
        return all(row.converged and row.max_error_pu <= self.tolerance_pu for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values; what is not finite becomes `None`."""
        rows = [
            {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in dataclasses.asdict(row).items()
            }
            for row in self.rows
        ]
        return {
            "feeder": self.feeder,
            "tolerance_pu": self.tolerance_pu,
            "passed": self.passed,
            "rows": rows,
        }


@dataclasses.dataclass(frozen=True)
class _Case:
    """Powers of all terminals, devices included, `[scenario, terminal]`."""

    name: str
    p_kw: FloatArray
    q_kvar: FloatArray


def validate_feeder(
    feeder: Feeder | str,
    num_random: int = 50,
    seed: int = 0,
    tolerance_pu: float = 1e-6,
) -> ValidationReport:
    """Compares our power flow with OpenDSS's at the same powers and taps.

    Both in complex128 and solved to 1e-10 p.u., taps frozen, devices present
    at every terminal. The cases: nominal, light (0.1 of the load), heavy
    (twice), low voltage (all taps neutral, 1.5 times the load), high voltage
    (all taps at +12, half the load), reverse flow (minus one and minus two
    times the load), and random loads with random devices. Without regulators
    the low-voltage case is at the feeder's own taps and the high-voltage one
    is left out.

    Args:
        feeder: The feeder or its name in the catalog.
        num_random: Number of random scenarios.
        seed: Seed of the random scenarios.
        tolerance_pu: Largest difference that passes, per unit.

    Raises:
        GradmapError: If there is no such feeder, its circuit cannot be
            compiled again, or an argument is out of range.
    """
    if num_random < 0:
        raise GradmapError(f"num_random is {num_random}, expected 0 or more")
    if not tolerance_pu > 0:
        raise GradmapError(f"tolerance_pu is {tolerance_pu}, expected more than 0")
    if isinstance(feeder, str):
        feeder = load_feeder(feeder)
    rows = _compare(feeder, _cases(feeder, num_random, seed))
    taps: Mapping[str, int | None] = {"low voltage": None}
    if len(feeder.regulators):
        taps = {"low voltage": 0, "high voltage": _HIGH_TAP}
    for name, tap in taps.items():
        scale = 1.5 if name == "low voltage" else 0.5
        # The circuit's file knows other taps, not other loads.
        moved = feeder if tap is None else reload_feeder(feeder, tap)
        moved = dataclasses.replace(moved, terminals=feeder.terminals)
        rows += _compare(moved, [_scaled(moved, name, scale)])
    return ValidationReport(feeder.name, tolerance_pu, tuple(rows))


def _cases(feeder: Feeder, num_random: int, seed: int) -> list[_Case]:
    """The cases at the feeder's own taps."""
    scales = {"nominal": 1.0, "light": 0.1, "heavy": 2.0, "reverse": -1.0, "reverse twice": -2.0}
    cases = [_scaled(feeder, name, scale) for name, scale in scales.items()]
    if num_random:
        cases.append(_random(feeder, num_random, seed))
    return cases


def _scaled(feeder: Feeder, name: str, scale: float) -> _Case:
    """The nominal load times a factor, devices at zero."""
    idle = np.zeros(len(feeder.terminals))
    p_kw = np.concatenate([scale * feeder.terminals.p_kw, idle])
    q_kvar = np.concatenate([scale * feeder.terminals.q_kvar, idle])
    return _Case(name, p_kw[None], q_kvar[None])


def _random(feeder: Feeder, num_scenarios: int, seed: int) -> _Case:
    """Random loads and devices, the devices with a common lean to either side."""
    rng = np.random.default_rng(seed)
    t = feeder.terminals
    size = (num_scenarios, len(t))
    # A load of zero still gets devices: those of a typical terminal.
    p_size = np.maximum(t.p_kw, t.p_kw.mean())
    load = rng.uniform(0.1, 1.5, size)
    lean = rng.uniform(-1.0, 1.0, (num_scenarios, 1))
    p_device = p_size * (lean + rng.uniform(-1.0, 1.0, size))
    q_device = 0.5 * p_size * rng.uniform(-1.0, 1.0, size)
    return _Case(
        "random",
        np.concatenate([load * t.p_kw, p_device], axis=1),
        np.concatenate([load * t.q_kvar, q_device], axis=1),
    )


def _compare(feeder: Feeder, cases: list[_Case]) -> list[ValidationRow]:
    """Solves cases at one set of taps with both engines."""
    network = Network.from_feeder(feeder, devices=True)
    rows = []
    with OpenDSSReplay(feeder) as replay:
        for case in cases:
            ours = solve_power_flow(
                network,
                torch.from_numpy(case.p_kw),
                torch.from_numpy(case.q_kvar),
                tolerance_pu=_OUR_TOLERANCE_PU,
                max_iterations=_MAX_ITERATIONS,
            )
            theirs = [
                replay.solve(p_kw, q_kvar)
                for p_kw, q_kvar in zip(case.p_kw, case.q_kvar, strict=True)
            ]
            rows.append(_row(feeder, case, ours, theirs))
    return rows


def _row(
    feeder: Feeder, case: _Case, ours: PowerFlow, theirs: list[ReplaySolution]
) -> ValidationRow:
    """Sums up one case."""
    v_pu = np.array([solution.v_pu for solution in theirs])
    current_a = np.array([solution.branch_current_a for solution in theirs])
    losses_kw = np.array([solution.losses_kw for solution in theirs])
    error = np.abs(ours.v_pu.numpy() - v_pu).max(axis=0)
    # argmax of an array with NaN finds the NaN.
    worst = int(np.argmax(error))
    current_error = np.abs(ours.branch_current_a.numpy() - current_a)
    converged = bool(ours.converged.all()) and all(solution.converged for solution in theirs)
    return ValidationRow(
        case=case.name,
        num_scenarios=len(theirs),
        max_error_pu=float(error[worst]),
        worst_node=feeder.node_names[worst],
        max_current_error_a=float(current_error.max(initial=0.0)),
        max_loss_error_kw=float(np.abs(ours.losses_kw.numpy() - losses_kw).max()),
        iterations=int(ours.iterations.max()),
        num_outside=int(_is_outside(feeder, v_pu).sum(axis=1).max()),
        converged=converged,
    )


def _is_outside(feeder: Feeder, v_pu: ComplexArray) -> BoolArray:
    """Whether each load terminal's voltage is outside its law. `[scenario, terminal]`"""
    t = feeder.terminals
    # A column for ground, which GROUND = -1 then picks.
    assert GROUND == -1
    v_kv = np.pad(v_pu * feeder.node_kv_base, ((0, 0), (0, 1)))
    u = np.abs(v_kv[:, t.node_from] - v_kv[:, t.node_to]) / t.kv_rated
    outside: BoolArray = (u < t.vmin_pu) | (u > t.vmax_pu)
    return outside

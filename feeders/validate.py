"""Our power flow held to OpenDSS's, node by node.

Of this layer, it and `describe.py` alone import `gradmap.feeders.powerflow`;
nothing in the layer imports them in turn.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch

from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.dss_replay import OpenDSSReplay, ReplaySolution
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import GROUND, BoolArray, ComplexArray, Feeder
from gradmap.feeders.operating_points import (
    OperatingPoint,
    points_at_other_taps,
    points_at_own_taps,
)
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import PowerFlow, solve_power_flow

# Well below the tolerance asked for, so that neither engine's own stands in the way.
_OUR_TOLERANCE_PU = 1e-10
_MAX_ITERATIONS = 500


@dataclasses.dataclass(frozen=True)
class ValidationRow:
    """One operating point of a validation.

    Attributes:
        case: Name of the operating point.
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


@dataclasses.dataclass(frozen=True, eq=False)
class CaseVoltages:
    """Every node voltage of one operating point, from both engines.

    Attributes:
        case: Name of the operating point.
        ours_pu: Ours, complex, per unit of the node's base. `[scenario, node]`
        opendss_pu: OpenDSS's, likewise; NaN where it did not converge.
    """

    case: str
    ours_pu: ComplexArray
    opendss_pu: ComplexArray


@dataclasses.dataclass(frozen=True)
class ValidationReport:
    """The operating points of a validation and the verdict.

    Attributes:
        feeder: Name of the feeder.
        tolerance_pu: Difference in voltage that passes.
        rows: The operating points.
        num_nodes: Nodes of the feeder.
        num_terminals: Terminals that were solved: one a load phase, and a
            device beside each.
        voltages: The voltages behind each row; not in `to_dict`.
    """

    feeder: str
    tolerance_pu: float
    rows: tuple[ValidationRow, ...]
    num_nodes: int
    num_terminals: int
    voltages: tuple[CaseVoltages, ...] = dataclasses.field(default=(), repr=False, compare=False)

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
            "num_nodes": self.num_nodes,
            "num_terminals": self.num_terminals,
            "rows": rows,
        }


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
        feeder: The feeder, or what `load_feeder` takes: a name or a file.
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
    compared = _compare(feeder, points_at_own_taps(feeder, num_random, seed))
    for moved, point in points_at_other_taps(feeder):
        compared += _compare(moved, [point])
    rows, voltages = zip(*compared, strict=True)
    return ValidationReport(
        feeder.name,
        tolerance_pu,
        rows,
        num_nodes=feeder.num_nodes,
        num_terminals=2 * len(feeder.terminals),
        voltages=voltages,
    )


def _compare(
    feeder: Feeder, points: list[OperatingPoint]
) -> list[tuple[ValidationRow, CaseVoltages]]:
    """Solves points at one set of taps with both engines."""
    network = Network.from_feeder(feeder, devices=True)
    compared = []
    with OpenDSSReplay(feeder) as replay:
        for point in points:
            ours = solve_power_flow(
                network,
                torch.from_numpy(point.p_kw),
                torch.from_numpy(point.q_kvar),
                tolerance_pu=_OUR_TOLERANCE_PU,
                max_iterations=_MAX_ITERATIONS,
            )
            theirs = [
                replay.solve(p_kw, q_kvar)
                for p_kw, q_kvar in zip(point.p_kw, point.q_kvar, strict=True)
            ]
            compared.append(_compared(feeder, point, ours, theirs))
    return compared


def _compared(
    feeder: Feeder, point: OperatingPoint, ours: PowerFlow, theirs: list[ReplaySolution]
) -> tuple[ValidationRow, CaseVoltages]:
    """Sums up one point, and keeps its voltages."""
    our_v_pu = ours.v_pu.numpy()
    v_pu = np.array([solution.v_pu for solution in theirs])
    current_a = np.array([solution.branch_current_a for solution in theirs])
    losses_kw = np.array([solution.losses_kw for solution in theirs])
    error = np.abs(our_v_pu - v_pu).max(axis=0)
    # argmax of an array with NaN finds the NaN.
    worst = int(np.argmax(error))
    current_error = np.abs(ours.branch_current_a.numpy() - current_a)
    converged = bool(ours.converged.all()) and all(solution.converged for solution in theirs)
    row = ValidationRow(
        case=point.name,
        num_scenarios=len(theirs),
        max_error_pu=float(error[worst]),
        worst_node=feeder.node_names[worst],
        max_current_error_a=float(current_error.max(initial=0.0)),
        max_loss_error_kw=float(np.abs(ours.losses_kw.numpy() - losses_kw).max()),
        iterations=int(ours.iterations.max()),
        num_outside=int(_is_outside(feeder, v_pu).sum(axis=1).max()),
        converged=converged,
    )
    return row, CaseVoltages(point.name, our_v_pu, v_pu)


def _is_outside(feeder: Feeder, v_pu: ComplexArray) -> BoolArray:
    """Whether each load terminal's voltage is outside its law. `[scenario, terminal]`"""
    t = feeder.terminals
    # A column for ground, which GROUND = -1 then picks.
    assert GROUND == -1
    v_kv = np.pad(v_pu * feeder.node_kv_base, ((0, 0), (0, 1)))
    u = np.abs(v_kv[:, t.node_from] - v_kv[:, t.node_to]) / t.kv_rated
    outside: BoolArray = (u < t.vmin_pu) | (u > t.vmax_pu)
    return outside

"""OpenDSS's own control over a day: what the rule of `regulation.py` is held to."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Literal

import numpy as np
import numpy.typing as npt

from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.model import BoolArray, ComplexArray, Feeder, FloatArray, IntArray

_PASSES = 200  # of OpenDSS's control loop; its own limit of 10 can end before the last move


@dataclasses.dataclass(frozen=True, eq=False)
class ControlledDay:
    """What OpenDSS's controls did.

    Attributes:
        taps: Positions after each step. `[time, regulator]`
        capacitors: What was on after each step. `[time, capacitor]`
        v_pu: Node voltages, complex128. `[time, node]`
        is_settled: False where OpenDSS gave up moving or solving. `[time]`
    """

    taps: IntArray
    capacitors: BoolArray
    v_pu: ComplexArray
    is_settled: BoolArray


def control_day(
    feeder: Feeder,
    p_kw: npt.ArrayLike,
    q_kvar: npt.ArrayLike,
    *,
    hours: npt.ArrayLike | None = None,
    tolerance_pu: float = 1e-10,
    mode: Literal["static", "event"] = "static",
) -> ControlledDay:
    """Solves steps one after the other with OpenDSS's own control.

    Each step starts where the one before left taps and capacitors, the first
    at the feeder's own.

    Args:
        feeder: The feeder; its circuit is read again from its `origin`.
        p_kw: Active power drawn at each terminal, `[time, terminal]`, kW; at the
            devices too if there are twice as many.
        q_kvar: Reactive power drawn, same shape, kvar.
        hours: Hour of the day of each step, for controls of type time. `[time]`
        tolerance_pu: OpenDSS's tolerance on a step in voltage.
        mode: OpenDSS's control mode: `static`, or `event`, in which taps move
            one position at a time, in the order of delays and tap delays.

    Raises:
        GradmapError: If the circuit cannot be read or a power not be set.
    """
    p, q = np.asarray(p_kw, np.float64), np.asarray(q_kvar, np.float64)
    clock = np.zeros(len(p)) if hours is None else np.asarray(hours, np.float64)
    has_devices = p.shape[1] == 2 * len(feeder.terminals)
    rows = []
    with contextlib.closing(
        _ControlledReplay(feeder, devices=has_devices, tolerance_pu=tolerance_pu)
    ) as replay:
        for now, active, reactive in zip(clock, p, q, strict=True):
            rows.append(replay.control(active, reactive, float(now), mode))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return ControlledDay(*columns)


class _ControlledReplay(OpenDSSReplay):
    """A replay whose controls act in every solve."""

    def control(
        self, p_kw: FloatArray, q_kvar: FloatArray, hour: float, mode: str
    ) -> tuple[list[int], list[bool], ComplexArray, bool]:
        """Solves one step; returns a row of `ControlledDay`."""
        circuit = self._engine.ActiveCircuit
        self._engine.Text.Command = (
            f"Set ControlMode={mode} MaxControlIter={_PASSES} Hour={int(hour)} "
            f"Sec={3600.0 * (hour - int(hour))}"
        )
        solved = self.solve(p_kw, q_kvar)
        taps = []
        for name in self.feeder.regulators.control:
            circuit.RegControls.Name = name
            taps.append(int(circuit.RegControls.TapNumber))
        is_on = []
        for name in self.feeder.controls.capacitors.name:
            circuit.Capacitors.Name = name
            circuit.SetActiveElement(f"capacitor.{name}")
            is_closed = not circuit.ActiveCktElement.IsOpen(1, 0)
            is_on.append(is_closed and bool(circuit.Capacitors.States[0]))
        is_done = solved.converged and bool(circuit.Solution.ControlActionsDone)
        return taps, is_on, solved.v_pu, is_done

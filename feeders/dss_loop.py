"""The fastest Python loops over OpenDSS that we know: what speed is measured against.

All set the power of every load terminal, solve from the solution before, and
read every node's voltage magnitude. Tried besides, on IEEE 123: load shapes
in OpenDSS's own daily mode, one step a call, came within 2 % of the calls for
whole batches; the usual interface without its checks reached 0.75 of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.model import Feeder, FloatArray


class OpenDSSLoop(OpenDSSReplay):
    """Solves scenario after scenario, as fast as OpenDSS can be driven.

    Args:
        feeder: The feeder, at the taps to use; no device terminals.
        tolerance_pu: OpenDSS's tolerance on a step in voltage.
    """

    def __init__(self, feeder: Feeder, *, tolerance_pu: float) -> None:
        super().__init__(feeder, devices=False, tolerance_pu=tolerance_pu)
        engine = self._engine
        # The memory that OpenDSS solves into; entry 0 is ground.
        size = 16 * (feeder.num_nodes + 1)
        buffer = engine._api_util.ffi.buffer(engine.YMatrix.GetVPointer(), size)
        self._volts_now = np.frombuffer(buffer, dtype=np.complex128)[1:]
        loads = engine.ActiveCircuit.Loads
        self._index = []
        for k in range(self.num_terminals):
            loads.Name = f"gradmap_load_{k}"
            self._index.append(int(loads.idx))

    def by_batch(self, p_kw: FloatArray, q_kvar: FloatArray, volts: FloatArray) -> None:
        """Sets all loads with two calls of the C interface a scenario.

        Args:
            p_kw: Active power, `[scenario, terminal]`, C-contiguous float64.
            q_kvar: Reactive power, likewise.
            volts: Where the magnitudes go, `[scenario, node]`, V, in
                OpenDSS's own order: see `in_order`.
        """
        ffi, lib = self._engine._api_util.ffi, self._engine._api_util.lib
        loads = self._loads
        # SetterFlags_AvoidFullRecalc, as in `Batch.set`, less its checks.
        put = functools.partial(lib.Batch_SetFloat64ArrayS, loads._batch, loads._count)
        solve: Callable[[], None] = lib.Solution_Solve
        now, cast = self._volts_now, ffi.from_buffer
        for p, q, out in zip(p_kw, q_kvar, volts, strict=True):
            put(b"kW", cast("double[]", p), 2)
            put(b"kvar", cast("double[]", q), 2)
            solve()
            np.abs(now, out=out)

    def by_element(self, p_kw: FloatArray, q_kvar: FloatArray, volts: FloatArray) -> None:
        """Sets load after load through the usual interface; arguments as `by_batch`."""
        circuit = self._engine.ActiveCircuit
        loads, solution = circuit.Loads, circuit.Solution
        for p, q, out in zip(p_kw, q_kvar, volts, strict=True):
            for index, kw, kvar in zip(self._index, p.tolist(), q.tolist(), strict=True):
                loads.idx = index
                loads.kW = kw  # rescales kvar, so kvar comes after it
                loads.kvar = kvar
            solution.Solve()
            np.abs(self._volts_now, out=out)

    def in_order(self, volts: FloatArray) -> FloatArray:
        """Brings magnitudes, V, to the feeder's order and bases, p.u."""
        ordered: FloatArray = volts[:, self._order] / self._volts
        return ordered

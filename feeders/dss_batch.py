"""Numbers of many OpenDSS elements in one call, and the node voltages.

OpenDSS's usual interface goes element by element and sets loads at 4,000 a
second; these calls of its C interface take arrays and leave a solve at 0.2 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradmap.feeders.model import ComplexArray, FloatArray

# SetterFlags_AvoidFullRecalc: a load's new power does not rebuild the system
# matrix; the loads' primitive matrices only steer the iteration.
_AVOID_FULL_RECALC = 2


class Batch:
    """Elements of a compiled circuit, in the order in which they are named.

    Args:
        engine: An OpenDSS context; the batch is void once its circuit is gone.
        names: `class.name` of each element, lower case.
    """

    def __init__(self, engine: Any, names: Sequence[str]) -> None:
        self._engine = engine
        self._lib = engine._api_util.lib
        self._ffi = engine._api_util.ffi
        pointers: dict[str, Any] = {}
        for kind in {name.partition(".")[0] for name in names}:
            pointers.update(self._pointers(kind))
        self._count = len(names)
        self._batch = self._ffi.new("void*[]", [pointers[name] for name in names])
        self._result = self._ffi.gc(self._ffi.new("double**"), self._lib.DSS_Dispose_PDouble)
        self._dims = self._ffi.new("int32_t[4]")

    def _pointers(self, kind: str) -> dict[str, Any]:
        """The engine's pointer to each element of a class, by `class.name`."""
        found = self._ffi.new("void***")
        dims = self._ffi.new("int32_t[4]")
        self._lib.Batch_CreateByClassS(found, dims, kind.encode())
        self._check()
        pointers = {}
        for i in range(dims[0]):
            name = self._ffi.string(self._lib.Obj_GetName(found[0][i])).decode()
            pointers[f"{kind}.{name}".lower()] = found[0][i]
        self._lib.Batch_Dispose(found[0])
        return pointers

    def set(self, name: str, values: FloatArray) -> None:
        """Sets a property of each element. `values` is `[element]`."""
        values = np.ascontiguousarray(values, dtype=np.float64)
        if values.shape != (self._count,):
            raise AssertionError(f"{values.shape} values for {self._count} elements")
        data = self._ffi.from_buffer("double[]", values)
        self._lib.Batch_SetFloat64ArrayS(
            self._batch, self._count, name.encode(), data, _AVOID_FULL_RECALC
        )
        self._check()

    def get(self, name: str) -> FloatArray:
        """Reads a property of each element. `[element]`"""
        self._lib.Batch_GetFloat64S(
            self._result, self._dims, self._batch, self._count, name.encode()
        )
        return self._copy_result()

    def currents_a(self) -> ComplexArray:
        """Currents into each conductor of each terminal of each element, A."""
        self._lib.Alt_CEBatch_Get_Currents(self._result, self._dims, self._batch, self._count)
        currents: ComplexArray = self._copy_result().view(np.complex128)
        return currents

    def _copy_result(self) -> FloatArray:
        self._check()
        size = 8 * self._dims[0]
        result = np.frombuffer(self._ffi.buffer(self._result[0], size), dtype=np.float64)
        return result.copy()

    def _check(self) -> None:
        self._engine.YMatrix._check_for_error()


class NodeVoltages:
    """Node voltages of the present solution, in the order of the system matrix."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._num_nodes = int(engine.ActiveCircuit.NumNodes)

    def read(self) -> ComplexArray:
        """Returns a copy of the voltages, V. `[node]`"""
        ffi = self._engine._api_util.ffi
        pointer = self._engine.YMatrix.GetVPointer()
        # Entry 0 is ground.
        buffer = ffi.buffer(pointer, 16 * (self._num_nodes + 1))
        return np.frombuffer(buffer, dtype=np.complex128)[1:].copy()

"""Types of the arrays in a feeder, and the base of the records that hold them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ComplexArray = npt.NDArray[np.complex128]


def _freeze(value: Any) -> None:
    """Makes the memory behind an array or sparse matrix read-only."""
    if isinstance(value, np.ndarray):
        value.setflags(write=False)
    elif isinstance(value, (sp.csr_matrix, sp.csc_matrix)):
        for part in (value.data, value.indices, value.indptr):
            part.setflags(write=False)


class Frozen:
    """Base of frozen dataclasses: every array they hold is read-only."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            _freeze(getattr(self, field.name))

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Unpickled arrays come back writable; freeze them again.
        for name, value in state.items():
            object.__setattr__(self, name, value)
            _freeze(value)

"""The matrices of the low-rank update of a sparse network: see `sparse_taps.py`.

They are made when taps are first given, for a feeder of 10,000 buses has some
hundred capacitors, whose wires take memory that most uses never need.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from gradmap.feeders.model import ComplexArray, Feeder, FloatArray
from gradmap.feeders.powerflow.elements_build import Elements
from gradmap.feeders.powerflow.sparse import SparseMaps
from gradmap.feeders.powerflow.sparse_layout import (
    column,
    loss_form,
    pair,
    planar_rows,
    real_matrix,
)
from gradmap.feeders.powerflow.sparse_taps import SparseTapMaps

_REFINEMENTS = 3
"""Steps of refinement of the thin matrices: a regulator's stiff direction takes digits."""


@dataclasses.dataclass(frozen=True, eq=False)
class SparseTaps:
    """Where the matrices of a sparse network's taps come from.

    Attributes:
        feeder: The feeder; something in it can move.
        maps: The network's maps, on the CPU.
        basis: Node voltages as sums of the unknowns. `[node, node]`
        v_open: Node voltages of the open feeder, V. `[node]`
        unknown_open: Unknowns of the open feeder, interleaved, V. `[2 node]`
        device: Where the matrices go.
        dtype: Real dtype of the loop's.
    """

    feeder: Feeder
    maps: SparseMaps
    basis: sp.csr_matrix
    v_open: ComplexArray
    unknown_open: FloatArray
    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float64
    _made: dict[bool, SparseTapMaps] = dataclasses.field(default_factory=dict, repr=False)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> SparseTaps:
        """The same for another device and real dtype."""
        return dataclasses.replace(self, device=device, dtype=dtype, _made={})

    def wanted(self, capacitors: bool) -> SparseTapMaps:
        """The matrices, made once.

        Args:
            capacitors: Whether capacitors may be switched, or regulators alone move.
        """
        if capacitors not in self._made:
            with torch.inference_mode(False):  # else no gradient could use the tensors
                self._made[capacitors] = self._make(capacitors).to(self.device, self.dtype)
        return self._made[capacitors]

    def _make(self, capacitors: bool) -> SparseTapMaps:
        feeder, maps = self.feeder, self.maps
        elements = Elements(feeder)
        num, num_regulators = len(elements.element), len(feeder.regulators)
        kept = num if capacitors else int((elements.element < num_regulators).sum())
        incidence = sp.csr_matrix(elements.incidence[:kept])
        rows = planar_rows(kept) @ real_matrix(incidence @ self.basis)
        wires = sp.csr_matrix(rows[:, maps.order])
        open_volt = np.asarray(incidence @ self.v_open)
        given = torch.from_numpy(np.ascontiguousarray(wires.T.toarray()))
        state = maps.solve[0].refined(-given, maps.system[0], _REFINEMENTS).numpy()
        pulled = maps.solve[1].refined(given, maps.system[1], _REFINEMENTS).numpy()
        into = np.asarray(maps.right[0].csr.T @ pulled)
        into[-1] += np.concatenate([open_volt.real, open_volt.imag])
        step = np.asarray(maps.ports[0].csr @ state).T
        arrays = {
            "into": into,
            "loop_into": into,
            "own": -np.asarray(wires @ state).T,
            "step": step,
            "loop_step": step,
            "state": state.T,
        }
        parts: dict[str, Any] = {
            name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()
        }
        parts |= elements.first(kept) | self._conductors(elements, kept)
        parts |= self._watch() | self._loss(elements)
        return SparseTapMaps(**parts, wires=wires, num_regulators=num_regulators)

    def _conductors(self, elements: Elements, kept: int) -> dict[str, Tensor]:
        """What the elements' own currents add to those of conductors."""
        through = elements.into_conductors()
        num = through.shape[0] // 2
        through = through[np.concatenate([np.arange(kept), num + np.arange(kept)])]
        planar = np.concatenate([through.real, through.imag], axis=1)
        own = np.flatnonzero(np.abs(planar).any(0))
        return {
            "through": torch.from_numpy(np.ascontiguousarray(planar[:, own])),
            "own_conductor": torch.from_numpy(own),
        }

    def _watch(self) -> dict[str, Any]:
        """Currents that the capacitors' controls look at."""
        siemens = self.feeder.controls.capacitor.current_siemens
        rows = planar_rows(siemens.shape[0]) @ real_matrix(siemens @ self.basis)
        is_open = np.asarray(siemens @ self.v_open, np.complex128)
        both = np.concatenate([is_open.real, is_open.imag])
        return {"watch": pair(rows[:, self.maps.order]), "watch_open": column(both)}

    def _loss(self, elements: Elements) -> dict[str, Any]:
        """Losses of all branches but the regulators."""
        rest = sp.csr_matrix(self.feeder.branches.series_siemens - elements.series_admittance())
        form = loss_form(sp.csr_matrix(self.basis.T @ rest) @ self.basis)
        half, order = form @ self.unknown_open, self.maps.order
        return {
            "loss": pair(form[order][:, order]),
            "loss_open": column(2.0 * half[order]),
            "loss_no_load": float(self.unknown_open @ half),
        }

"""The adjustable elements of a feeder as matrices, for either kind of network."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from gradmap.feeders.model import ComplexArray, Feeder, FloatArray
from gradmap.feeders.powerflow.dense_build import real_block


class Elements:
    """The adjustable elements as matrices over all their wires.

    Args:
        feeder: The feeder; something in it can move.

    Attributes:
        element: Element of each wire.
        gain: Gain of each element in the feeder.
        fixed, linear, square: `[wire, wire]`, S.
        basis: `[wire, wire]`, orthonormal columns, block by block.
        incidence: From node voltages to the basis, `[wire, node]`.
    """

    def __init__(self, feeder: Feeder) -> None:
        a, r = feeder.controls.adjustable, feeder.regulators
        count = len(a.element)
        self._feeder, self.element = feeder, np.array(a.element)
        ratio = 1.0 + r.tap * r.tap_step_pu
        self.gain = np.concatenate([1.0 / ratio, feeder.controls.capacitors.is_on.astype(float)])
        self.fixed, self.linear, self.square = (
            sp.csr_matrix((part, (a.row, a.column)), shape=(count, count)).toarray()
            for part in (a.fixed_siemens, a.linear_siemens, a.square_siemens)
        )
        self._places = np.zeros((count, feeder.num_nodes))
        self._places[np.arange(count), a.node] = 1.0
        self.basis = np.zeros((count, count))
        for k in np.unique(self.element):
            own = np.flatnonzero(self.element == k)
            self.basis[np.ix_(own, own)] = _basis(self._present()[np.ix_(own, own)])
        self.incidence = self.basis.T @ self._places

    def _present(self) -> ComplexArray:
        """The elements' admittance as the feeder has it."""
        gain = self.gain[self.element][:, None]
        present: ComplexArray = self.fixed + gain * self.linear + gain**2 * self.square
        return present

    def turned(self, matrix: ComplexArray) -> ComplexArray:
        """A matrix of the wires in the basis.

        Args:
            matrix: `[wire, wire]`
        """
        return np.asarray(self.basis.T @ matrix @ self.basis)

    def into_conductors(self) -> FloatArray:
        """Current of each branch's conductor by the basis' currents, `[2 wire, conductor]`."""
        conductor = self._feeder.controls.adjustable.conductor
        count = len(self._feeder.branches.conductor_branch)
        at = np.zeros((len(conductor), count))
        is_there = conductor >= 0
        at[np.flatnonzero(is_there), conductor[is_there]] = 1.0
        found = self.basis.T @ at
        return np.concatenate([found, 1j * found])

    def series_admittance(self) -> sp.csr_matrix:
        """The regulators' part of the branches' admittance, `[node, node]`."""
        is_branch = self.element < len(self._feeder.regulators)
        kept = np.where(np.outer(is_branch, is_branch), self._present(), 0.0)
        places = sp.csr_matrix(self._places)
        return sp.csr_matrix(places.T @ sp.csr_matrix(kept) @ places)

    def tensors(self) -> dict[str, Tensor]:
        """What `TapMaps` holds of them, whatever the network; float64, on the CPU."""
        return self.first(len(self.element))

    def first(self, kept: int) -> dict[str, Tensor]:
        """The same of the first wires alone.

        Args:
            kept: How many; all of an element's or none.
        """
        r, own = self._feeder.regulators, slice(kept)
        element = self.element[own]
        arrays = {
            "basis": self.basis[own, own],
            "fixed": real_block(self.turned(self.fixed)[own, own]),
            "linear": real_block(self.turned(self.linear)[own, own]),
            "square": real_block(self.turned(self.square)[own, own]),
            "is_series": np.tile((element < len(r)).astype(float), 2),
            "element": np.tile(element, 2),
            "gain": self.gain,
            "tap_step_pu": np.array(r.tap_step_pu),
        }
        return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}


def _basis(admittance: ComplexArray) -> FloatArray:
    """Directions by stiffness: eigenvectors of the admittance's size."""
    size = admittance.real - admittance.imag
    return np.asarray(np.linalg.eigh(0.5 * (size + size.T))[1])

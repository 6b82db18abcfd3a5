"""Taps and capacitors of each scenario's own in a sparse network: see `taps.py`.

The update of low rank is that of a dense network, on top of the factors of the
network's own taps. With `x` the unknowns and `i` the currents of the elements,
the loop needs three thin matrices, of as many rows as the elements have wires;
all that is read of a solution follows from `x` by the network's sparse maps.
"""

from __future__ import annotations

import dataclasses
from typing import Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from gradmap.feeders.powerflow.planar import magnitude
from gradmap.feeders.powerflow.sparse import SparseMaps
from gradmap.feeders.powerflow.sparse_columns import affine
from gradmap.feeders.powerflow.sparse_matrix import SparseMatrix
from gradmap.feeders.powerflow.taps import TapMaps, TappedMaps


@dataclasses.dataclass(frozen=True, eq=False)
class SparseTapMaps(TapMaps):
    """What the update needs of a sparse network besides; unknowns in the maps' order.

    Attributes:
        state: From `i` to the unknowns, `[2 wire, 2 node]`.
        wires: From the unknowns to `w`, on the CPU. `[2 wire, 2 node]`
        through: From `i` to the currents of conductors that are wires, A,
            `[2 wire, own]`.
        own_conductor: Where these stand among all, planar, int64. `[own]`
        watch: From the unknowns to the currents that capacitors' controls look
            at, A, `[2 probe, 2 node]`, beside its transpose.
        watch_open: Those of the open feeder, `[2 probe, 1]`.
        loss: Symmetric form of the losses, kW, of all branches but the
            regulators, `[2 node, 2 node]`, beside its transpose.
        loss_open: Its linear part.
        loss_no_load: These losses of the open feeder, kW.
    """

    state: Tensor
    wires: sp.csr_matrix
    through: Tensor
    own_conductor: Tensor
    watch: tuple[SparseMatrix, SparseMatrix]
    watch_open: Tensor
    loss: tuple[SparseMatrix, SparseMatrix]
    loss_open: Tensor
    loss_no_load: float

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """Moves everything to a device, and the loop's matrices to a real dtype."""
        moved = super().to(device, dtype)
        pairs = {
            name: (plain.to(device), transposed.to(device))
            for name, (plain, transposed) in (("watch", self.watch), ("loss", self.loss))
        }
        return dataclasses.replace(moved, watch=pairs["watch"], loss=pairs["loss"])


@dataclasses.dataclass(frozen=True, eq=False)
class SparseTappedMaps(TappedMaps):
    """The maps of a sparse network at the taps of each scenario.

    The `image` is the unknowns, then `w`, then the currents `i`, float64.
    """

    base: SparseMaps
    static: SparseTapMaps

    method = "sparse"

    def admittance_change_of(self, k: int) -> sp.csr_matrix:
        """What the taps of a scenario add to the admittance. `[2 node, 2 node]`

        Args:
            k: The scenario.
        """
        return sp.csr_matrix(self.static.wires.T @ self._drawn(k))

    def conductor_rows(self, k: int) -> sp.csr_matrix:
        """From the unknowns to branch currents, A, in a scenario. `[2 conductor, 2 node]`

        Args:
            k: The scenario.
        """
        base = self.base.conductor[0].csr
        own = self.static.own_conductor.cpu().numpy()
        at = sp.csr_matrix(
            (np.ones(len(own)), (own, np.arange(len(own)))), (base.shape[0], len(own))
        )
        through = sp.csr_matrix(self.static.through.T.cpu().numpy())
        return sp.csr_matrix(base + at @ through @ self._drawn(k))

    def _drawn(self, k: int) -> sp.csr_matrix:
        """From the unknowns to `i` in a scenario. `[2 wire, 2 node]`"""
        change = self.static.admittance_change(self.gain[k : k + 1])[0]
        return sp.csr_matrix(sp.csr_matrix(change.cpu().numpy()) @ self.static.wires)

    def adjoint_direct(self, d_re: Tensor, d_im: Tensor, right: Tensor) -> Tensor:
        """Solves the adjoint by elimination; see `SparseMaps.adjoint_direct`."""
        changes = [sp.csr_matrix(self.admittance_change_of(k).T) for k in range(len(right))]
        return self.base.adjoint_direct(d_re, d_im, right, changes)

    def image(self, j: Tensor) -> Tensor:
        """Unknowns, voltages and currents of the wires. `[batch, 2 node + 4 wire]`"""
        static = self.static
        alone = j.double() @ static.into
        current = self._times(alone, self.answer)
        state = self.base.image(j) + current @ static.state
        return torch.cat((state, alone - current @ static.own, current), dim=1)

    def _parts(self, image: Tensor) -> tuple[Tensor, ...]:
        wires = 2 * self.static.num_wires
        parts: tuple[Tensor, ...] = image.split([image.shape[1] - 2 * wires, wires, wires], dim=1)
        return parts

    def node_voltage(self, image: Tensor) -> Tensor:
        """Node voltages, planar, per unit of the node's base. `[batch, 2 node]`"""
        return self.base.node_voltage(self._parts(image)[0])

    def node_magnitude(self, image: Tensor) -> Tensor:
        """Magnitudes of the same, with a gradient of 0 at 0. `[batch, node]`"""
        return self.base.node_magnitude(self._parts(image)[0])

    def conductor_current(self, image: Tensor) -> Tensor:
        """Branch currents, planar, A. `[batch, 2 conductor]`"""
        state, _, current = self._parts(image)
        found = self.base.conductor_current(state)
        more = (current @ self.static.through).to(found.dtype)
        return found.index_add(1, self.static.own_conductor, more)

    def conductor_magnitude(self, image: Tensor) -> Tensor:
        """Magnitudes of the same, with a gradient of 0 at 0. `[batch, conductor]`"""
        return magnitude(self.conductor_current(image))

    def source_state(self, image: Tensor) -> Tensor:
        """Voltages, kV, and currents, A, at the source, planar. `[batch, 4 source node]`"""
        return self.base.source_state(self._parts(image)[0])

    def losses_kw(self, image: Tensor) -> Tensor:
        """Losses of all branches, kW. `[batch]`

        Those of the regulators by themselves, from the voltages across them.
        """
        state, static = self._parts(image)[0], self.static
        pressed = affine(state, static.loss, static.loss_open)
        rest = (pressed * state).sum(1) + static.loss_no_load
        return (rest + self._regulator_losses_kw(image)).to(self.base.dtype)

    def wire_voltage(self, image: Tensor) -> Tensor:
        """`w`, V, in the basis, float64. `[batch, 2 wire]`"""
        return self._parts(image)[1]

    def watched_current(self, image: Tensor) -> Tensor:
        """Currents that capacitors' controls look at, planar, A. `[batch, 2 probe]`"""
        return affine(self._parts(image)[0], self.static.watch, self.static.watch_open)

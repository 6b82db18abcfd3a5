"""Taps and capacitors of each scenario's own in a dense network: see `taps.py`."""

from __future__ import annotations

import dataclasses
from typing import Self

import torch
from torch import Tensor

from gradmap.feeders.powerflow.dense import DenseMaps
from gradmap.feeders.powerflow.planar import magnitude
from gradmap.feeders.powerflow.taps import TapMaps, TappedMaps


@dataclasses.dataclass(frozen=True, eq=False)
class DenseTapMaps(TapMaps):
    """What the update needs of a dense network besides.

    Attributes:
        node: From `i` to node voltages, p.u., `[2 wire, 2 node]`.
        conductor: From `i` to branch currents, A, `[2 wire, 2 conductor]`.
        source: From `i` to the source's voltages and currents.
        watch: From `j`, then `i`, to the currents that capacitors' controls
            look at, A, `[2 port + 2 wire, 2 probe]`.
        loss: Losses, kW, of all branches but the regulators, as a form of `j`,
            then `i`, `[2 port + 2 wire, 2 port + 2 wire]`.
    """

    node: Tensor
    conductor: Tensor
    source: Tensor
    watch: Tensor
    loss: Tensor

    def first_wires(self, kept: int) -> Self:
        """The same with the first wires alone; see `TapMaps.first_wires`."""
        both, ports = self.planar_rows(kept), self.into.shape[0]
        rows = torch.cat((torch.arange(ports, device=both.device), both + ports))
        return dataclasses.replace(
            super().first_wires(kept),
            node=self.node[both],
            conductor=self.conductor[both],
            source=self.source[both],
            watch=self.watch[rows],
            loss=self.loss[rows][:, rows],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class DenseTappedMaps(TappedMaps):
    """The maps of a dense network at the taps of each scenario.

    The `image` is `j`, then the currents `i`, float64.
    """

    base: DenseMaps
    static: DenseTapMaps

    method = "dense"

    def adjoint_matrix(self) -> Tensor:
        """What `pull` multiplies by, `[batch, 2 port, 2 port]`."""
        static = self.static
        back = static.loop_step.T @ self._loop_answer.transpose(1, 2) @ static.loop_into.T
        back[..., -1] = 0.0
        return back.add_(self.base.adjoint)

    def adjoint_direct(self, d_re: Tensor, d_im: Tensor, right: Tensor) -> Tensor:
        """Solves the adjoint by elimination; see `DenseMaps.adjoint_direct`."""
        ports = right.shape[1] // 2
        derivative = right.new_zeros(len(right), 2, ports, 2, ports)
        for row, block in enumerate((d_re, d_im)):
            derivative[:, row].diagonal(dim1=1, dim2=3).copy_(block)
        system = derivative.view(len(right), 2 * ports, -1) @ self.adjoint_matrix()
        system.neg_().diagonal(dim1=1, dim2=2).add_(1.0)
        solution: Tensor = torch.linalg.solve(system, right.unsqueeze(1), left=False)
        return solution.squeeze(1)

    def image(self, j: Tensor) -> Tensor:
        """Port currents, then the currents of the update, float64. `[batch, 2 port + 2 wire]`"""
        wide = j.double()
        return torch.cat((wide, self._times(wide @ self.static.into, self.answer)), dim=1)

    def node_voltage(self, image: Tensor) -> Tensor:
        """Node voltages, planar, per unit of the node's base. `[batch, 2 node]`"""
        return self._sum(image, self.base.node, self.static.node)

    def node_magnitude(self, image: Tensor) -> Tensor:
        """Magnitudes of the same, with a gradient of 0 at 0. `[batch, node]`"""
        return magnitude(self.node_voltage(image))

    def node_matrix(self, nodes: Tensor) -> Tensor:
        """From `j` to the voltages of some nodes, `[batch, 2 port, 2 picked]`."""
        count = self.base.node.shape[1] // 2
        return self._matrix(self.base.node, self.static.node, torch.cat((nodes, nodes + count)))

    def conductor_matrix(self) -> Tensor:
        """From `j` to branch currents, A, `[batch, 2 port, 2 conductor]`."""
        return self._matrix(self.base.conductor, self.static.conductor, slice(None))

    def conductor_current(self, image: Tensor) -> Tensor:
        """Branch currents, planar, A. `[batch, 2 conductor]`"""
        return self._sum(image, self.base.conductor, self.static.conductor)

    def conductor_magnitude(self, image: Tensor) -> Tensor:
        """Magnitudes of the same, with a gradient of 0 at 0. `[batch, conductor]`"""
        return magnitude(self.conductor_current(image))

    def source_state(self, image: Tensor) -> Tensor:
        """Voltages, kV, and currents, A, at the source, planar. `[batch, 4 source node]`"""
        return self._sum(image, self.base.source, self.static.source)

    def losses_kw(self, image: Tensor) -> Tensor:
        """Losses of all branches, kW. `[batch]`

        Those of the regulators by themselves, from the voltages across them.
        """
        rest = (image @ self.static.loss * image).sum(1)
        return (rest + self._regulator_losses_kw(image)).to(self.base.step.dtype)

    def wire_voltage(self, image: Tensor) -> Tensor:
        """`w`, V, in the basis, float64. `[batch, 2 wire]`"""
        j, i = self._parts(image)
        return j @ self.static.into - i @ self.static.own

    def watched_current(self, image: Tensor) -> Tensor:
        """Currents that capacitors' controls look at, planar, A. `[batch, 2 probe]`"""
        return image @ self.static.watch

    def _matrix(self, base: Tensor, update: Tensor, columns: Tensor | slice) -> Tensor:
        through = self.static.into @ self.answer @ update[:, columns]
        return base[:, columns] + through.to(base.dtype)

    def _parts(self, image: Tensor) -> tuple[Tensor, Tensor]:
        ports = self.base.step.shape[0]
        return image[:, :ports], image[:, ports:]

    def _sum(self, image: Tensor, base: Tensor, update: Tensor) -> Tensor:
        j, i = self._parts(image)
        return j.to(base.dtype) @ base + (i @ update).to(base.dtype)

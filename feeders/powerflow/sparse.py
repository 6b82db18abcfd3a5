"""What follows from the port currents, by sparse factors of the node admittance.

The compensated admittance of all nodes, a real matrix of 2 x 2 blocks, is
factorised once (`sparse_elimination.py`); a map is then one solve between two
sparse matrices, for a chunk of scenarios side by side, and a gradient one
solve with the transposed factors. All of it is in double precision, in single
precision networks too: their loop rounds its voltages, not the elimination.
What is solved for is the difference to the open feeder, some percent of a
voltage, in unknowns among which no switch stands out (`sparse_basis.py`).

One solve for 16 scenarios on one core: 0.6 ms at 3,110 nodes and 1.8 ms at
10,110, where SuperLU's own takes 2.0 and 5.5 ms for the same real columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch
from torch import Tensor

from gradmap.feeders.model import IntArray
from gradmap.feeders.powerflow.planar import magnitude
from gradmap.feeders.powerflow.sparse_columns import affine, apply_columns, by_rows
from gradmap.feeders.powerflow.sparse_jacobian import transposed_jacobian, turned_back
from gradmap.feeders.powerflow.sparse_matrix import SparseMatrix, Substitution


@dataclasses.dataclass(frozen=True, eq=False)
class SparseMaps:
    """The affine maps of a network by sparse factors.

    The `image` of the port currents is the state of the feeder: what the load
    adds to the unknowns of `sparse_basis.py`, V, real and imaginary parts in
    the order of elimination, `[batch, 2 node]`, in float64 always. Each matrix
    stands beside its transpose. What the open feeder has is added to the
    outcome, in columns, `[out, 1]`, float64.

    Attributes:
        solve: Solves the admittance, and its transpose.
        system: The admittance itself.
        right: From `j` to right-hand sides, A, `[2 node, 2 port]`; in the
            transpose nothing goes to the reference port.
        ports: To port voltages, planar, p.u. `[2 port, 2 node]`
        port_open: Voltages of the open feeder there; 1 at reference and padding.
        node: To node voltages, planar, per unit of the node's base.
            `[2 node, 2 node]`
        node_open: Those of the open feeder.
        conductor: To branch currents, A, `[2 conductor, 2 node]`.
        conductor_open: Those of the open feeder.
        source: To voltages, kV, and currents, A, of the source's nodes,
            `[4 source node, 2 node]`.
        source_open: Those of the open feeder.
        loss: Symmetric form of the losses, kW, `[2 node, 2 node]`.
        loss_open: Its linear part.
        loss_no_load: Losses of the open feeder, kW.
        dtype: Real dtype of the network.
        refinements: Steps of iterative refinement in the loop's solves.
        order: Where each unknown stands among the interleaved ones of the
            basis. `[2 node]`
        group: Bus of each unknown, in the order of elimination. `[2 node]`
    """

    solve: tuple[Substitution, Substitution]
    system: tuple[SparseMatrix, SparseMatrix]
    right: tuple[SparseMatrix, SparseMatrix]
    ports: tuple[SparseMatrix, SparseMatrix]
    port_open: Tensor
    node: tuple[SparseMatrix, SparseMatrix]
    node_open: Tensor
    conductor: tuple[SparseMatrix, SparseMatrix]
    conductor_open: Tensor
    source: tuple[SparseMatrix, SparseMatrix]
    source_open: Tensor
    loss: tuple[SparseMatrix, SparseMatrix]
    loss_open: Tensor
    loss_no_load: float
    refinements: int
    order: IntArray
    group: IntArray
    dtype: torch.dtype = torch.float64

    method = "sparse"

    def to(self, device: torch.device | str, dtype: torch.dtype) -> SparseMaps:
        """Moves the maps to a device; `dtype` is that of the rows around them."""
        moved: dict[str, Any] = {"dtype": dtype}
        for name, (plain, transposed) in self._pairs().items():
            moved[name] = (plain.to(device), transposed.to(device))
        for field in dataclasses.fields(self):
            if field.name.endswith("_open"):
                moved[field.name] = getattr(self, field.name).to(device)
        return dataclasses.replace(self, **moved)

    def _pairs(self) -> dict[str, tuple[Any, Any]]:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in fields.items() if isinstance(value, tuple)}

    @property
    def num_bytes(self) -> int:
        """Bytes of factors and matrices."""
        return sum(part.num_bytes for pair in self._pairs().values() for part in pair)

    @property
    def image_bytes(self) -> int:
        """Bytes that the image of a scenario takes beside its currents."""
        return 8 * self._num_image

    @property
    def _num_image(self) -> int:
        return int(self.node[0].csr.shape[0])

    def port_voltage(self, j: Tensor, out: Tensor | None = None) -> Tensor:
        """Port voltages, planar, of port currents. `[batch, 2 port]`"""
        right, ports = self.right[0], self.ports[0]

        def voltage(columns: Tensor) -> Tensor:
            return (ports @ self._solved(right @ columns, 0, self.refinements)).add_(self.port_open)

        return by_rows(voltage, j, torch.empty_like(j) if out is None else out)

    def pull(self, grad_u: Tensor, add: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """Brings a gradient from port voltages to port currents.

        Args:
            grad_u: `[batch, 2 port]`.
            add: What to add to the result, or `None`.
            out: Where to write it, or `None`.

        Returns:
            `add` and the gradient with respect to `j`, none of which goes to
            the reference port. `[batch, 2 port]`
        """
        right, ports = self.right[1], self.ports[1]

        def gradient(columns: Tensor) -> Tensor:
            return right @ self._solved(ports @ columns, 1, self.refinements)

        found = by_rows(gradient, grad_u, torch.empty_like(grad_u) if out is None else out)
        return found if add is None else found.add_(add)

    def adjoint_direct(
        self,
        d_re: Tensor,
        d_im: Tensor,
        right: Tensor,
        changes: Sequence[sp.csr_matrix] | None = None,
    ) -> Tensor:
        """Solves the adjoint by elimination, exact whatever the load.

        One sparse factorisation a scenario, on the CPU.

        Args:
            d_re: Gradient of the real part of `j` at each port with respect
                to its voltage, planar, `[batch, 2, port]`.
            d_im: The same of the imaginary part.
            right: Right-hand side, `[batch, 2 port]`.
            changes: What each scenario's own taps add to the admittance,
                transposed, `[2 node, 2 node]` each, or `None`.

        Returns:
            `w` of `w = right + pull(D^T w)`, `[batch, 2 port]`.
        """
        # With w = right + R^T y: (A - R D P)^T y = P^T D^T right.
        into, out_of = self.right[1].csr, self.ports[1].csr
        found = np.empty(right.shape)
        blocks = torch.stack((d_re, d_im), 1).cpu().double().numpy()
        for k, (given, block) in enumerate(zip(right.cpu().double().numpy(), blocks, strict=True)):
            pulled = out_of @ turned_back(block)
            system = transposed_jacobian(self, pulled)
            factor = spla.splu(system if changes is None else sp.csc_matrix(system + changes[k]))
            found[k] = given + into @ factor.solve(pulled @ given)
        return torch.from_numpy(found).to(right)

    def image(self, j: Tensor) -> Tensor:
        """State of the feeder, `[batch, 2 node]`, refined.

        All NaN where the currents are, as in a scenario without a solution.
        """
        steps = max(1, self.refinements)

        def forward(columns: Tensor) -> Tensor:
            return self._solved(self.right[0] @ columns, 0, steps)

        def backward(columns: Tensor) -> Tensor:
            return self.right[1] @ self._solved(columns.clone(), 1, steps)

        found = apply_columns(j, forward, backward, self._num_image)
        return found.masked_fill(j[:, -1:].isnan(), torch.nan)

    def node_voltage(self, image: Tensor) -> Tensor:
        """Node voltages, planar, per unit of the node's base. `[batch, 2 node]`"""
        return affine(image, self.node, self.node_open).to(self.dtype)

    def node_magnitude(self, image: Tensor) -> Tensor:
        """Magnitudes of the same, with a gradient of 0 at 0. `[batch, node]`"""
        return magnitude(affine(image, self.node, self.node_open)).to(self.dtype)

    def conductor_current(self, image: Tensor) -> Tensor:
        """Branch currents, planar, A. `[batch, 2 conductor]`"""
        return affine(image, self.conductor, self.conductor_open).to(self.dtype)

    def conductor_magnitude(self, image: Tensor) -> Tensor:
        """Magnitudes of the same, with a gradient of 0 at 0. `[batch, conductor]`"""
        return magnitude(self.conductor_current(image))

    def source_state(self, image: Tensor) -> Tensor:
        """Voltages, kV, and currents, A, at the source, planar. `[batch, 4 source node]`"""
        return affine(image, self.source, self.source_open).to(self.dtype)

    def losses_kw(self, image: Tensor) -> Tensor:
        """Losses of all branches, kW. `[batch]`"""
        pressed = affine(image, self.loss, self.loss_open)
        return ((pressed * image).sum(1) + self.loss_no_load).to(self.dtype)

    def _solved(self, right: Tensor, side: int, refinements: int) -> Tensor:
        """Solves the system, or its transpose with `side` 1, for columns."""
        return self.solve[side].refined(right, self.system[side], refinements)

"""What follows from the port currents, as one dense matrix each.

Right where ports are few: a matrix of 2 ports by 2 ports for the loop, and
matrices of 2 ports by all nodes and all conductors for what is read of a
solution. Where ports are many, `sparse.py` does the same without them.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from gradmap.feeders.powerflow.planar import affine_magnitude


@dataclasses.dataclass(frozen=True, eq=False)
class DenseMaps:
    """The affine maps of a network as matrices.

    They act on row vectors from the right: `[batch, 2 port]` times
    `[2 port, out]`, planar. The `image` of the port currents, from which
    nodes, conductors, source and losses are computed, is the currents.

    Attributes:
        step: From `j` to port voltages, `[2 port, 2 port]`, planar, p.u.
        adjoint: `step` transposed, 0 towards the reference port.
        node: From `j` to node voltages, `[2 port, 2 node]`, planar, per unit
            of the node's base.
        conductor: From `j` to branch currents, `[2 port, 2 conductor]`, A.
        source: From `j` to voltages and currents of the source's nodes,
            `[2 port, 4 source node]`, planar: kV, then A into the network.
        loss: Quadratic form of the branch losses, `[2 port, 2 port]`, kW.
    """

    step: Tensor
    adjoint: Tensor
    node: Tensor
    conductor: Tensor
    source: Tensor
    loss: Tensor

    method = "dense"

    def to(self, device: torch.device | str, dtype: torch.dtype) -> DenseMaps:
        """Moves the matrices to a device and a real dtype."""
        fields = dataclasses.fields(self)
        return DenseMaps(**{f.name: getattr(self, f.name).to(device, dtype) for f in fields})

    @property
    def num_bytes(self) -> int:
        """Bytes of the matrices."""
        matrices = (getattr(self, field.name) for field in dataclasses.fields(self))
        return sum(matrix.numel() * matrix.element_size() for matrix in matrices)

    @property
    def image_bytes(self) -> int:
        """Bytes that the image of a scenario takes beside its currents."""
        return 0

    def port_voltage(self, j: Tensor, out: Tensor | None = None) -> Tensor:
        """Port voltages, planar, of port currents. `[batch, 2 port]`"""
        return torch.mm(j, self.step, out=out)

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
        if add is None:
            return torch.mm(grad_u, self.adjoint, out=out)
        return torch.addmm(add, grad_u, self.adjoint, out=out)

    def adjoint_direct(self, d_re: Tensor, d_im: Tensor, right: Tensor) -> Tensor:
        """Solves the adjoint by elimination, exact whatever the load.

        Args:
            d_re: Gradient of the real part of `j` at each port with respect
                to its voltage, planar, `[batch, 2, port]`.
            d_im: The same of the imaginary part.
            right: Right-hand side, `[batch, 2 port]`.

        Returns:
            `w` of `w = right + pull(D^T w)`, `[batch, 2 port]`.
        """
        ports = right.shape[1] // 2
        derivative = right.new_zeros(len(right), 2, ports, 2, ports)
        for row, block in enumerate((d_re, d_im)):
            derivative[:, row].diagonal(dim1=1, dim2=3).copy_(block)
        # Row vectors: w (1 - D adjoint) = right.
        system = derivative.view(len(right), 2 * ports, -1) @ self.adjoint
        system.neg_().diagonal(dim1=1, dim2=2).add_(1.0)
        solution: Tensor = torch.linalg.solve(system, right.unsqueeze(1), left=False)
        return solution.squeeze(1)

    def image(self, j: Tensor) -> Tensor:
        """What the properties of a solution are computed from: `j` itself."""
        return j

    def node_voltage(self, image: Tensor) -> Tensor:
        """Node voltages, planar, per unit of the node's base. `[batch, 2 node]`"""
        return torch.mm(image, self.node)

    def node_magnitude(self, image: Tensor) -> Tensor:
        """Magnitudes of the same, with a gradient of 0 at 0. `[batch, node]`"""
        return affine_magnitude(image, self.node)

    def conductor_current(self, image: Tensor) -> Tensor:
        """Branch currents, planar, A. `[batch, 2 conductor]`"""
        return torch.mm(image, self.conductor)

    def conductor_magnitude(self, image: Tensor) -> Tensor:
        """Magnitudes of the same, with a gradient of 0 at 0. `[batch, conductor]`"""
        return affine_magnitude(image, self.conductor)

    def source_state(self, image: Tensor) -> Tensor:
        """Voltages, kV, and currents, A, at the source, planar. `[batch, 4 source node]`"""
        return torch.mm(image, self.source)

    def losses_kw(self, image: Tensor) -> Tensor:
        """Losses of all branches, kW. `[batch]`"""
        return (torch.mm(image, self.loss) * image).sum(1)

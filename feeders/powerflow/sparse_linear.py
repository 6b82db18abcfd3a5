"""A power flow to first order on a sparse network: an operator, not a matrix.

What `linear.py` holds as two matrices of `[2 terminal, 2 port]`, found by one
power flow for each end of each difference, is here the factors of the Jacobian at the
operating point, exact and as sparse as the admittance. A change of powers then
costs one solve, whatever the number of terminals that change, and memory is
in proportion to the nodes: a few megabytes at 2,000 buses.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from gradmap.feeders.errors import GradmapError
from gradmap.feeders.powerflow.linear import LinearPowerFlow
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import PowerFlow, solve_power_flow
from gradmap.feeders.powerflow.sparse import SparseMaps
from gradmap.feeders.powerflow.sparse_columns import apply_columns
from gradmap.feeders.powerflow.sparse_elimination import eliminate
from gradmap.feeders.powerflow.sparse_jacobian import transposed_jacobian, turned_back
from gradmap.feeders.powerflow.sparse_layout import Pair, pair
from gradmap.feeders.powerflow.sparse_matrix import Substitution
from gradmap.feeders.powerflow.sparse_slopes import LawSlopes

_REFINEMENTS = 1
"""Steps of refinement, beside those that the network's own loop needs."""


@dataclasses.dataclass(frozen=True, eq=False)
class SparseLinearPowerFlow:
    """How a sparse network answers to the powers of some terminals.

    Each matrix stands beside its transpose; unknowns are in the order of the
    Jacobian's own elimination.

    Attributes:
        network: The network.
        solve: Solves the Jacobian, and its transpose.
        system: The Jacobian. `[2 node, 2 node]`
        given: From kW, then kvar, of the terminals to right-hand sides.
            `[2 node, 2 terminal]`
        read: To port voltages, then port currents, planar, voltages' part.
            `[4 port, 2 node]`
        direct: The powers' own part of these. `[4 port, 2 terminal]`
        refinements: Steps of refinement.
    """

    network: Network
    solve: tuple[Substitution, Substitution]
    system: Pair
    given: Pair
    read: Pair
    direct: Pair
    refinements: int

    @classmethod
    def around(
        cls, network: Network, p_kw: Tensor, q_kvar: Tensor, terminals: Tensor
    ) -> SparseLinearPowerFlow:
        """Takes the slopes at an operating point, by implicit differentiation.

        Args:
            network: The network, sparse.
            p_kw: Active power of the operating point. `[terminal]`
            q_kvar: Reactive power. `[terminal]`
            terminals: The terminals whose powers will change, int64.

        Returns:
            The linear model, in double precision.

        Raises:
            GradmapError: If the operating point has no solution, or the
                Jacobian there cannot be eliminated bus by bus.
        """
        maps, padded = network.maps, network.num_padded_ports
        assert isinstance(maps, SparseMaps)
        p, q = (x.to(network.real_dtype)[None] for x in (p_kw, q_kvar))
        with torch.no_grad():
            flow = solve_power_flow(network, p, q)
        if not bool(flow.converged.all()):
            raise GradmapError(
                "the operating point of the linear power flow has no solution; choose another"
            )
        law, num = LawSlopes.at(network, p, q, flow.u, terminals), len(terminals)
        turned = turned_back(law.derivative[0])
        ones, none = np.ones(num), np.zeros(num)
        parts = [law.columns(0, *weights, padded) for weights in ((ones, none), (none, ones))]
        columns = sp.csr_matrix(sp.hstack(parts))
        jacobian = sp.csr_matrix(transposed_jacobian(maps, maps.ports[1].csr @ turned).T)
        try:
            factors = eliminate(jacobian, maps.group)
        except np.linalg.LinAlgError as error:
            raise GradmapError(
                f"the slopes of feeder {network.feeder.name} at the operating point of the linear "
                "power flow cannot be eliminated bus by bus; choose another point"
            ) from error
        order, ports = factors.order, maps.ports[0].csr
        pairs = {
            "system": jacobian[order][:, order],
            "given": sp.csr_matrix(maps.right[1].csr.T @ columns)[order],
            "read": sp.csr_matrix(sp.vstack([ports, turned.T @ ports]))[:, order],
            "direct": sp.vstack([sp.csr_matrix((2 * padded, 2 * num)), columns]),
        }
        on_device = {name: _moved(sp.csr_matrix(m), network) for name, m in pairs.items()}
        solve = (Substitution(factors, network.device),)
        both = (*solve, Substitution(factors.transposed(), network.device))
        return cls(network, both, **on_device, refinements=maps.refinements + _REFINEMENTS)

    @property
    def num_bytes(self) -> int:
        """Bytes of factors and matrices."""
        pairs = (self.solve, self.system, self.given, self.read, self.direct)
        return sum(part.num_bytes for both in pairs for part in both)

    def move(self, flow: PowerFlow, p_kw: Tensor, q_kvar: Tensor) -> PowerFlow:
        """The power flow after a change of powers; see `LinearPowerFlow.move`."""
        change = torch.cat((p_kw, q_kvar), dim=-1).flatten(0, -2)
        width = self.read[0].csr.shape[0]
        moved = apply_columns(change, self._forward, self._backward, width).to(flow.u.dtype)
        by_u, by_j = moved.chunk(2, dim=1)
        return dataclasses.replace(
            flow,
            u=flow.u.detach().nan_to_num(0.0) + by_u,
            j=flow.j.detach().nan_to_num(0.0) + by_j,
        )

    def _forward(self, change: Tensor) -> Tensor:
        state = self.solve[0].refined(self.given[0] @ change, self.system[0], self.refinements)
        return (self.read[0] @ state).add_(self.direct[0] @ change)

    def _backward(self, grad: Tensor) -> Tensor:
        right = self.read[1] @ grad
        pulled = self.solve[1].refined(right, self.system[1], self.refinements)
        return (self.given[1] @ pulled).add_(self.direct[1] @ grad)


def _moved(matrix: sp.csr_matrix, network: Network) -> Pair:
    plain, transposed = pair(matrix)
    return plain.to(network.device), transposed.to(network.device)


def linear_power_flow(
    network: Network, p_kw: Tensor, q_kvar: Tensor, terminals: Tensor
) -> LinearPowerFlow | SparseLinearPowerFlow:
    """Makes the linear model that suits a network.

    Args:
        network: The network, dense or sparse.
        p_kw: Active power of the operating point. `[terminal]`
        q_kvar: Reactive power. `[terminal]`
        terminals: The terminals whose powers will change, int64.

    Returns:
        Matrices for a dense network, an operator for a sparse one.

    Raises:
        GradmapError: As `around` of either.
    """
    kind = SparseLinearPowerFlow if network.method == "sparse" else LinearPowerFlow
    return kind.around(network, p_kw, q_kvar, terminals)

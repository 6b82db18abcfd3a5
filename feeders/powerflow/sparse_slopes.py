"""How a solution on a sparse network answers to small changes of power, step by step.

Where `response.py` keeps the slope of every port current by every column, a
matrix of `[column, 2 port]` for each scenario, this keeps the Jacobian's factors
and pulls back what is asked for: one solve for each row wanted, whatever the
number of columns. Memory is some ten times the entries of the admittance for
each scenario that was asked about, 2 MB at 2,000 buses.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch
from torch import Tensor

from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import FloatArray, IntArray
from gradmap.feeders.powerflow.implicit import Adjoint
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import PowerFlow
from gradmap.feeders.powerflow.sparse import SparseMaps
from gradmap.feeders.powerflow.sparse_jacobian import transposed_jacobian, turned_back
from gradmap.feeders.powerflow.sparse_taps import SparseTappedMaps

_AT_ONCE = 64  # scenarios whose law is linearised together
_ROWS = 256  # rows pulled back together: a column of all unknowns each


@dataclasses.dataclass(frozen=True, eq=False)
class LawSlopes:
    """The load law's slopes at solutions; float64, on the CPU.

    Attributes:
        derivative: As `turned_back` takes it. `[batch, 2, 2, port]`
        by_p: Change of the own port's current for each kW at some terminals,
            planar, voltages held. `[batch, 2, column]`
        by_q: The same for each kvar.
        port: Port of each of these terminals. `[column]`
    """

    derivative: FloatArray
    by_p: FloatArray
    by_q: FloatArray
    port: IntArray

    @classmethod
    def at(cls, network: Network, p: Tensor, q: Tensor, u: Tensor, terminals: Tensor) -> LawSlopes:
        """Takes them.

        Args:
            network: The network.
            p: Active powers. `[batch, terminal]`
            q: Reactive powers, likewise.
            u: Port voltages that they lead to. `[batch, 2 port]`
            terminals: The terminals whose powers may change. `[column]`
        """
        place = network.terminal_place[terminals]
        slot = torch.div(place, network.num_padded_ports, rounding_mode="floor")
        port = place % network.num_padded_ports
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for rows in torch.arange(len(p), device=p.device).split(_AT_ONCE):
            at = Adjoint(network, len(rows))
            at.linearise(p[rows], q[rows], u[rows])
            gain_p, gain_q = (at.gain[slot, :, part, port].T for part in (0, -1))
            re, im = (part[:, port] for part in at.u_parts)
            derivative = torch.stack((at.d_re, at.d_im), 1)
            by_p = torch.stack((gain_p * re, gain_p * im), 1)
            parts.append((derivative, by_p, torch.stack((gain_q * im, -gain_q * re), 1)))
        arrays = [torch.cat(part).cpu().double().numpy() for part in zip(*parts, strict=True)]
        return cls(arrays[0], arrays[1], arrays[2], port.cpu().numpy())

    def columns(
        self, k: int, weight_p: FloatArray, weight_q: FloatArray, padded: int
    ) -> sp.csr_matrix:
        """Change of all port currents of a scenario. `[2 port, column]`

        Args:
            k: The scenario.
            weight_p: Change of active power in each column. `[column]`
            weight_q: Change of reactive power. `[column]`
            padded: Ports with reference and padding.
        """
        change = self.by_p[k] * weight_p + self.by_q[k] * weight_q
        row = np.concatenate([self.port, self.port + padded])
        column = np.tile(np.arange(len(self.port)), 2)
        return sp.csr_matrix((change.ravel(), (row, column)), (2 * padded, len(self.port)))


class SparseSlopes:
    """Slopes of a solved batch by the powers of some terminals.

    Args:
        flow: A solution on a sparse network.
        p_kw: The active powers that it solves. `[..., terminal]`
        q_kvar: The reactive powers. `[..., terminal]`
        terminals: Terminals whose power changes, int64. `[column]`
        kvar_per_kw: Reactive power that changes with each kW. `[column]`
    """

    def __init__(
        self, flow: PowerFlow, p_kw: Tensor, q_kvar: Tensor, terminals: Tensor, kvar_per_kw: Tensor
    ) -> None:
        network, maps, tapped = flow.network, flow.network.maps, flow.tapped
        assert isinstance(maps, SparseMaps)
        assert tapped is None or isinstance(tapped, SparseTappedMaps)
        self._maps, self._tapped, self._padded = maps, tapped, network.num_padded_ports
        self._num_nodes, self._converged = network.num_nodes, flow.converged.reshape(-1).tolist()
        p, q = (x.detach().to(network.real_dtype).flatten(0, -2) for x in (p_kw, q_kvar))
        self._law = LawSlopes.at(network, p, q, flow.u.detach(), terminals)
        self._kvar_per_kw = kvar_per_kw.cpu().double().numpy()
        self._factors: dict[int, tuple[spla.SuperLU, sp.csr_matrix, sp.csr_matrix]] = {}

    @property
    def num_columns(self) -> int:
        """Number of terminals whose power changes."""
        return len(self._kvar_per_kw)

    def _factor(self, k: int) -> tuple[spla.SuperLU, sp.csr_matrix, sp.csr_matrix]:
        """Factors of the transposed Jacobian of a scenario, and what its columns change.

        Changes of port currents, voltages held, `[2 port, column]`, and of the
        right-hand side, `[2 node, column]`.
        """
        if k not in self._factors:
            self._factors[k] = self._factorised(k)
        return self._factors[k]

    def _factorised(self, k: int) -> tuple[spla.SuperLU, sp.csr_matrix, sp.csr_matrix]:
        if not self._converged[k]:
            raise GradmapError(f"scenario {k} has no solution, and so no slopes; leave it out")
        maps, tapped = self._maps, self._tapped
        pulled = maps.ports[1].csr @ turned_back(self._law.derivative[k])
        system = transposed_jacobian(maps, pulled)
        if tapped is not None:
            system = sp.csc_matrix(system + tapped.admittance_change_of(k).T)
        columns = self._law.columns(
            k, np.ones_like(self._kvar_per_kw), self._kvar_per_kw, self._padded
        )
        given = sp.csr_matrix(maps.right[1].csr.T @ columns)
        return spla.splu(system), columns, given

    def pull(self, k: int, of_node: sp.csr_matrix, of_conductor: sp.csr_matrix) -> FloatArray:
        """Slopes of weighted sums of voltages and currents of one scenario.

        Args:
            k: The scenario.
            of_node: Weights of the node voltages, p.u., planar. `[row, 2 node]`
            of_conductor: Weights of the branch currents, A. `[row, 2 conductor]`

        Returns:
            Change for each kW. `[row, column]`, float64
        """
        factor, _, given = self._factor(k)
        rows = sp.csr_matrix(of_node @ self._maps.node[0].csr + of_conductor @ self._conductor(k))
        found = np.empty((rows.shape[0], self.num_columns))
        for first in range(0, len(found), _ROWS):
            some = slice(first, first + _ROWS)
            found[some] = (given.T @ factor.solve(rows[some].T.toarray())).T
        return found

    def states(self, k: int) -> FloatArray:
        """Change of the unknowns of one scenario for each kW. `[2 node, column]`, float64"""
        factor, _, given = self._factor(k)
        found: FloatArray = factor.solve(given.toarray(), "T")  # type: ignore[call-overload]
        return found

    def voltages(self, k: int, nodes: IntArray) -> FloatArray:
        """Change of some nodes' voltages, p.u., for each kW. `[column, 2 picked]`, planar

        Args:
            k: The scenario.
            nodes: The nodes.
        """
        both = np.concatenate([nodes, nodes + self._num_nodes])
        found: FloatArray = np.asarray(self._maps.node[0].csr[both] @ self.states(k)).T
        return found

    def currents(self, k: int) -> FloatArray:
        """Change of the branch currents, A, for each kW. `[column, 2 conductor]`, planar

        Args:
            k: The scenario.
        """
        found: FloatArray = np.asarray(self._conductor(k) @ self.states(k)).T
        return found

    def port_currents(self, k: int) -> FloatArray:
        """Change of the compensated port currents for each kW. `[column, 2 port]`, planar

        Args:
            k: The scenario.
        """
        _, columns, _ = self._factor(k)
        turned = turned_back(self._law.derivative[k]).T
        found: FloatArray = np.asarray(turned @ (self._maps.ports[0].csr @ self.states(k)))
        found += columns.toarray()
        return found.T

    def _conductor(self, k: int) -> sp.csr_matrix:
        tapped = self._tapped
        return self._maps.conductor[0].csr if tapped is None else tapped.conductor_rows(k)

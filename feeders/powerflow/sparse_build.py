"""From the sparse feeder to the sparse maps of the power flow."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import ComplexArray, Feeder, FloatArray, IntArray
from gradmap.feeders.powerflow.incidence import factorised, incidence_of, refined
from gradmap.feeders.powerflow.ports import Ports
from gradmap.feeders.powerflow.sparse import SparseMaps
from gradmap.feeders.powerflow.sparse_basis import difference_basis
from gradmap.feeders.powerflow.sparse_elimination import eliminate
from gradmap.feeders.powerflow.sparse_layout import (
    Pair,
    column,
    compensation_blocks,
    interleaved,
    loss_form,
    pair,
    planar_rows,
    real_matrix,
)
from gradmap.feeders.powerflow.sparse_matrix import SparseMatrix, Substitution
from gradmap.feeders.powerflow.sparse_taps_build import SparseTaps

_ROUNDING_PU = 1e-10
"""Error of the loop's voltages by rounding that needs no refinement."""

_REFINEMENTS = 4
"""Steps of refinement at most."""


class SparseBuilder:
    """Makes the sparse maps of a feeder for one compensation after another.

    Args:
        feeder: The feeder.
        ports: Its ports.
        padded: Number of ports with reference and padding.

    Attributes:
        padded: The same.

    Raises:
        GradmapError: If the admittance is singular.
    """

    def __init__(self, feeder: Feeder, ports: Ports, padded: int) -> None:
        v_open = refined(feeder, factorised(feeder), feeder.source_current_a)
        self._feeder, self._ports, self.padded = feeder, ports, padded
        bus = np.unique(np.array(feeder.node_bus), return_inverse=True)[1].reshape(-1)
        self._group = np.repeat(bus, 2)
        # Unknowns are those of the basis; voltages are sums of them.
        basis, differences = difference_basis(feeder, bus)
        self._basis, self._open = basis, v_open
        self._volt = real_matrix(basis)
        admittance = sp.csr_matrix(basis.T @ feeder.y_siemens)
        self._admittance = real_matrix(admittance @ basis)
        incidence = incidence_of(ports.nodes, feeder.num_nodes)
        per_volt = incidence.multiply(1e-3 / ports.kv_base[:, None])
        self._across = real_matrix(per_volt @ basis)
        # 1 kVA at the base voltage, in A.
        self._drawn = real_matrix((incidence.multiply(1.0 / ports.kv_base[:, None]) @ basis).T)
        self._currents = real_matrix(feeder.branches.current_siemens @ basis)
        self._loss = loss_form(sp.csr_matrix(basis.T @ feeder.branches.series_siemens) @ basis)
        self._v_open = interleaved(v_open)
        self._u_open = interleaved(np.asarray(per_volt @ v_open, np.complex128))
        self._current_open = interleaved(
            np.asarray(feeder.branches.current_siemens @ v_open, np.complex128)
        )
        self._unknown_open = interleaved(np.asarray(differences @ v_open, np.complex128))

    def maps(self, linear: ComplexArray, conjugate: ComplexArray) -> SparseMaps:
        """Makes the maps with `Y0 u = linear u + conjugate conj(u)` in the matrix.

        Args:
            linear: Part of the compensation that goes with `u`, p.u. `[port]`
            conjugate: Part that goes with `conj(u)`. `[port]`

        Returns:
            The maps in float64 on the CPU.

        Raises:
            GradmapError: If elimination by buses loses too many digits.
        """
        feeder = self._feeder
        held = self._drawn @ compensation_blocks(linear, conjugate)
        system = sp.csr_matrix(self._admittance + held @ self._across)
        try:
            factors = eliminate(system, self._group)
        except np.linalg.LinAlgError as error:
            raise self._too_hard() from error
        order = factors.order
        node = planar_rows(feeder.num_nodes) @ sp.diags(np.repeat(1e-3 / feeder.node_kv_base, 2))
        conductor = planar_rows(len(feeder.branches.conductor_branch))
        ports, port_open = self._port_rows()
        source, source_open = self._source_rows()
        loss_open = self._loss @ self._unknown_open
        maps = SparseMaps(
            solve=(Substitution(factors), Substitution(factors.transposed())),
            system=pair(system[order][:, order]),
            right=self._right(held @ self._u_open, order),
            ports=pair(ports[:, order]),
            port_open=port_open,
            node=pair((node @ self._volt)[:, order]),
            node_open=column(node @ self._v_open),
            conductor=pair((conductor @ self._currents)[:, order]),
            conductor_open=column(conductor @ self._current_open),
            source=pair(source[:, order]),
            source_open=source_open,
            loss=pair(self._loss[order][:, order]),
            loss_open=column(2.0 * loss_open[order]),
            loss_no_load=float(self._unknown_open @ loss_open),
            refinements=0,
            order=order,
            group=self._group[order],
        )
        return self._refined(maps)

    def taps(self, maps: SparseMaps) -> SparseTaps | None:
        """What moving taps and capacitors needs; None if nothing can move.

        Args:
            maps: From `maps`.
        """
        if not len(self._feeder.controls.adjustable.element):
            return None
        return SparseTaps(self._feeder, maps, self._basis, self._open, self._unknown_open)

    def _right(self, held_open: FloatArray, order: IntArray) -> Pair:
        """From `j` to right-hand sides for what the load adds to the open feeder.

        Of that, the reference port carries what the compensation draws at the
        open feeder's voltages.
        """
        rest = sp.csr_matrix((len(order), 2 * self.padded - self._drawn.shape[1]))
        filled = sp.hstack([-self._drawn, rest]) @ planar_rows(self.padded).T
        drawn = sp.csr_matrix(filled)[order]
        last = sp.csr_matrix(([1.0], ([0], [2 * self.padded - 1])), (1, 2 * self.padded))
        given = sp.csr_matrix(-held_open[order, None]) @ last
        return SparseMatrix(drawn + given), SparseMatrix(sp.csr_matrix(drawn.T))

    def _port_rows(self) -> tuple[sp.csr_matrix, Tensor]:
        """Port voltages, planar with padding, of the unknowns and of the open feeder."""
        planar = planar_rows(self.padded)
        rest = 2 * self.padded - self._across.shape[0]
        filled = sp.vstack([self._across, sp.csr_matrix((rest, self._across.shape[1]))])
        is_open = planar @ np.concatenate([self._u_open, np.zeros(rest)])
        # Reference and padding have a voltage of 1 whatever flows.
        is_open[len(self._ports.kv_base) : self.padded] = 1.0
        return sp.csr_matrix(planar @ filled), column(is_open)

    def _source_rows(self) -> tuple[sp.csr_matrix, Tensor]:
        """Voltages, kV, and currents, A, at the source's nodes, of the same."""
        feeder = self._feeder
        at = np.flatnonzero(feeder.is_source_node)
        voltage = 1e-3 * sp.identity(feeder.num_nodes, format="csr")[at]
        drawn = -sp.csr_matrix(feeder.y_source_siemens)[at]
        rows = planar_rows(2 * len(at)) @ real_matrix(sp.vstack([voltage, drawn]))
        current = (feeder.source_current_a - feeder.frozen_current_a)[at]
        none = np.zeros(len(at))
        norton = np.concatenate([none, current.real, none, current.imag])
        return sp.csr_matrix(rows @ self._volt), column(rows @ self._v_open + norton)

    def _refined(self, maps: SparseMaps) -> SparseMaps:
        """Counts the refinements that the loop needs, on currents of nominal size."""
        size = np.abs(self._ports.nominal_admittance())
        size += size.mean()
        j = np.zeros((4, 2, self.padded))
        signs = np.random.default_rng(0).uniform(-1.0, 1.0, (4, 2, len(size)))
        j[:, :, : len(size)] = size * signs
        j[:, 1, -1] = 1.0
        rows = torch.from_numpy(j).flatten(1)
        found = maps.port_voltage(rows)
        for count in range(_REFINEMENTS + 1):
            finer = dataclasses.replace(maps, refinements=count + 1)
            before, found = found, finer.port_voltage(rows)
            if float((found - before).abs().max()) <= _ROUNDING_PU:
                return dataclasses.replace(maps, refinements=count)
        raise self._too_hard()

    def _too_hard(self) -> GradmapError:
        return GradmapError(
            f"feeder {self._feeder.name} cannot be eliminated bus by bus in double precision; "
            "use method='dense'"
        )

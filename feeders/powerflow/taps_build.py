"""The matrices of the low-rank update of taps and capacitors: see `taps.py`."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from gradmap.feeders.model import ComplexArray, Feeder, FloatArray
from gradmap.feeders.powerflow.dense_build import (
    planar_rows,
    real_block,
    solve_linear_part,
)
from gradmap.feeders.powerflow.incidence import factorised, refined
from gradmap.feeders.powerflow.ports import Ports
from gradmap.feeders.powerflow.taps import TapMaps


def build_tap_maps(
    feeder: Feeder, ports: Ports, linear: ComplexArray, conjugate: ComplexArray, padded: int
) -> TapMaps | None:
    """Builds them, in double precision on the CPU.

    Args:
        feeder: The feeder.
        ports: Its ports.
        linear: Part of the compensation that goes with `u`. `[port]`
        conjugate: Part that goes with `conj(u)`. `[port]`
        padded: Number of ports with the padding.

    Returns:
        The matrices; None if nothing can move.
    """
    if not len(feeder.controls.adjustable.element):
        return None
    elements = _Elements(feeder)
    part = solve_linear_part(feeder, ports)
    wires = sp.csr_matrix(elements.incidence)
    z_wire = refined(feeder, factorised(feeder), wires.T.toarray().astype(np.complex128))
    to_port = sp.csr_matrix(part.to_port)
    y0 = real_block(np.diag(linear), np.diag(conjugate))
    k_wire = real_block(np.asarray(to_port @ z_wire, np.complex128))
    k_port, z_node = real_block(part.k_port), real_block(part.z_node)
    w_node, w_own = (real_block(np.asarray(wires @ matrix)) for matrix in (part.z_node, z_wire))
    system = np.eye(len(y0)) + k_port @ y0
    u_open, w_open = _planar(part.u_open), _planar(np.asarray(wires @ part.v_open, np.complex128))
    solved = np.linalg.solve(system, np.column_stack([u_open, k_port, k_wire]))
    constant, gain, wire = solved[:, 0], solved[:, 1 : 1 + len(y0)], solved[:, 1 + len(y0) :]
    inner = np.eye(len(y0)) - y0 @ gain  # what a current of the ports leaves of itself
    into = planar_rows(w_open - w_node @ (y0 @ constant), w_node @ inner, padded)
    own = w_own - w_node @ (y0 @ wire)
    node_wire = -(real_block(z_wire) - z_node @ (y0 @ wire)).T
    v_open = _planar(part.v_open)
    node_port = planar_rows(v_open - z_node @ (y0 @ constant), z_node @ inner, padded)
    step = np.zeros((len(own), 2, padded))
    step[..., : len(linear)] = -wire.T.reshape(len(own), 2, -1)
    return _assemble(feeder, elements, into, own, step.reshape(len(own), -1), node_port, node_wire)


def _assemble(
    feeder: Feeder,
    elements: _Elements,
    into: FloatArray,
    own: FloatArray,
    step: FloatArray,
    node_port: FloatArray,
    node_wire: FloatArray,
) -> TapMaps:
    """Follows the node voltages, V, of `j` and `i` to everything else."""
    num_nodes, r = feeder.num_nodes, feeder.regulators
    volt_port, volt_wire = (
        m[:, :num_nodes] + 1j * m[:, num_nodes:] for m in (node_port, node_wire)
    )
    both = np.concatenate([volt_port, volt_wire])
    conductor = _times(feeder.branches.current_siemens, volt_wire) + elements.into_conductors()
    at = np.flatnonzero(feeder.is_source_node)
    source = -_times(sp.csr_matrix(feeder.y_source_siemens)[at], volt_wire)
    rest = feeder.branches.series_siemens - elements.series_admittance()
    form = (both @ _times(sp.csr_matrix(rest), both).conj().T).real
    arrays = {
        "into": into,
        "loop_into": into,
        "own": own.T,
        "step": step,
        "loop_step": step,
        "node": node_wire / np.tile(1e3 * feeder.node_kv_base, 2),
        "conductor": _planar(conductor),
        "source": _planar(np.concatenate([1e-3 * volt_wire[:, at], source], axis=1)),
        "watch": _planar(_times(feeder.controls.capacitor.current_siemens, both)),
        "loss": 0.5e-3 * (form + form.T),
        "basis": elements.basis,
        "fixed": real_block(elements.turned(elements.fixed)),
        "linear": real_block(elements.turned(elements.linear)),
        "square": real_block(elements.turned(elements.square)),
        "is_series": np.tile((elements.element < len(r)).astype(float), 2),
        "element": np.tile(elements.element, 2),
        "gain": elements.gain,
        "tap_step_pu": np.array(r.tap_step_pu),
    }
    tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
    return TapMaps(**tensors, num_regulators=len(r))


class _Elements:
    """The adjustable elements as matrices over all their wires.

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
        """A matrix of the wires in the basis."""
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


def _basis(admittance: ComplexArray) -> FloatArray:
    """Directions by stiffness: eigenvectors of the admittance's size."""
    size = admittance.real - admittance.imag
    return np.asarray(np.linalg.eigh(0.5 * (size + size.T))[1])


def _planar(rows: ComplexArray) -> FloatArray:
    return np.concatenate([rows.real, rows.imag], axis=-1)


def _times(matrix: sp.csr_matrix, rows: ComplexArray) -> ComplexArray:
    """Applies a matrix over nodes to node values given as rows."""
    return np.asarray((matrix @ rows.T).T)

"""The matrices of the low-rank update of a dense network: see `taps.py`."""

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
from gradmap.feeders.powerflow.elements_build import Elements
from gradmap.feeders.powerflow.incidence import factorised, refined
from gradmap.feeders.powerflow.ports import Ports
from gradmap.feeders.powerflow.taps_dense import DenseTapMaps


def build_tap_maps(
    feeder: Feeder, ports: Ports, linear: ComplexArray, conjugate: ComplexArray, padded: int
) -> DenseTapMaps | None:
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
    elements = Elements(feeder)
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
    elements: Elements,
    into: FloatArray,
    own: FloatArray,
    step: FloatArray,
    node_port: FloatArray,
    node_wire: FloatArray,
) -> DenseTapMaps:
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
    }
    tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
    tensors |= elements.tensors()
    return DenseTapMaps(**tensors, num_regulators=len(r))


def _planar(rows: ComplexArray) -> FloatArray:
    return np.concatenate([rows.real, rows.imag], axis=-1)


def _times(matrix: sp.csr_matrix, rows: ComplexArray) -> ComplexArray:
    """Applies a matrix over nodes to node values given as rows."""
    return np.asarray((matrix @ rows.T).T)

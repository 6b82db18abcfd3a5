"""From the sparse feeder to the dense matrices of the power flow.

All of it is numpy and scipy in double precision. IEEE 123's admittance has a
condition number of 9e12 (a floating delta winding), so nothing here inverts
it: one sparse factorisation is applied to the columns of the port incidence,
which are differences wherever a port lies between two nodes, and each
solution is refined once.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from gradmap.feeders.model import ComplexArray, Feeder, FloatArray
from gradmap.feeders.powerflow.dense import DenseMaps
from gradmap.feeders.powerflow.incidence import factorised, incidence_of, refined
from gradmap.feeders.powerflow.ports import Ports


@dataclasses.dataclass(frozen=True, eq=False)
class Linear:
    """The feeder's linear part, seen from the ports' currents.

    Attributes:
        v_open: Node voltages without load, V. `[node]`
        z_node: Minus the node voltages per port current, V/p.u.
            `[node, port]`
        u_open: Port voltages without load, p.u. `[port]`
        k_port: Minus the port voltages per port current. `[port, port]`
        to_port: From node voltages, V, to port voltages, p.u. `[port, node]`
    """

    v_open: ComplexArray
    z_node: ComplexArray
    u_open: ComplexArray
    k_port: ComplexArray
    to_port: sp.csr_matrix


class DenseBuilder:
    """Makes the dense maps of a feeder for one compensation after another.

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
        self._feeder, self.padded = feeder, padded
        self._solved = solve_linear_part(feeder, ports)

    def maps(self, linear: ComplexArray, conjugate: ComplexArray) -> DenseMaps:
        """Makes the maps with `Y0 u = linear u + conjugate conj(u)` in the matrix.

        Args:
            linear: Part of the compensation that goes with `u`, p.u. `[port]`
            conjugate: Part that goes with `conj(u)`. `[port]`

        Returns:
            The maps in float64 on the CPU.
        """
        feeder = self._feeder
        node, step = _maps(self._solved, linear, conjugate, self.padded)
        node_volt = node[:, : feeder.num_nodes] + 1j * node[:, feeder.num_nodes :]
        branches = feeder.branches
        return DenseMaps(
            step=torch.from_numpy(step),
            adjoint=torch.from_numpy(_adjoint(step)),
            node=torch.from_numpy(node / np.tile(1e3 * feeder.node_kv_base, 2)),
            conductor=_planar(_times(branches.current_siemens, node_volt)),
            source=_source_map(feeder, node_volt),
            loss=_loss_form(branches.series_siemens, node_volt),
        )


def solve_linear_part(feeder: Feeder, ports: Ports) -> Linear:
    """Solves the feeder without load, for its sources and for a current at each port.

    Args:
        feeder: The feeder.
        ports: Its ports.

    Raises:
        GradmapError: If the admittance is singular.
    """
    incidence = incidence_of(ports.nodes, feeder.num_nodes)
    columns = [feeder.source_current_a, incidence.T.toarray()]
    right = np.column_stack(columns).astype(np.complex128)
    solution = refined(feeder, factorised(feeder), right)
    v_open = np.asarray(solution[:, 0])
    z_node: ComplexArray = np.asarray(
        solution[:, 1:] / ports.kv_base, np.complex128
    )  # 1 kVA at the base voltage, in A
    to_port = sp.csr_matrix(incidence.multiply(1e-3 / ports.kv_base[:, None]))
    u_open: ComplexArray = np.asarray(to_port @ v_open, np.complex128)
    return Linear(v_open, z_node, u_open, np.asarray(to_port @ z_node), to_port)


def real_block(linear: ComplexArray, conjugate: ComplexArray | None = None) -> FloatArray:
    """Writes `x -> linear x + conjugate conj(x)` as a matrix on planar columns."""
    other = np.zeros_like(linear) if conjugate is None else conjugate
    both, gap = linear + other, linear - other
    return np.block([[both.real, -gap.imag], [both.imag, gap.real]])


def _maps(
    solved: Linear, linear: ComplexArray, conjugate: ComplexArray, padded: int
) -> tuple[FloatArray, FloatArray]:
    """Node voltages, V, and port voltages, p.u., as matrices on rows of `j`."""
    y0 = real_block(np.diag(linear), np.diag(conjugate))
    k_port, z_node = real_block(solved.k_port), real_block(solved.z_node)
    identity = np.eye(len(y0))
    u_open = np.concatenate([solved.u_open.real, solved.u_open.imag])
    v_open = np.concatenate([solved.v_open.real, solved.v_open.imag])
    compensated = np.linalg.solve(identity + k_port @ y0, np.column_stack([u_open, k_port]))
    constant, gain = compensated[:, 0], compensated[:, 1:]
    # i = j + Y0 u = Y0 c + (1 - Y0 M) j
    node_constant = v_open - z_node @ (y0 @ constant)
    node = planar_rows(node_constant, z_node @ (identity - y0 @ gain), padded)
    num_ports = len(linear)
    # Padding and reference have a voltage of 1 whatever flows.
    full_constant = np.zeros((2, padded))
    full_constant[0] = 1.0
    full_constant[:, :num_ports] = constant.reshape(2, num_ports)
    full_gain = np.zeros((2, padded, 2 * num_ports))
    full_gain[:, :num_ports] = gain.reshape(2, num_ports, -1)
    step = planar_rows(full_constant.ravel(), full_gain.reshape(2 * padded, -1), padded)
    return node, step


def planar_rows(constant: FloatArray, gain: FloatArray, padded: int) -> FloatArray:
    """Writes `constant - gain j` for rows `[re j, im j]` with a reference port.

    The constant comes last in each sum: single precision then rounds against
    it once, which is worth a factor of ten.
    """
    num_out, used = gain.shape[0], gain.shape[1] // 2
    matrix = np.zeros((2, padded, num_out))
    matrix[:, :used] = -gain.T.reshape(2, used, num_out)
    matrix[1, -1] = constant
    return matrix.reshape(2 * padded, num_out)


def _adjoint(step: FloatArray) -> FloatArray:
    """Transposes, without the reference port, which is no variable."""
    adjoint = np.ascontiguousarray(step.T)
    adjoint[:, -1] = 0.0
    return adjoint


def _times(matrix: sp.csr_matrix, rows: ComplexArray) -> ComplexArray:
    """Applies a matrix over nodes to node values given as rows."""
    return np.asarray((matrix @ rows.T).T)


def _planar(rows: ComplexArray) -> Tensor:
    return torch.from_numpy(np.concatenate([rows.real, rows.imag], axis=1))


def _source_map(feeder: Feeder, node_volt: ComplexArray) -> Tensor:
    """Voltages, kV, and currents into the network, A, at the source's nodes."""
    at = np.flatnonzero(feeder.is_source_node)
    current = -_times(sp.csr_matrix(feeder.y_source_siemens)[at], node_volt)
    current[-1] += (feeder.source_current_a - feeder.frozen_current_a)[at]
    return _planar(np.concatenate([1e-3 * node_volt[:, at], current], axis=1))


def _loss_form(series_siemens: sp.csr_matrix, node_volt: ComplexArray) -> Tensor:
    """Writes `Re(V^T conj(Y V))`, kW, as a quadratic form of planar `j`."""
    form = (node_volt @ _times(series_siemens, node_volt).conj().T).real
    return torch.from_numpy(0.5e-3 * (form + form.T))

"""From the sparse feeder to the dense matrices of the power flow.

All of it is numpy and scipy in double precision. IEEE 123's admittance has a
condition number of 9e12 (a floating delta winding), so nothing here inverts
it: one sparse factorisation is applied to the columns of the port incidence,
which are differences wherever a port lies between two nodes, and each
solution is refined once.
"""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch
from torch import Tensor

from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import GROUND, ComplexArray, Feeder, FloatArray, IntArray
from gradmap.feeders.powerflow.fixed_point import fixed_point
from gradmap.feeders.powerflow.loads import LoadLaw
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.ports import Ports, find_ports
from gradmap.feeders.powerflow.slots import SlotPower

_LINEAR_SHARE = 0.5
_CONJUGATE_SHARE = 1.0
"""How much of the nominal load the matrix holds: see `_compensation`."""

_ALIGN = 16  # ports are padded to a multiple: vector loops without a remainder


@dataclasses.dataclass(frozen=True, eq=False)
class _Solved:
    """The feeder's linear part, seen from the ports' currents.

    Attributes:
        v_open: Node voltages without load, V. `[node]`
        z_node: Minus the node voltages per port current, V/p.u.
            `[node, port]`
        u_open: Port voltages without load, p.u. `[port]`
        k_port: Minus the port voltages per port current. `[port, port]`
    """

    v_open: ComplexArray
    z_node: ComplexArray
    u_open: ComplexArray
    k_port: ComplexArray


def assemble_network(feeder: Feeder, devices: bool) -> Network:
    """Builds the complex128 network of a feeder on the CPU.

    Args:
        feeder: The feeder.
        devices: Whether to add one device terminal for each load terminal.

    Returns:
        The network.

    Raises:
        GradmapError: If the feeder has no terminal, its admittance is
            singular, or a load law is not supported.
    """
    if not len(feeder.terminals):
        raise GradmapError(f"feeder {feeder.name} has no load terminal, expected at least one")
    ports = find_ports(feeder, devices)
    solved = _solve_linear_part(feeder, ports)
    linear = _LINEAR_SHARE * ports.nominal_admittance()
    network = _with_compensation(feeder, ports, solved, linear, np.zeros_like(linear))
    nominal = _nominal_voltages(network)
    if nominal is None:
        return network
    conjugate = _CONJUGATE_SHARE * _conjugate_slope(network, nominal)
    network = _with_compensation(feeder, ports, solved, linear, conjugate)
    return dataclasses.replace(network, start=nominal)


def _with_compensation(
    feeder: Feeder, ports: Ports, solved: _Solved, linear: ComplexArray, conjugate: ComplexArray
) -> Network:
    """Lays everything out, with `Y0 u = linear u + conjugate conj(u)` in the matrix."""
    num_ports = len(ports.kv_base)
    padded = -(-(num_ports + 1) // _ALIGN) * _ALIGN
    node, step = _maps(solved, linear, conjugate, padded)
    node_volt = node[:, : feeder.num_nodes] + 1j * node[:, feeder.num_nodes :]
    branches = feeder.branches
    slot_terminal, place, is_regular = ports.layout(padded)
    terminal_nominal = torch.from_numpy(ports.s_nominal_kva)
    return Network(
        feeder=feeder,
        has_devices=len(ports.terminal_port) > len(feeder.terminals),
        is_regular=is_regular,
        law=LoadLaw.from_table(
            ports.table, ports.terminal_slot, ports.terminal_port, slot_terminal.shape
        ),
        offset=torch.from_numpy(_offset(linear, conjugate, padded)),
        step=torch.from_numpy(step),
        adjoint=torch.from_numpy(_adjoint(step)),
        node=torch.from_numpy(node / np.tile(1e3 * feeder.node_kv_base, 2)),
        conductor=_planar(_times(branches.current_siemens, node_volt)),
        source=_source_map(feeder, node_volt),
        loss=_loss_form(branches.series_siemens, node_volt),
        start=torch.from_numpy(step[-1].copy()),
        slot_terminal=torch.from_numpy(slot_terminal),
        terminal_place=torch.from_numpy(place),
        terminal_port=torch.from_numpy(ports.terminal_port),
        terminal_ratio=torch.from_numpy(ports.table.ratio),
        port_base_a=torch.from_numpy(1.0 / ports.kv_base),
        p_nominal_kw=terminal_nominal.real.clone(),
        q_nominal_kvar=terminal_nominal.imag.clone(),
        rating_a=torch.from_numpy(branches.rating_a[branches.conductor_branch]),
        conductor_branch=torch.from_numpy(np.array(branches.conductor_branch)),
        three_phase_node=torch.from_numpy(_three_phase_nodes(feeder)),
    )


def _solve_linear_part(feeder: Feeder, ports: Ports) -> _Solved:
    y_siemens = sp.csc_matrix(feeder.y_siemens)
    incidence = _incidence(ports.nodes, feeder.num_nodes)
    columns = [feeder.source_current_a, incidence.T.toarray()]
    right = np.column_stack(columns).astype(np.complex128)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", spla.MatrixRankWarning)
            factor = spla.splu(y_siemens)
    except (RuntimeError, spla.MatrixRankWarning) as error:
        raise GradmapError(
            f"feeder {feeder.name} has a singular admittance matrix, expected every node to have "
            "a path to the source or to ground; look for an isolated bus"
        ) from error
    solution = factor.solve(right)
    solution = solution - factor.solve(y_siemens @ solution - right)
    v_open = np.asarray(solution[:, 0])
    z_node: ComplexArray = np.asarray(
        solution[:, 1:] / ports.kv_base, np.complex128
    )  # 1 kVA at the base voltage, in A
    to_port = sp.csr_matrix(incidence.multiply(1e-3 / ports.kv_base[:, None]))
    u_open: ComplexArray = np.asarray(to_port @ v_open, np.complex128)
    return _Solved(v_open, z_node, u_open, np.asarray(to_port @ z_node))


def _incidence(nodes: IntArray, num_nodes: int) -> sp.csr_matrix:
    """+1 at the first node of each port, -1 at the second. `[port, node]`"""
    incidence = sp.lil_matrix((len(nodes), num_nodes))
    incidence[np.arange(len(nodes)), nodes[:, 0]] = 1.0
    between = np.flatnonzero(nodes[:, 1] != GROUND)
    incidence[between, nodes[between, 1]] = -1.0
    return sp.csr_matrix(incidence)


def _real_block(linear: ComplexArray, conjugate: ComplexArray | None = None) -> FloatArray:
    """Writes `x -> linear x + conjugate conj(x)` as a matrix on planar columns."""
    other = np.zeros_like(linear) if conjugate is None else conjugate
    both, gap = linear + other, linear - other
    return np.block([[both.real, -gap.imag], [both.imag, gap.real]])


def _maps(
    solved: _Solved, linear: ComplexArray, conjugate: ComplexArray, padded: int
) -> tuple[FloatArray, FloatArray]:
    """Node voltages, V, and port voltages, p.u., as matrices on rows of `j`."""
    y0 = _real_block(np.diag(linear), np.diag(conjugate))
    k_port, z_node = _real_block(solved.k_port), _real_block(solved.z_node)
    identity = np.eye(len(y0))
    u_open = np.concatenate([solved.u_open.real, solved.u_open.imag])
    v_open = np.concatenate([solved.v_open.real, solved.v_open.imag])
    compensated = np.linalg.solve(identity + k_port @ y0, np.column_stack([u_open, k_port]))
    constant, gain = compensated[:, 0], compensated[:, 1:]
    # i = j + Y0 u = Y0 c + (1 - Y0 M) j
    node_constant = v_open - z_node @ (y0 @ constant)
    node = _rows(node_constant, z_node @ (identity - y0 @ gain), padded)
    num_ports = len(linear)
    # Padding and reference have a voltage of 1 whatever flows.
    full_constant = np.zeros((2, padded))
    full_constant[0] = 1.0
    full_constant[:, :num_ports] = constant.reshape(2, num_ports)
    full_gain = np.zeros((2, padded, 2 * num_ports))
    full_gain[:, :num_ports] = gain.reshape(2, num_ports, -1)
    step = _rows(full_constant.ravel(), full_gain.reshape(2 * padded, -1), padded)
    return node, step


def _rows(constant: FloatArray, gain: FloatArray, padded: int) -> FloatArray:
    """Writes `constant - gain j` for rows `[re j, im j]` with a reference port.

    The constant comes last in each sum: single precision then rounds against
    it once, which is worth a factor of ten.
    """
    num_out, used = gain.shape[0], gain.shape[1] // 2
    matrix = np.zeros((2, padded, num_out))
    matrix[:, :used] = -gain.T.reshape(2, used, num_out)
    matrix[1, -1] = constant
    return matrix.reshape(2 * padded, num_out)


def _offset(linear: ComplexArray, conjugate: ComplexArray, padded: int) -> FloatArray:
    offset = np.zeros((2, 2, padded))
    first, second = conjugate.real, conjugate.imag
    offset[0, :, : len(linear)] = -linear.real - first, second - linear.imag
    offset[1, :, : len(linear)] = 2.0 * first, -2.0 * second
    offset[0, 1, -1] = 1.0
    return offset


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
    current[-1] += feeder.source_current_a[at]
    return _planar(np.concatenate([1e-3 * node_volt[:, at], current], axis=1))


def _loss_form(series_siemens: sp.csr_matrix, node_volt: ComplexArray) -> Tensor:
    """Writes `Re(V^T conj(Y V))`, kW, as a quadratic form of planar `j`."""
    form = (node_volt @ _times(series_siemens, node_volt).conj().T).real
    return torch.from_numpy(0.5e-3 * (form + form.T))


def _three_phase_nodes(feeder: Feeder) -> IntArray:
    index = {name: k for k, name in enumerate(feeder.node_names)}
    rows = [
        [index[f"{bus}.{phase}"] for phase in (1, 2, 3)]
        for bus in feeder.bus_names
        if all(f"{bus}.{phase}" in index for phase in (1, 2, 3))
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _nominal_voltages(network: Network) -> Tensor | None:
    """Solves the nominal case, which every other starts from."""
    power = (network.p_nominal_kw[None], network.q_nominal_kvar[None])
    result = fixed_point(network, *power, guess=None, tolerance_pu=1e-10, max_iterations=200)
    return result.u[0] if bool(result.converged) else None


def _conjugate_slope(network: Network, nominal: Tensor) -> ComplexArray:
    """Takes the part of the nominal load's slope that goes with `conj(du)`.

    Under light and ordinary load, Newton's choice (all of the slope) is the
    fastest to iterate with; under heavy load, where terminals fall back to
    impedances, OpenDSS's choice (the nominal impedances) is. Half of the
    second and the conjugate part of the first serve both. Iterations to 1e-6
    on IEEE 123 with loads redrawn from 0 to twice the nominal, at 4, and at -2
    times the nominal: neither 6, 51, 12; Newton's 6, 39, 13; OpenDSS's 7, 20,
    15; this 5, 30, 14.
    """
    re, im = nominal.view(2, -1)
    r = torch.addcmul(re * re, im, im).rsqrt()
    _, slope = network.law.gain_and_slope(r[None, None])
    slot_power = SlotPower(network, batch=1)
    slot_power.load(network.p_nominal_kw[None], network.q_nominal_kvar[None])
    total_re, total_im = (slot_power.power * slope).sum((0, 1))
    # d|u| = Re(conj(u) du) / |u|, half of which goes with conj(du).
    result = -0.5 * torch.complex(total_re, total_im) * torch.complex(re, im).square() * r**3
    values: ComplexArray = result[: network.num_ports].numpy()
    return values

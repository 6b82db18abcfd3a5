"""From the sparse feeder to the dense matrices of the power flow.

All of it is numpy and scipy in complex128. IEEE 123's admittance has a
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
from gradmap.feeders.model import GROUND, ComplexArray, Feeder, FloatArray, IntArray, LoadModel
from gradmap.feeders.powerflow.fixed_point import fixed_point
from gradmap.feeders.powerflow.loads import LawTable, LoadLaw
from gradmap.feeders.powerflow.network import Network

COMPENSATION = 0.5
"""Share of the nominal load admittance inside the matrix.

With 1, OpenDSS's choice, IEEE 123 needs 6 to 7 iterations for loads redrawn
around the nominal and 36 at five times the load; with 0 it needs 5 to 6 and
fails at five times; with 0.5 it needs 5 to 6, and 70 at five times.
"""

_ALIGN = 16  # ports are padded to a multiple: vector loops without a remainder
_DEVICE_LIMITS_PU = (0.8, 1.2, 0.5)  # vmin, vmax, vlow of a device terminal


@dataclasses.dataclass(frozen=True, eq=False)
class _Ports:
    """Ports and terminals: who sits where, devices included."""

    incidence: sp.csr_matrix  # [port, node], +1 and -1
    kv_base: FloatArray  # [port]
    terminal_port: IntArray  # [terminal]
    terminal_slot: IntArray  # [terminal]
    table: LawTable  # [terminal]
    s_nominal_kva: ComplexArray  # [terminal], 0 for devices


@dataclasses.dataclass(frozen=True, eq=False)
class _Map:
    """A complex affine map `x = constant - gain j` of the port currents."""

    constant: ComplexArray  # [out]
    gain: ComplexArray  # [out, port]

    def planar(self, num_ports: int) -> Tensor:
        """Lays the map out as a real matrix for `[re j, im j]` rows."""
        num_out, used = self.gain.shape
        matrix = np.zeros((2, num_ports, 2, num_out))
        matrix[0, :used, 0], matrix[0, :used, 1] = -self.gain.real.T, -self.gain.imag.T
        matrix[1, :used, 0], matrix[1, :used, 1] = self.gain.imag.T, -self.gain.real.T
        # Last in the sum: single precision then rounds against the constant once.
        matrix[1, -1, 0], matrix[1, -1, 1] = self.constant.real, self.constant.imag
        return torch.from_numpy(matrix.reshape(2 * num_ports, 2 * num_out))


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
    ports = _find_ports(feeder, devices)
    num_ports = len(ports.kv_base)
    padded = -(-(num_ports + 1) // _ALIGN) * _ALIGN
    y0 = _nominal_admittance(ports)
    node, step = _linear_part(feeder, ports, y0)
    step_matrix = _padded_step(step, padded)
    compensation = np.zeros((2, padded))
    compensation[:, :num_ports] = y0.real, y0.imag
    compensation[1, -1] = -1.0
    slot_terminal = np.full((ports.terminal_slot.max() + 1, padded), len(ports.terminal_port))
    slot_terminal[ports.terminal_slot, ports.terminal_port] = np.arange(len(ports.terminal_port))
    place = ports.terminal_slot * padded + ports.terminal_port
    expected = np.arange(slot_terminal.shape[0])[:, None] * padded + np.arange(num_ports)
    shape = (slot_terminal.shape[0], padded)
    branches = feeder.branches
    node_planar = node.planar(padded)
    base = np.tile(1e3 * feeder.node_kv_base, 2)
    network = Network(
        feeder=feeder,
        has_devices=devices,
        is_regular=np.array_equal(place, expected.ravel()),
        law=LoadLaw.from_table(ports.table, ports.terminal_slot, ports.terminal_port, shape),
        compensation=torch.from_numpy(compensation),
        step=step_matrix,
        node=node_planar / torch.from_numpy(base),
        conductor=_through(branches.current_siemens, node).planar(padded),
        source=_source_map(feeder, node).planar(padded),
        loss=_loss_form(branches.series_siemens, node_planar),
        adjoint=_adjoint(step_matrix),
        start=step_matrix[-1].clone(),
        slot_terminal=torch.from_numpy(slot_terminal),
        terminal_place=torch.from_numpy(place),
        terminal_port=torch.from_numpy(ports.terminal_port),
        terminal_ratio=torch.from_numpy(ports.table.ratio),
        port_base_a=torch.from_numpy(1.0 / ports.kv_base),
        p_nominal_kw=torch.from_numpy(ports.s_nominal_kva.real.copy()),
        q_nominal_kvar=torch.from_numpy(ports.s_nominal_kva.imag.copy()),
        rating_a=torch.from_numpy(branches.rating_a[branches.conductor_branch]),
        conductor_branch=torch.from_numpy(np.array(branches.conductor_branch)),
        three_phase_node=torch.from_numpy(_three_phase_nodes(feeder)),
    )
    return dataclasses.replace(network, start=_nominal_voltages(network))


def _find_ports(feeder: Feeder, devices: bool) -> _Ports:
    terminals = feeder.terminals
    port_of: dict[tuple[int, int], int] = {}
    pairs = zip(terminals.node_from.tolist(), terminals.node_to.tolist(), strict=True)
    load_port = np.array([port_of.setdefault(pair, len(port_of)) for pair in pairs])
    copies = 2 if devices else 1
    port = np.tile(load_port, copies)
    taken: dict[int, int] = {}
    slot = np.empty_like(port)
    for k, where in enumerate(port.tolist()):
        slot[k] = taken[where] = taken.get(where, -1) + 1
    first = np.array([np.flatnonzero(load_port == k)[0] for k in range(len(port_of))])
    kv_base = terminals.kv_rated[first]
    rows = np.array(list(port_of))
    incidence = sp.lil_matrix((len(rows), feeder.num_nodes))
    incidence[np.arange(len(rows)), rows[:, 0]] = 1.0
    delta = np.flatnonzero(rows[:, 1] != GROUND)
    incidence[delta, rows[delta, 1]] = -1.0
    return _Ports(
        incidence=incidence.tocsr(),
        kv_base=kv_base,
        terminal_port=port,
        terminal_slot=slot,
        table=_law_table(feeder, devices, kv_base[load_port] / terminals.kv_rated),
        s_nominal_kva=np.concatenate(
            [terminals.p_kw + 1j * terminals.q_kvar, np.zeros(len(port) - len(load_port))]
        ),
    )


def _law_table(feeder: Feeder, devices: bool, ratio: FloatArray) -> LawTable:
    terminals = feeder.terminals
    count = len(terminals) if devices else 0
    vmin, vmax, vlow = _DEVICE_LIMITS_PU

    def extend(values: FloatArray | IntArray, value: float) -> FloatArray:
        return np.concatenate([values, np.full(count, value)])

    return LawTable(
        name=terminals.name + tuple(f"device at {name}" for name in terminals.name[:count]),
        model=extend(terminals.model, LoadModel.CONSTANT_POWER).astype(np.int64),
        vmin_pu=extend(terminals.vmin_pu, vmin),
        vmax_pu=extend(terminals.vmax_pu, vmax),
        vlow_pu=extend(terminals.vlow_pu, vlow),
        cvr_p=extend(terminals.cvr_p, 1.0),
        cvr_q=extend(terminals.cvr_q, 2.0),
        ratio=np.tile(ratio, 2 if devices else 1),
    )


def _nominal_admittance(ports: _Ports) -> ComplexArray:
    y0 = np.zeros(len(ports.kv_base), dtype=complex)
    np.add.at(y0, ports.terminal_port, np.conj(ports.s_nominal_kva) * ports.table.ratio**2)
    return COMPENSATION * y0


def _linear_part(feeder: Feeder, ports: _Ports, y0: ComplexArray) -> tuple[_Map, _Map]:
    """Solves for node voltages in V and port voltages in p.u. as maps of `j`."""
    right = np.column_stack([feeder.source_current_a, ports.incidence.T.toarray()])
    solved = _solve(feeder, right.astype(complex))
    v_open, z_node = solved[:, 0], solved[:, 1:] / ports.kv_base  # V per 1 kVA at base
    to_port = ports.incidence.multiply(1e-3 / ports.kv_base[:, None]).tocsr()
    u_open, k_port = to_port @ v_open, to_port @ z_node
    inner = np.eye(len(y0)) + k_port * y0
    solution = np.linalg.solve(inner, np.column_stack([u_open, k_port]))
    constant, gain = solution[:, 0], solution[:, 1:]
    from_j = np.eye(len(y0)) - y0[:, None] * gain  # i = from_j j + y0 constant
    node = _Map(v_open - z_node @ (y0 * constant), z_node @ from_j)
    return node, _Map(constant, gain)


def _solve(feeder: Feeder, right: ComplexArray) -> ComplexArray:
    """Solves `Y x = right`, refined once."""
    y_siemens = sp.csc_matrix(feeder.y_siemens)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", spla.MatrixRankWarning)
            factor = spla.splu(y_siemens)
    except (RuntimeError, spla.MatrixRankWarning) as error:
        raise GradmapError(
            f"feeder {feeder.name} has a singular admittance matrix: expected every node to "
            "have a path to the source or to ground; look for an isolated bus"
        ) from error
    solution = factor.solve(right)
    refined: ComplexArray = solution - factor.solve(y_siemens @ solution - right)
    return refined


def _adjoint(step: Tensor) -> Tensor:
    """Transposes, without the reference port, which is no variable."""
    adjoint = step.T.contiguous()
    adjoint[:, -1] = 0.0
    return adjoint


def _padded_step(step: _Map, padded: int) -> Tensor:
    """Gives the padding and the reference port a voltage of 1."""
    num_ports = len(step.constant)
    constant = np.ones(padded, dtype=complex)
    constant[:num_ports] = step.constant
    gain = np.zeros((padded, num_ports), dtype=complex)
    gain[:num_ports] = step.gain
    return _Map(constant, gain).planar(padded)


def _through(matrix: sp.csr_matrix, node: _Map) -> _Map:
    return _Map(matrix @ node.constant, matrix @ node.gain)


def _source_map(feeder: Feeder, node: _Map) -> _Map:
    """Voltages, kV, then currents into the network, A, at the source's nodes."""
    at = np.flatnonzero(feeder.is_source_node)
    y_source = sp.csr_matrix(feeder.y_source_siemens)[at]
    current = _through(y_source, node)
    return _Map(
        np.concatenate([1e-3 * node.constant[at], feeder.source_current_a[at] - current.constant]),
        np.concatenate([1e-3 * node.gain[at], -current.gain]),
    )


def _loss_form(series_siemens: sp.csr_matrix, node_planar: Tensor) -> Tensor:
    """Writes `Re(V^T conj(Y V))`, kW, as a quadratic form of planar `j`."""
    voltage = node_planar.numpy()
    real, imag = np.split(voltage, 2, axis=1)
    current = sp.csr_matrix(series_siemens) @ (real + 1j * imag).T
    form = real @ current.real + imag @ current.imag
    return torch.from_numpy(1e-3 * 0.5 * (form + form.T))


def _three_phase_nodes(feeder: Feeder) -> IntArray:
    index = {name: k for k, name in enumerate(feeder.node_names)}
    rows = [
        [index[f"{bus}.{phase}"] for phase in (1, 2, 3)]
        for bus in feeder.bus_names
        if all(f"{bus}.{phase}" in index for phase in (1, 2, 3))
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _nominal_voltages(network: Network) -> Tensor:
    """Solves the nominal case, the start of every other; else the open feeder."""
    power = (network.p_nominal_kw[None], network.q_nominal_kvar[None])
    result = fixed_point(network, *power, guess=None, tolerance_pu=1e-10, max_iterations=100)
    return result.u[0] if bool(result.converged) else network.start

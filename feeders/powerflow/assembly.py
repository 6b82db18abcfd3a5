"""From a feeder to the network that the power flow runs on."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import ComplexArray, Feeder, FloatArray, IntArray
from gradmap.feeders.powerflow.dense_build import DenseBuilder
from gradmap.feeders.powerflow.fixed_point import fixed_point
from gradmap.feeders.powerflow.loads import LoadLaw
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.ports import Ports, find_ports
from gradmap.feeders.powerflow.slots import SlotPower
from gradmap.feeders.powerflow.sparse import SparseMaps
from gradmap.feeders.powerflow.sparse_build import SparseBuilder
from gradmap.feeders.powerflow.taps_build import build_tap_maps

_LINEAR_SHARE = 0.5
_CONJUGATE_SHARE = 1.0
"""How much of the nominal load the matrix holds: see `_conjugate_slope`."""

DENSE_PORTS = 450
"""Up to so many ports `method="auto"` takes dense matrices.

A dense iteration costs the square of the ports, a sparse one its nodes.
Milliseconds of a batch of 64 with its gradient on one core, dense and sparse,
on synthetic feeders with a device beside every load:

| ports | complex128 | complex64 | set-up |
|---|---|---|---|
| 88 | 13, 30 | 3, 10 | 40, 40 |
| 322 | 32, 35 | 14, 24 | 410, 60 |
| 414 | 49, 42 | 19, 28 | 730, 80 |
| 482 | 67, 43 | 27, 28 | 1,400, 190 |
| 747 | 143, 59 | 46, 36 | 3,600, 80 |
"""

_METHODS = ("auto", "dense", "sparse")
_ALIGN = 16  # ports are padded to a multiple: vector loops without a remainder


def assemble_network(feeder: Feeder, devices: bool, method: str) -> Network:
    """Builds the complex128 network of a feeder on the CPU.

    Args:
        feeder: The feeder.
        devices: Whether to add one device terminal for each load terminal.
        method: `dense`, `sparse`, or `auto`: dense up to `DENSE_PORTS` ports.

    Returns:
        The network.

    Raises:
        GradmapError: If the feeder has no terminal, its admittance is
            singular, a load law is not supported, or the method unknown.
    """
    if method not in _METHODS:
        raise GradmapError(f"found method {method!r}, expected one of {', '.join(_METHODS)}")
    if not len(feeder.terminals):
        raise GradmapError(f"feeder {feeder.name} has no load terminal, expected at least one")
    ports = find_ports(feeder, devices)
    padded = -(-(len(ports.kv_base) + 1) // _ALIGN) * _ALIGN
    is_dense = method == "dense" or (method == "auto" and len(ports.kv_base) <= DENSE_PORTS)
    builder = (DenseBuilder if is_dense else SparseBuilder)(feeder, ports, padded)
    linear = _LINEAR_SHARE * ports.nominal_admittance()
    network = _with_compensation(feeder, ports, builder, linear, np.zeros_like(linear))
    nominal, conjugate = _nominal_voltages(network), np.zeros_like(linear)
    if nominal is not None:
        conjugate = _CONJUGATE_SHARE * _conjugate_slope(network, nominal)
        network = _with_compensation(feeder, ports, builder, linear, conjugate)
        network = dataclasses.replace(network, start=nominal)
    if isinstance(builder, SparseBuilder):
        assert isinstance(network.maps, SparseMaps)
        return dataclasses.replace(network, taps=builder.taps(network.maps))
    taps = build_tap_maps(feeder, ports, linear, conjugate, builder.padded)
    return dataclasses.replace(network, taps=taps)


def _with_compensation(
    feeder: Feeder,
    ports: Ports,
    builder: DenseBuilder | SparseBuilder,
    linear: ComplexArray,
    conjugate: ComplexArray,
) -> Network:
    """Lays everything out, with `Y0 u = linear u + conjugate conj(u)` in the matrix."""
    maps = builder.maps(linear, conjugate)
    slot_terminal, place, is_regular = ports.layout(builder.padded)
    open_circuit = torch.zeros(1, 2 * builder.padded, dtype=torch.float64)
    open_circuit[0, -1] = 1.0
    terminal_nominal = torch.from_numpy(ports.s_nominal_kva)
    branches = feeder.branches
    return Network(
        feeder=feeder,
        has_devices=len(ports.terminal_port) > len(feeder.terminals),
        is_regular=is_regular,
        law=LoadLaw.from_table(
            ports.table, ports.terminal_slot, ports.terminal_port, slot_terminal.shape
        ),
        maps=maps,
        offset=torch.from_numpy(_offset(linear, conjugate, builder.padded)),
        start=maps.port_voltage(open_circuit)[0],
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


def _offset(linear: ComplexArray, conjugate: ComplexArray, padded: int) -> FloatArray:
    offset = np.zeros((2, 2, padded))
    first, second = conjugate.real, conjugate.imag
    offset[0, :, : len(linear)] = -linear.real - first, second - linear.imag
    offset[1, :, : len(linear)] = 2.0 * first, -2.0 * second
    offset[0, 1, -1] = 1.0
    return offset


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

"""What the power-flow tests share: networks, a toy feeder, an independent reference.

The reference states the physics as plainly as it can: the load law as a table
of cases, the fixed point in complex numbers, every iteration taped by
autograd. Nothing of the library's solver is in it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg
import torch
from torch import Tensor

from gradmap.feeders.model import GROUND, Branches, Feeder, LoadModel, Regulators, Terminals
from gradmap.feeders.powerflow.network import Network

Gain = Callable[..., Tensor]


def table_gain(
    u: Tensor,
    model: Tensor,
    vmin: Tensor,
    vmax: Tensor,
    vlow: Tensor,
    power: Tensor,
) -> Tensor:
    """The gain `g(u)` of terminals, case by case; `power` is CVR's exponent."""
    is_current = model == LoadModel.CONSTANT_CURRENT
    current_at_vmin = torch.where(is_current, 1.0, 1.0 / vmin)
    rise = (current_at_vmin - vlow) / (vmin - vlow)
    line = (vlow + rise * (u - vlow)) / u
    within = torch.where(is_current, u**-1, u**-2)
    within = torch.where(model == LoadModel.CVR, u ** (power - 2.0), within)
    gain = torch.where(u > vmax, torch.where(is_current, vmax**-1, vmax**-2), within)
    gain = torch.where(u < vmin, line, gain)
    is_nominal = (u <= vlow) | (model == LoadModel.CONSTANT_IMPEDANCE)
    return torch.where(is_nominal, torch.ones_like(u), gain)


class Reference:
    """The power flow of a feeder, unrolled, in complex128."""

    def __init__(self, feeder: Feeder, devices: bool) -> None:
        t = feeder.terminals
        copies = 2 if devices else 1
        node_from, node_to = np.tile(t.node_from, copies), np.tile(t.node_to, copies)
        count = len(node_from)
        incidence = np.zeros((count, feeder.num_nodes))
        incidence[np.arange(count), node_from] = 1.0
        between = node_to != GROUND
        incidence[between, node_to[between]] -= 1.0
        factor = scipy.sparse.linalg.splu(sp.csc_matrix(feeder.y_siemens))
        rated_v = 1e3 * np.tile(t.kv_rated, copies)

        # In double precision alone what is left would be rounding, of 1e-8 p.u. in the end.
        precise = feeder.y_siemens.astype(np.clongdouble)

        def solve(right: np.ndarray) -> np.ndarray:
            found = factor.solve(right)
            for _ in range(3):
                left = precise @ found.astype(np.clongdouble) - right
                found = found - factor.solve(left.astype(complex))
            return found

        z_node = solve(incidence.T.astype(complex))
        v_open = solve(feeder.source_current_a)
        self.v_open = torch.from_numpy(v_open)
        self.z_node = torch.from_numpy(z_node * (1e3 / rated_v))
        self.u_open = torch.from_numpy(incidence @ v_open / rated_v)
        self.k = torch.from_numpy((incidence @ z_node) * (1e3 / rated_v) / rated_v[:, None])
        self.node_base_v = torch.from_numpy(1e3 * feeder.node_kv_base)
        rest = count - len(t)

        def column(values: np.ndarray, device: float) -> Tensor:
            return torch.from_numpy(np.concatenate([values, np.full(rest, device)]))

        power = float(LoadModel.CONSTANT_POWER)
        pairs = ((t.model, power), (t.vmin_pu, 0.8), (t.vmax_pu, 1.2), (t.vlow_pu, 0.5))
        self.laws = [column(*pair) for pair in pairs]
        self.cvr = column(t.cvr_p, 1.0), column(t.cvr_q, 2.0)

    def current(self, u: Tensor, p: Tensor, q: Tensor) -> Tensor:
        gain_p, gain_q = (table_gain(u.abs(), *self.laws, power) for power in self.cvr)
        return (p * gain_p - 1j * q * gain_q) * u

    def solve(
        self, p: Tensor, q: Tensor, iterations: int = 80, compensation: float = 0.5
    ) -> tuple[Tensor, Tensor]:
        """Terminal and node voltages, per unit, of one scenario `[terminal]`."""
        y0 = compensation * (p - 1j * q).detach()
        matrix = torch.linalg.inv(torch.eye(len(y0)) + self.k * y0)
        start, step = matrix @ self.u_open, matrix @ self.k
        u = start
        for _ in range(iterations):
            u = start - step @ (self.current(u, p, q) - y0 * u)
        v = self.v_open - self.z_node @ self.current(u, p, q)
        return u, v / self.node_base_v


def make_toy(**changes: object) -> Feeder:
    """A source, a line, a bus of three phases: every load law, wye and delta.

    Two pairs of terminals share a port, one of them with another rated
    voltage, and they are in no order, so that nothing is regular.
    """
    phases = np.exp(-2j * np.pi * np.arange(3) / 3)
    kv = 2.4
    series = np.linalg.inv((0.5 + 1.0j) * np.eye(3) + (0.15 + 0.4j) * np.ones((3, 3)))
    source = np.diag(np.full(3, 1.0 / (0.01 + 0.1j)))
    shunt = 1e-6j * np.eye(3)
    y_series = np.block([[series, -series], [-series, series]])
    y_source = np.block([[source, np.zeros((3, 3))], [np.zeros((3, 6))]])
    y = y_series + y_source
    y[3:, 3:] += shunt
    rows = [
        # node_from, node_to, kv_rated, model
        (3, GROUND, kv, LoadModel.CONSTANT_POWER),
        (3, GROUND, kv, LoadModel.CONSTANT_IMPEDANCE),
        (4, GROUND, kv, LoadModel.CONSTANT_CURRENT),
        (4, 5, 4.16, LoadModel.CONSTANT_POWER),
        (5, 3, 4.16, LoadModel.CONSTANT_CURRENT),
        (5, GROUND, kv, LoadModel.CVR),
        (4, 5, 4.0, LoadModel.CONSTANT_CURRENT),
    ]
    count = len(rows)
    node_from, node_to, kv_rated, model = map(np.array, zip(*rows, strict=True))
    terminals = {
        "name": tuple(f"load{k}" for k in range(count)),
        "load": tuple(f"load{k}" for k in range(count)),
        "kind": ("load",) * count,
        "node_from": node_from,
        "node_to": node_to,
        "kv_rated": kv_rated,
        "model": model,
        "p_kw": np.linspace(60.0, 120.0, count),
        "q_kvar": np.linspace(40.0, 20.0, count),
        "vmin_pu": np.full(count, 0.95),
        "vmax_pu": np.full(count, 1.05),
        "vlow_pu": np.full(count, 0.5),
        "cvr_p": np.full(count, 0.8),
        "cvr_q": np.full(count, 2.5),
        "zipv": np.zeros((count, 7)),
        "is_delta": node_to != GROUND,
    } | changes
    empty_int, empty = np.zeros(0, dtype=np.int64), np.zeros(0)
    return Feeder(
        name="toy",
        origin="test",
        node_names=tuple(f"{bus}.{phase}" for bus in "ab" for phase in (1, 2, 3)),
        node_kv_base=np.full(6, 4.16 / np.sqrt(3)),
        y_siemens=sp.csc_matrix(y),
        y_source_siemens=sp.csc_matrix(y_source),
        source_current_a=np.concatenate([source @ phases * 1e3 * kv, np.zeros(3)]),
        is_source_node=np.arange(6) < 3,
        frozen=(),
        frozen_current_a=np.zeros(6, dtype=complex),
        notes=(),
        terminals=Terminals(**terminals),  # type: ignore[arg-type]
        branches=Branches(
            name=("line.l1",),
            kind=("line",),
            bus_from=("a",),
            bus_to=("b",),
            rating_a=np.array([200.0]),
            conductor_branch=np.zeros(3, dtype=np.int64),
            conductor_node=np.arange(3),
            current_siemens=sp.csr_matrix(y_series[:3]),
            series_siemens=sp.csr_matrix(y_series),
        ),
        regulators=Regulators((), (), empty_int, (), *[empty_int] * 3, *[empty] * 7),
        bus_names=("a", "b"),
        bus_xy=np.full((2, 2), np.nan),
    )


@pytest.fixture(scope="session")
def toy_feeder() -> Feeder:
    return make_toy()


@pytest.fixture(scope="session")
def toy(toy_feeder: Feeder) -> Network:
    return Network.from_feeder(toy_feeder, devices=True)


@pytest.fixture(scope="session")
def toy_reference(toy_feeder: Feeder) -> Reference:
    return Reference(toy_feeder, devices=True)


@pytest.fixture(scope="session")
def network(ieee123: Feeder) -> Network:
    """IEEE 123 with devices, complex128."""
    return Network.from_feeder(ieee123, devices=True)


@pytest.fixture(scope="session")
def single(network: Network) -> Network:
    """IEEE 123 with devices, complex64."""
    return network.to(dtype=torch.complex64)


@pytest.fixture(scope="session")
def reference(ieee123: Feeder) -> Reference:
    return Reference(ieee123, devices=True)


@pytest.fixture(scope="session")
def gain_by_table() -> Gain:
    return table_gain


@pytest.fixture(scope="session")
def build_toy() -> Callable[..., Feeder]:
    return make_toy


Draw = Callable[..., tuple[Tensor, Tensor]]


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Random powers around a multiple of the nominal ones."""

    def make(network: Network, *lead: int, scale: float = 1.0, seed: int = 0) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        shape = (*lead, network.num_terminals)
        factor = 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)
        p = scale * factor * network.p_nominal_kw.double()
        q = scale * factor.flip(-1) * network.q_nominal_kvar.double()
        if network.has_devices:
            device = 10.0 * torch.randn(shape, generator=generator, dtype=torch.float64)
            device[..., : network.num_load_terminals] = 0.0
            p, q = p + device, q + 0.3 * device.flip(0) * (device != 0)
        return p.to(network.real_dtype), q.to(network.real_dtype)

    return make

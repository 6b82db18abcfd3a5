"""Which terminals share a port, and where each one's values lie."""

from __future__ import annotations

import dataclasses

import numpy as np

from gradmap.feeders.model import ComplexArray, Feeder, FloatArray, IntArray, LoadModel
from gradmap.feeders.powerflow.law_table import LawTable

DEVICE_VMIN_PU = 0.8
"""Below it a device is no longer of constant power."""

DEVICE_VMAX_PU = 1.2
"""Above it a device is an impedance."""

DEVICE_VLOW_PU = 0.5
"""Below it a device is its nominal impedance."""


@dataclasses.dataclass(frozen=True, eq=False)
class Ports:
    """Ports of a feeder and the terminals at them, devices included.

    Ports are numbered as their first terminals are; the terminals at one port
    stand in different slots.

    Attributes:
        nodes: The two nodes of each port; the second may be `GROUND`.
            `[port, 2]`
        kv_base: Rated voltage of the port's first terminal, kV. `[port]`
        terminal_port: Port of each terminal. `[terminal]`
        terminal_slot: Slot of each terminal. `[terminal]`
        table: Load laws.
        s_nominal_kva: Nominal power, kVA, 0 for devices. `[terminal]`
    """

    nodes: IntArray
    kv_base: FloatArray
    terminal_port: IntArray
    terminal_slot: IntArray
    table: LawTable
    s_nominal_kva: ComplexArray

    def nominal_admittance(self) -> ComplexArray:
        """Nominal admittance of the loads, `[port]`, p.u."""
        total = np.zeros(len(self.kv_base), dtype=np.complex128)
        each = np.conj(self.s_nominal_kva) * self.table.ratio**2
        np.add.at(total, self.terminal_port, each)
        return total

    def layout(self, padded: int) -> tuple[IntArray, IntArray, bool]:
        """Lays the terminals out by slot and padded port.

        Args:
            padded: Number of ports with the padding.

        Returns:
            The terminal at each slot and port, `[slot, padded]`, the number
            of terminals where there is none; `slot * padded + port` of each
            terminal, `[terminal]`; whether the terminals in order fill one
            slot after the other in port order.
        """
        num_terminals, num_ports = len(self.terminal_port), len(self.kv_base)
        num_slots = int(self.terminal_slot.max()) + 1
        slot_terminal = np.full((num_slots, padded), num_terminals)
        slot_terminal[self.terminal_slot, self.terminal_port] = np.arange(num_terminals)
        place = self.terminal_slot * padded + self.terminal_port
        in_order = np.arange(num_slots)[:, None] * padded + np.arange(num_ports)
        return slot_terminal, place, np.array_equal(place, in_order.ravel())


def find_ports(feeder: Feeder, devices: bool) -> Ports:
    """Groups the terminals of a feeder by the pair of nodes that they join.

    Args:
        feeder: The feeder.
        devices: Whether to add one device terminal beside each load terminal,
            after all load terminals.

    Returns:
        The ports.
    """
    terminals = feeder.terminals
    port_of: dict[tuple[int, int], int] = {}
    pairs = zip(terminals.node_from.tolist(), terminals.node_to.tolist(), strict=True)
    load_port = np.array([port_of.setdefault(pair, len(port_of)) for pair in pairs])
    num_devices = len(terminals) if devices else 0
    port = np.concatenate([load_port, load_port[:num_devices]])
    slot = np.empty_like(port)
    taken: dict[int, int] = {}
    for k, where in enumerate(port.tolist()):
        slot[k] = taken[where] = taken.get(where, -1) + 1
    first = np.unique(load_port, return_index=True)[1]
    kv_base = terminals.kv_rated[first]
    s_nominal = np.concatenate([terminals.p_kw + 1j * terminals.q_kvar, np.zeros(num_devices)])
    return Ports(
        nodes=np.array(list(port_of)),
        kv_base=kv_base,
        terminal_port=port,
        terminal_slot=slot,
        table=_law_table(feeder, num_devices, kv_base[load_port] / terminals.kv_rated),
        s_nominal_kva=s_nominal,
    )


def _law_table(feeder: Feeder, num_devices: int, ratio: FloatArray) -> LawTable:
    terminals = feeder.terminals

    def extend(values: FloatArray | IntArray, value: float) -> FloatArray:
        return np.concatenate([values, np.full(num_devices, value)])

    device_names = tuple(f"device at {name}" for name in terminals.name[:num_devices])
    return LawTable(
        name=terminals.name + device_names,
        model=extend(terminals.model, LoadModel.CONSTANT_POWER).astype(np.int64),
        vmin_pu=extend(terminals.vmin_pu, DEVICE_VMIN_PU),
        vmax_pu=extend(terminals.vmax_pu, DEVICE_VMAX_PU),
        vlow_pu=extend(terminals.vlow_pu, DEVICE_VLOW_PU),
        cvr_p=extend(terminals.cvr_p, 1.0),
        cvr_q=extend(terminals.cvr_q, 2.0),
        zipv=np.concatenate([terminals.zipv, np.zeros((num_devices, 7))]),
        ratio=np.concatenate([ratio, ratio[:num_devices]]),
    )

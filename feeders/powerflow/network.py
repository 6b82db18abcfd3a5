"""The feeder as the tensors that the power flow runs on.

A *port* is a pair of nodes across which at least one terminal sits. With the
port voltages `u` and currents `i` in per unit, the linear part of the feeder
says `u = u_open - K i`. Part of what the nominal load does, `Y0 u`, a real
2 x 2 block at each port, is kept inside the matrix, so that the loop runs on
what is left over,

    j = i(u, s) - Y0 u,      u = c - M j,      M = (1 + K Y0)^-1 K,

and every other voltage and current of the feeder is an affine map of `j`.
The last port is a reference whose voltage is 1 and whose current is 1j: it
carries the constant terms, so that an affine map is a linear one. How these
maps are applied is the `method`: dense matrices (`dense.py`) where ports are
few, sparse factors (`sparse.py`) where they are many.

Per unit: voltage of the port's base (the rated voltage of its first
terminal), 1 kVA.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import Feeder
from gradmap.feeders.powerflow.dense import DenseMaps
from gradmap.feeders.powerflow.loads import LoadLaw
from gradmap.feeders.powerflow.pool import Pool
from gradmap.feeders.powerflow.sparse import SparseMaps
from gradmap.feeders.powerflow.sparse_taps_build import SparseTaps
from gradmap.feeders.powerflow.taps_dense import DenseTapMaps

_REAL = {torch.complex64: torch.float32, torch.complex128: torch.float64}


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A feeder at fixed taps, ready for batched power flow.

    Planar means real parts first, then imaginary parts, along the last axis.

    Attributes:
        feeder: The feeder that the tensors were made from.
        has_devices: Whether each load terminal has a device terminal too.
        is_regular: Whether the terminals, in order, fill one slot after the
            other in port order: then values are copied, not gathered.
        law: Load laws by slot and port.
        maps: From compensated port currents to everything else.
        offset: What `-Y0` adds to the loads' admittance `y`, planar, where the
            real part of the voltage multiplies it to the real part of `j`,
            then the gap to what it adds where the imaginary part does,
            `[2, 2, port]`; 1j at the reference port.
        start: Port voltages at the nominal load, `[2 port]`, p.u.
        slot_terminal: Terminal at each slot and port, `[slot, port]`; the
            number of terminals where there is none.
        terminal_place: `slot * port count + port` of each terminal,
            `[terminal]`.
        terminal_port: Port of each terminal, `[terminal]`.
        terminal_ratio: Port base over rated voltage, `[terminal]`.
        port_base_a: Current base of each port, A per p.u. `[port]`
        p_nominal_kw: Nominal active power, `[terminal]`, 0 for devices.
        q_nominal_kvar: Nominal reactive power, `[terminal]`, 0 for devices.
        rating_a: Rating of the conductors' branch, `[conductor]`, A.
        conductor_branch: Branch of each conductor, `[conductor]`.
        three_phase_node: Nodes of the buses with phases 1, 2 and 3,
            `[three-phase bus, 3]`.
        taps: What solving at taps and capacitors of each scenario's own needs,
            None if nothing can move.
        pool: Buffers of past solves, for the next.
    """

    feeder: Feeder
    has_devices: bool
    is_regular: bool
    law: LoadLaw
    maps: DenseMaps | SparseMaps
    offset: Tensor
    start: Tensor
    slot_terminal: Tensor
    terminal_place: Tensor
    terminal_port: Tensor
    terminal_ratio: Tensor
    port_base_a: Tensor
    p_nominal_kw: Tensor
    q_nominal_kvar: Tensor
    rating_a: Tensor
    conductor_branch: Tensor
    three_phase_node: Tensor
    taps: DenseTapMaps | SparseTaps | None = None
    pool: Pool = dataclasses.field(default_factory=Pool, init=False, repr=False)

    @classmethod
    def from_feeder(
        cls,
        feeder: Feeder,
        devices: bool = False,
        dtype: torch.dtype = torch.complex128,
        device: torch.device | str = "cpu",
        method: str = "auto",
    ) -> Network:
        """Builds the network of a feeder.

        Args:
            feeder: The feeder.
            devices: Whether to add one device terminal beside each load
                terminal, after all load terminals: constant power between
                0.8 and 1.2 of the load terminal's rated voltage.
            dtype: torch.complex128 or torch.complex64; set-up is in
                complex128 either way.
            device: Where the tensors go.
            method: `dense`, `sparse`, or `auto` for the one that costs less:
                dense up to 450 ports. Both give the same answer.

        Returns:
            The network.

        Raises:
            GradmapError: If the feeder has no terminal, its admittance is
                singular, a load law is not supported, or `method` unknown.
        """
        from gradmap.feeders.powerflow.assembly import assemble_network

        with torch.inference_mode(False):  # else no gradient could use the tensors
            return assemble_network(feeder, devices, method).to(device=device, dtype=dtype)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Network:
        """Moves the network to a device, a dtype or both.

        Args:
            device: Target, or `None` to stay.
            dtype: torch.complex128 or torch.complex64, or `None` to keep.

        Returns:
            The network there.

        Raises:
            GradmapError: If the dtype is not one of the two, or would claim
                digits that the network no longer has.
        """
        target = self.dtype if dtype is None else dtype
        if target not in _REAL:
            raise GradmapError(
                f"found dtype {target}, expected torch.complex128 or torch.complex64"
            )
        if target == torch.complex128 and self.dtype == torch.complex64:
            raise GradmapError(
                "a complex64 network cannot become complex128: build it again with "
                "Network.from_feeder"
            )
        place = self.device if device is None else torch.device(device)
        moved: dict[str, Any] = {
            "law": self.law.to(place, _REAL[target]),
            "maps": self.maps.to(place, _REAL[target]),
            "taps": self.taps and self.taps.to(place, _REAL[target]),
        }
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                real = _REAL[target] if value.is_floating_point() else None
                moved[field.name] = value.to(device=place, dtype=real)
        return dataclasses.replace(self, **moved)

    @property
    def method(self) -> str:
        """`dense` or `sparse`: how the maps are applied."""
        return self.maps.method

    @property
    def dense(self) -> DenseMaps:
        """The maps as dense matrices, for what needs the matrices themselves.

        Raises:
            GradmapError: If the network is sparse.
        """
        if not isinstance(self.maps, DenseMaps):
            raise GradmapError(
                f"feeder {self.feeder.name} with {self.num_ports} ports is a sparse network; what "
                "was asked needs its dense matrices: build it with method='dense', if memory allows"
            )
        return self.maps

    @property
    def node(self) -> Tensor:
        """See `DenseMaps.node`; refused for a sparse network."""
        return self.dense.node

    @property
    def conductor(self) -> Tensor:
        """See `DenseMaps.conductor`; refused for a sparse network."""
        return self.dense.conductor

    @property
    def bytes_of_matrices(self) -> int:
        """Memory of the maps, once, whatever the batch."""
        return self.maps.num_bytes

    @property
    def bytes_per_scenario(self) -> int:
        """Memory of a solution with its gradient, for each scenario, in bytes.

        Powers, port voltages and port currents, and, in a sparse network, the
        node voltages that everything else is computed from. What is read of
        a solution comes on top; the loop's own buffers do not, as they are
        those of one chunk of the batch.
        """
        numbers = 2 * self.num_terminals + 4 * self.num_padded_ports
        return numbers * self.start.element_size() + self.maps.image_bytes

    @property
    def dtype(self) -> torch.dtype:
        """Complex dtype of voltages and currents."""
        is_double = self.start.dtype == torch.float64
        return torch.complex128 if is_double else torch.complex64

    @property
    def real_dtype(self) -> torch.dtype:
        """Real dtype that goes with `dtype`."""
        return self.start.dtype

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.start.device

    @property
    def num_terminals(self) -> int:
        """Number of terminals, devices included."""
        return self.terminal_port.shape[0]

    @property
    def num_load_terminals(self) -> int:
        """Number of load terminals; they come first."""
        return len(self.feeder.terminals)

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.feeder.num_nodes

    @property
    def num_ports(self) -> int:
        """Number of ports, without the reference and the padding."""
        return self.port_base_a.shape[0]

    @property
    def num_padded_ports(self) -> int:
        """Number of ports in the matrices; the last is the reference."""
        return self.start.shape[0] // 2

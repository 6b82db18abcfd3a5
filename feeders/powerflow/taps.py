"""Taps and capacitors of each scenario's own, by an update of low rank.

What a tap or capacitor changes lies between the few wires of its element. With
`w` the voltages there, the element draws `i = D w` more than at the taps of the
network, where `D` is the change of its admittance, and

    w = w0 - W i,      i = (1 + D W)^-1 D w0 =: A w0,

where `w0` is what the port currents alone would cause, an affine map of `j`
like every other. So each map of the network is mended by a product with `A`, a
matrix of some 40 by 40 for IEEE 123, which is found once for each scenario.

The wires are not taken by themselves but in a basis in which the stiff
direction of a regulator, the difference between its sides, stands alone: a
regulator's admittance is some thousand siemens, and what it carries is the
small difference of two large voltages (`elements_build.py`). `A` and all that is
read of a solution are in float64 whatever the network; the loop runs in the
network's own precision.

This is what dense (`taps_dense.py`) and sparse networks (`sparse_taps.py`) share.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from gradmap.feeders.powerflow.dense import DenseMaps
from gradmap.feeders.powerflow.sparse import SparseMaps

_BY_SCENARIO = ("taps", "capacitors", "gain", "answer")


@dataclasses.dataclass(frozen=True, eq=False)
class TapMaps:
    """What the low-rank update needs of any network, float64 but for the loop's.

    Rows are multiplied from the right, planar, as in `DenseMaps`; `wire` counts
    the basis, regulators' wires first.

    Attributes:
        into: From `j` to `w0`, V, `[2 port, 2 wire]`.
        loop_into: The same in the network's precision.
        own: From `i`, A, to what it takes from `w`, V, `[2 wire, 2 wire]`.
        step: From `i` to port voltages, `[2 wire, 2 port]`.
        loop_step: The same in the network's precision.
        basis: The basis, `[wire, wire]`, orthonormal: its columns by wires.
        fixed: Part of the elements' admittance that no gain moves, acting on
            columns, planar, S, `[2 wire, 2 wire]`.
        linear: Part that goes with the gain.
        square: Part that goes with its square.
        is_series: 1 where the element is a branch, `[2 wire]`.
        element: Element of each row of `fixed`, `[2 wire]`.
        gain: Gain of each element in the network, `[element]`.
        tap_step_pu: Turns ratio of one tap position, `[regulator]`.
        num_regulators: Regulators among the elements; they come first.
    """

    into: Tensor
    loop_into: Tensor
    own: Tensor
    step: Tensor
    loop_step: Tensor
    basis: Tensor
    fixed: Tensor
    linear: Tensor
    square: Tensor
    is_series: Tensor
    element: Tensor
    gain: Tensor
    tap_step_pu: Tensor
    num_regulators: int

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """Moves everything to a device, and the loop's matrices to a real dtype."""
        moved = {
            field.name: value.to(device)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        moved |= {
            "loop_into": self.into.to(device, dtype),
            "loop_step": self.step.to(device, dtype),
        }
        return dataclasses.replace(self, **moved)  # type: ignore[arg-type]

    @functools.cached_property
    def regulators_alone(self) -> Self:
        """The same without the capacitors' wires, for when none is switched."""
        return self.first_wires(self._num_regulator_wires)

    @property
    def num_wires(self) -> int:
        """Wires in all."""
        return len(self.element) // 2

    @property
    def _num_regulator_wires(self) -> int:
        return int((self.element[: self.num_wires] < self.num_regulators).sum())

    def first_wires(self, kept: int) -> Self:
        """The same with the first wires alone.

        Args:
            kept: How many.
        """
        both = self.planar_rows(kept)
        square = {
            name: getattr(self, name)[both][:, both]
            for name in ("own", "fixed", "linear", "square")
        }
        tall = {
            name: getattr(self, name)[both]
            for name in ("step", "loop_step", "is_series", "element")
        }
        return dataclasses.replace(
            self,
            into=self.into[:, both].contiguous(),
            loop_into=self.loop_into[:, both].contiguous(),
            basis=self.basis[:kept, :kept],
            **square,
            **tall,
        )

    def planar_rows(self, kept: int) -> Tensor:
        """Where the first wires' real and imaginary parts lie. `[2 kept]`

        Args:
            kept: How many.
        """
        rows = torch.arange(self.num_wires, device=self.into.device)[:kept]
        return torch.cat((rows, rows + self.num_wires))

    def admittance_change(self, gain: Tensor) -> Tensor:
        """`D`, acting on columns, `[batch, 2 wire, 2 wire]`, of gains `[batch, element]`."""
        first = (gain - self.gain)[:, self.element].unsqueeze(2)
        second = (gain.square() - self.gain.square())[:, self.element].unsqueeze(2)
        return first * self.linear + second * self.square

    def admittance(self, gain: Tensor) -> Tensor:
        """The elements' whole admittance, likewise."""
        by_wire = gain[:, self.element].unsqueeze(2)
        return self.fixed + by_wire * self.linear + by_wire.square() * self.square

    def answer(self, gain: Tensor) -> Tensor:
        """`A`, acting on rows, `[batch, 2 wire, 2 wire]`."""
        change = self.admittance_change(gain)
        system = change @ self.own.T
        system.diagonal(dim1=1, dim2=2).add_(1.0)
        found: Tensor = torch.linalg.solve(system, change)
        return found.transpose(1, 2).contiguous()


@dataclasses.dataclass(frozen=True, eq=False)
class TappedMaps(abc.ABC):
    """The maps of a network at the taps of each scenario.

    The interface is that of `DenseMaps`, for one batch.

    Attributes:
        base: The network's own maps.
        static: What the update needs of the network.
        taps: Tap positions, `[batch, regulator]`, int64.
        capacitors: Whether each capacitor is on, `[batch, capacitor]`, bool.
        gain: Gain of each element, `[batch, element]`, float64.
        answer: `A`, `[batch, 2 wire, 2 wire]`, float64, acting on rows.
    """

    base: DenseMaps | SparseMaps
    static: TapMaps
    taps: Tensor
    capacitors: Tensor
    gain: Tensor
    answer: Tensor

    @functools.cached_property
    def _loop_answer(self) -> Tensor:
        return self.answer.to(self.static.loop_into.dtype)

    def rows(self, which: slice | Tensor) -> Self:
        """The maps of some of the scenarios."""
        some: dict[str, Any] = {name: getattr(self, name)[which] for name in _BY_SCENARIO}
        return dataclasses.replace(self, **some)

    @classmethod
    def stack(cls, each: Sequence[Self], lead: torch.Size, dim: int) -> Self:
        """Joins the maps of several batches of the same leading shape along a new axis."""

        def joined(name: str) -> Tensor:
            parts = [getattr(one, name) for one in each]
            shaped = [part.reshape(*lead, *part.shape[1:]) for part in parts]
            return torch.stack(shaped, dim).flatten(0, len(lead))

        together: dict[str, Any] = {name: joined(name) for name in _BY_SCENARIO}
        return dataclasses.replace(each[0], **together)

    def replaced(self, rows: Tensor, part: Self) -> Self:
        """The maps with those of some scenarios exchanged."""
        pairs = ((name, getattr(self, name), getattr(part, name)) for name in _BY_SCENARIO)
        changed: dict[str, Any] = {
            name: whole.index_copy(0, rows, some) for name, whole, some in pairs
        }
        return dataclasses.replace(self, **changed)

    def port_voltage(self, j: Tensor, out: Tensor | None = None) -> Tensor:
        """Port voltages, planar, of port currents. `[batch, 2 port]`"""
        current = self._times(torch.mm(j, self.static.loop_into), self._loop_answer)
        u = self.base.port_voltage(j, out=out)
        return u.addmm_(current, self.static.loop_step)

    def pull(self, grad_u: Tensor, add: Tensor | None = None, out: Tensor | None = None) -> Tensor:
        """Brings a gradient from port voltages to port currents; see `DenseMaps.pull`."""
        pulled = torch.mm(grad_u, self.static.loop_step.T)
        pulled = self._times(pulled, self._loop_answer.transpose(1, 2))
        back = torch.mm(pulled, self.static.loop_into.T)
        back[:, -1] = 0.0  # nothing goes to the reference port
        return self.base.pull(grad_u, add=add, out=out).add_(back)

    @abc.abstractmethod
    def adjoint_direct(self, d_re: Tensor, d_im: Tensor, right: Tensor) -> Tensor:
        """Solves the adjoint by elimination; see `DenseMaps.adjoint_direct`."""

    @abc.abstractmethod
    def image(self, j: Tensor) -> Tensor:
        """What all else is computed from, float64. `[batch, ...]`"""

    @abc.abstractmethod
    def node_voltage(self, image: Tensor) -> Tensor:
        """Node voltages, planar, per unit of the node's base. `[batch, 2 node]`"""

    @abc.abstractmethod
    def node_magnitude(self, image: Tensor) -> Tensor:
        """Magnitudes of the same, with a gradient of 0 at 0. `[batch, node]`"""

    @abc.abstractmethod
    def conductor_current(self, image: Tensor) -> Tensor:
        """Branch currents, planar, A. `[batch, 2 conductor]`"""

    @abc.abstractmethod
    def conductor_magnitude(self, image: Tensor) -> Tensor:
        """Magnitudes of the same, with a gradient of 0 at 0. `[batch, conductor]`"""

    @abc.abstractmethod
    def source_state(self, image: Tensor) -> Tensor:
        """Voltages, kV, and currents, A, at the source, planar. `[batch, 4 source node]`"""

    @abc.abstractmethod
    def losses_kw(self, image: Tensor) -> Tensor:
        """Losses of all branches, kW. `[batch]`"""

    @abc.abstractmethod
    def wire_voltage(self, image: Tensor) -> Tensor:
        """`w`, V, in the basis, float64. `[batch, 2 wire]`"""

    @abc.abstractmethod
    def watched_current(self, image: Tensor) -> Tensor:
        """Currents that capacitors' controls look at, planar, A. `[batch, 2 probe]`"""

    def wire_current(self, wire_voltage: Tensor) -> Tensor:
        """Currents into the elements, A, in the basis, float64. `[batch, 2 wire]`"""
        admittance = self.static.admittance(self.gain)
        return self._times(wire_voltage, admittance.transpose(1, 2))

    def _regulator_losses_kw(self, image: Tensor) -> Tensor:
        """Losses of the regulators by themselves, from the voltages across them. `[batch]`"""
        across = self.wire_voltage(image)
        through = self.wire_current(across) * self.static.is_series
        return 1e-3 * (across * through).sum(1)

    @staticmethod
    def _times(rows: Tensor, matrices: Tensor) -> Tensor:
        return torch.bmm(rows.unsqueeze(1), matrices).squeeze(1)

"""Tangents of the true limits of one day, around an operating point.

Every voltage and every current of the feeder is very nearly an affine complex
function of the power at the terminals. A *cut* holds one of them in one
direction of the complex plane:

    Re(e^(-j angle) I) <= rating        for a conductor,
    Re(e^(-j angle) V) <= v_max         for a node, or >= v_min.

A conductor's angle is that of the current which made the cut. As a current may
not be longer than its rating in any direction, old cuts stay true when the
current turns round. A node's angle is that of its voltage at the operating
point, which hardly turns; there the cut is the tangent of the magnitude.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from gradmap.baselines.dispatch.devices import Array
from gradmap.baselines.dispatch.responses import Response
from gradmap.baselines.dispatch.rows import UNIT, Rows
from gradmap.envs.constraints import Limits
from gradmap.feeders.powerflow.solve import PowerFlow
from gradmap.feeders.powerflow.sparse_slopes import SparseSlopes
from gradmap.feeders.powerflow.taps_dense import DenseTappedMaps

OVER, UNDER, CURRENT = 0, 1, 2
"""Kinds of cuts: voltage above its limit, below it, current above its rating."""

_ALIKE = 0.999  # cosine of two slopes of which the deeper one is enough
_SOME = 32  # limits of a sparse network whose slopes are compared at once
_TURN = 0.3  # rad: a current that has turned by less takes its old cut along


@dataclasses.dataclass(frozen=True)
class Cuts:
    """Which limits are held, in no order.

    Attributes:
        step: Step of each. `[cut]`, int64
        kind: `OVER`, `UNDER` or `CURRENT`. `[cut]`, int64
        index: Monitored node or conductor. `[cut]`, int64
        angle: Direction of a current, rad; unused for voltages. `[cut]`
    """

    step: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]
    angle: Array

    @classmethod
    def none(cls) -> Cuts:
        """Returns no cut."""
        empty = np.zeros(0, np.int64)
        return cls(empty, empty, empty, np.zeros(0))

    def plus(self, step: int, kind: int, index: int, angle: float) -> Cuts:
        """Returns these and one more."""
        more = (step, kind, index, angle)
        pairs = zip(dataclasses.astuple(self), more, strict=True)
        return Cuts(*(np.append(old, np.asarray(new, old.dtype)) for old, new in pairs))

    def only(self, kept: npt.NDArray[np.bool_]) -> Cuts:
        """Returns some of them.

        Args:
            kept: Which. `[cut]`
        """
        return Cuts(*(column[kept] for column in dataclasses.astuple(self)))

    def __len__(self) -> int:
        return len(self.step)


class Point:
    """A day's network at an operating point; numpy, float64.

    Args:
        flow: The power flow there. `[time]`
        limits: Limits of the network.

    Attributes:
        voltage: Voltage of the monitored nodes, p.u., complex. `[time, monitored]`
        current: Current of every conductor over its rating, complex. `[time, conductor]`
    """

    def __init__(self, flow: PowerFlow, limits: Limits) -> None:
        self.limits = limits
        self._flow = flow
        voltage = flow.v_pu[..., limits.monitored]
        current = flow.branch_current_a / flow.network.rating_a
        self.voltage = voltage.detach().cpu().numpy().astype(np.complex128)
        self.current = current.detach().cpu().numpy().astype(np.complex128)

    def excess(self) -> list[Array]:
        """By how much each limit is exceeded, by kind. `[time, ...]` each"""
        size = np.abs(self.voltage)
        limits = self.limits
        return [
            size - limits.vmax_pu,
            limits.vmin_pu - size,
            np.abs(self.current) - limits.loading_max,
        ]

    def left(self, cuts: Cuts, angle: Array | None = None) -> Array:
        """What each cut holds down, in its direction or another one. `[cut]`

        Args:
            cuts: The cuts.
            angle: Directions to look in; None for those of this point.
        """
        away = np.exp(-1j * (self.angles(cuts) if angle is None else angle))
        voltage, current = (
            matrix[cuts.step, np.minimum(cuts.index, matrix.shape[1] - 1)]
            for matrix in (self.voltage, self.current)
        )
        quantity = np.real(away * np.where(cuts.kind == CURRENT, current, voltage))
        found: Array = np.where(cuts.kind == UNDER, -quantity, quantity)
        return found

    def angles(self, cuts: Cuts) -> Array:
        """Direction of each cut at this point. `[cut]`"""
        nodes = np.minimum(cuts.index, self.voltage.shape[1] - 1)
        found: Array = np.where(
            cuts.kind == CURRENT, cuts.angle, np.angle(self.voltage[cuts.step, nodes])
        )
        return found

    def weights(self, cuts: Cuts) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """Each cut's left side as a sum of node voltages, p.u., and of currents, A.

        Returns:
            `[cut, 2 node]` and `[cut, 2 conductor]`, planar.
        """
        network, monitored = self._flow.network, self.limits.monitored.cpu().numpy()
        rating = network.rating_a.cpu().double().numpy()
        angle, is_current = self.angles(cuts), cuts.kind == CURRENT
        volts, amps = np.flatnonzero(~is_current), np.flatnonzero(is_current)
        sign = np.where(cuts.kind == UNDER, -1.0, 1.0)

        def rows(own: Any, place: Any, unit: Array, size: int) -> sp.csr_matrix:
            value = np.concatenate([unit * np.cos(angle[own]), unit * np.sin(angle[own])])
            at = (np.tile(own, 2), np.concatenate([place, place + size]))
            return sp.csr_matrix((value, at), (len(cuts), 2 * size))

        nodes, conductors = monitored[cuts.index[volts]], cuts.index[amps]
        return (
            rows(volts, nodes, sign[volts], network.num_nodes),
            rows(amps, conductors, 1.0 / rating[conductors], len(rating)),
        )

    def columns(self, cuts: Cuts) -> Array:
        """What a port current adds to each cut's left side, dense. `[cut, 2 port]`"""
        angle, found = self.angles(cuts), np.empty((len(cuts), self._flow.j.shape[-1]))
        for matrix, is_own in zip(
            self._matrices, (cuts.kind != CURRENT, cuts.kind == CURRENT), strict=True
        ):
            real, imaginary = np.split(matrix, 2, axis=-1)
            index, turn = cuts.index[is_own], angle[is_own][:, None]
            if matrix.ndim == 2:  # one for all steps
                real, imaginary = real[:, index].T, imaginary[:, index].T
            else:
                step = cuts.step[is_own]
                real, imaginary = real[step, :, index], imaginary[step, :, index]
            found[is_own] = np.cos(turn) * real + np.sin(turn) * imaginary
        found[cuts.kind == UNDER] *= -1.0
        return found

    @functools.cached_property
    def _matrices(self) -> tuple[Array, Array]:
        """From port currents to monitored voltages and to loadings, `[..., 2 port, out]`.

        With a leading axis of steps where each has taps of its own: made once,
        as every step asks for them.
        """
        network, monitored = self._flow.network, self.limits.monitored
        tapped = self._flow.tapped
        if tapped is None:
            node = network.node[:, torch.cat((monitored, monitored + network.num_nodes))]
            conductor = network.conductor
        else:
            assert isinstance(tapped, DenseTappedMaps)
            node, conductor = tapped.node_matrix(monitored), tapped.conductor_matrix()
        conductor = conductor / network.rating_a.repeat(2)
        return node.cpu().double().numpy(), conductor.cpu().double().numpy()


@dataclasses.dataclass(frozen=True)
class Tangents:
    """Cuts as rows of a dispatch problem.

    Attributes:
        cuts: The cuts.
        rows: The same as rows.
        slot: Slot of each cut in its step's rows. `[cut]`
        slope: Change of each left side with a group's power, per kW. `[cut, group]`
        at: Left side at no power of any group. `[cut]`
        ends: What each left side may be at most. `[cut]`
        angle: Direction of each cut. `[cut]`
    """

    cuts: Cuts
    rows: Rows
    slot: npt.NDArray[np.int64]
    slope: Array
    at: Array
    ends: Array
    angle: Array


def slopes(point: Point, response: Response, cuts: Cuts) -> Array:
    """Change of each cut's left side with the groups' power, per kW. `[cut, group]`

    Args:
        point: The operating point.
        response: From `responses`.
        cuts: The cuts.
    """
    steps = [(int(t), cuts.step == t) for t in np.unique(cuts.step)]
    if isinstance(response, SparseSlopes):
        found = np.zeros((len(cuts), response.num_columns))
        of_node, of_conductor = point.weights(cuts)
        for t, own in steps:
            found[own] = response.pull(t, of_node[own], of_conductor[own])
        return found
    found, columns = np.zeros((len(cuts), response.shape[1])), point.columns(cuts)
    for t, own in steps:
        found[own] = columns[own] @ response[t].T
    return found


def tangents(
    point: Point, response: Response, group_kw: Array, cuts: Cuts, margin: float
) -> Tangents:
    """Writes cuts as rows of a dispatch problem.

    Args:
        point: The operating point.
        response: From `responses`.
        group_kw: Power of the groups there. `[time, group]`
        cuts: The cuts.
        margin: How far inside the limits to stay.
    """
    limits = point.limits
    slope = slopes(point, response, cuts)
    slot = np.zeros(len(cuts), np.int64)
    for t in np.unique(cuts.step):
        own = cuts.step == t
        slot[own] = np.arange(own.sum())
    at = point.left(cuts) - (slope * group_kw[cuts.step]).sum(1)
    ends = np.array([limits.vmax_pu, -limits.vmin_pu, limits.loading_max])[cuts.kind]
    shape = (len(group_kw), int(slot.max(initial=0)) + 1)
    rows = Rows(np.zeros((*shape, slope.shape[1])), np.ones(shape), np.zeros(shape, bool))
    rows.per_kw[cuts.step, slot] = slope / UNIT
    rows.right[cuts.step, slot] = (ends - margin - at) / UNIT
    rows.is_used[cuts.step, slot] = True
    return Tangents(cuts, rows, slot, slope, at, ends, point.angles(cuts))


def add_cuts(
    cuts: Cuts, point: Point, response: Response, tolerance: float, num: tuple[int, int]
) -> Cuts:
    """Adds cuts where a point exceeds its limits, the deepest first.

    Args:
        cuts: The cuts so far.
        point: The point.
        response: From `responses`, at any point near by.
        tolerance: Excess that needs no cut.
        num: Voltages and currents to add in one step, at most.
    """
    cuts = dataclasses.replace(cuts, angle=cuts.angle.copy())
    for kind, excess in enumerate(point.excess()):
        for t in np.flatnonzero((excess > tolerance).any(1)).tolist():
            held = np.flatnonzero((cuts.step == t) & (cuts.kind == kind))
            order = np.argsort(-excess[t], kind="stable")[: int((excess[t] > tolerance).sum())]
            wanted = [int(k) for k in order if not _is_held(cuts, held, point, k)]
            most = num[kind == CURRENT]
            for k in _distinct(point, response, t, kind, wanted, most):
                angle = float(np.angle(point.current[t, k])) if kind == CURRENT else 0.0
                cuts = cuts.plus(int(t), kind, k, angle)
    return cuts


def _is_held(cuts: Cuts, held: npt.NDArray[np.int64], point: Point, k: int) -> bool:
    """Whether one of the cuts `held` is this limit's; a current's is turned to it."""
    for cut in held[cuts.index[held] == k]:
        if cuts.kind[cut] != CURRENT:
            return True
        angle = float(np.angle(point.current[cuts.step[cut], k]))
        if abs((angle - cuts.angle[cut] + np.pi) % (2 * np.pi) - np.pi) < _TURN:
            cuts.angle[cut] = angle
            return True
    return False


def _distinct(
    point: Point, response: Response, t: int, kind: int, wanted: list[int], num: int
) -> list[int]:
    """The deepest limits of one step, none of them like a deeper one."""
    if not wanted:
        return []
    # A sparse network has a solve for each slope: those of the deepest limits alone, mostly.
    size = _SOME if isinstance(response, SparseSlopes) else len(wanted)
    chosen: list[int] = []
    kept: list[Array] = []
    for first in range(0, len(wanted), size):
        index = np.array(wanted[first : first + size], np.int64)
        angle = np.angle(point.current[t, index]) if kind == CURRENT else np.zeros(len(index))
        each = Cuts(np.full(len(index), t), np.full(len(index), kind), index, angle)
        slope = slopes(point, response, each)
        slope /= np.maximum(np.linalg.norm(slope, axis=1), 1e-30)[:, None]
        is_open = np.ones(len(index), bool)
        for other in kept:
            is_open &= slope @ other < _ALIKE
        while is_open.any() and len(chosen) < num:
            k = int(np.argmax(is_open))
            chosen.append(int(index[k]))
            kept.append(slope[k])
            is_open &= slope @ slope[k] < _ALIKE
            is_open[k] = False
        if len(chosen) == num:
            break
    return chosen

"""The few limits of the network that a dispatch problem holds explicitly.

A feeder has hundreds of limits in every step and only a few of them bind. The
problem begins without any; those that its solution exceeds are added, the
deepest first and not two that say nearly the same, and it is solved again.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from gradmap.baselines.dispatch.devices import Array

UNIT = 1e-3
"""Unit of a row: 0.001 p.u. of a voltage or of a branch's rating."""

_ALIKE = 0.999  # cosine of two rows of which the deeper one is enough


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which limits are rows. Slots are filled from the first on.

    Attributes:
        limit: Index of the limit in each slot, -1 where there is none.
            `[batch, time, slot]`
        is_high: Whether it is its upper end.
    """

    limit: npt.NDArray[np.int64]
    is_high: npt.NDArray[np.bool_]

    @classmethod
    def empty(cls, batch: int, time: int) -> Choice:
        """Returns a choice of no limit."""
        shape = (batch, time, 1)
        return cls(np.full(shape, -1), np.zeros(shape, bool))

    @property
    def num_rows(self) -> int:
        """Number of rows in all."""
        return int((self.limit >= 0).sum())


@dataclasses.dataclass(frozen=True)
class Rows:
    """A day's rows `per_kw @ group power <= right`, in `UNIT`.

    Attributes:
        per_kw: Coefficients, 0 in empty slots. `[time, slot, group]`
        right: Right side; 1 in empty slots. `[time, slot]`
        is_used: Whether a slot holds a row. `[time, slot]`
    """

    per_kw: Array
    right: Array
    is_used: npt.NDArray[np.bool_]


def fill_rows(
    choice: Choice, value: Array, per_kw: Array, group_kw: Array, low: Array, high: Array
) -> list[Rows]:
    """Writes the rows of a linear model, those of each day in turn.

    Args:
        choice: Which limits.
        value: Limits' quantities at the operating point. `[batch, time, limit]`
        per_kw: Their slopes. `[batch or 1, time or 1, limit, group]`
        group_kw: Operating point. `[batch, time, group]`
        low: Lower ends. `[limit]`
        high: Upper ends. `[limit]`
    """
    batch, time, _ = choice.limit.shape
    is_used, index = choice.limit >= 0, np.maximum(choice.limit, 0)
    sign = np.where(choice.is_high, 1.0, -1.0)
    b = np.arange(batch)[:, None, None] if per_kw.shape[0] > 1 else 0
    t = np.arange(time)[:, None] if per_kw.shape[1] > 1 else 0
    slope = np.where(is_used, sign, 0.0)[..., None] * per_kw[b, t, index] / UNIT
    at = np.take_along_axis(value, index, axis=2)
    room = np.where(choice.is_high, high[index] - at, at - low[index]) / UNIT
    right = room + np.matmul(slope, group_kw[..., None])[..., 0]
    right = np.where(is_used, right, 1.0)
    return [Rows(*day) for day in zip(slope, right, is_used, strict=True)]


def extend(
    choice: Choice, excess: Array, per_kw: Array, is_high: npt.NDArray[np.bool_], num: int
) -> tuple[Choice, int]:
    """Adds the limits that are exceeded most.

    Args:
        choice: The rows so far.
        excess: By how much each limit is exceeded; 0 and below is inside.
            `[batch, time, limit]`
        per_kw: Slopes. `[batch or 1, time or 1, limit, group]`
        is_high: Whether it is the upper end that is exceeded, like `excess`.
        num: Rows to add in one step of one day, at most.

    Returns:
        The choice with more rows, and how many were added.
    """
    batch, time, _ = excess.shape
    found: dict[tuple[int, int], list[int]] = {}
    excess = excess.copy()
    for b, t, slot in zip(*np.nonzero(choice.limit >= 0), strict=True):
        index = choice.limit[b, t, slot]
        if choice.is_high[b, t, slot] == is_high[b, t, index]:
            excess[b, t, index] = 0.0
    for b, t in zip(*np.nonzero((excess > 0).any(2)), strict=True):
        slopes = per_kw[min(b, len(per_kw) - 1), min(t, per_kw.shape[1] - 1)]
        found[b, t] = _distinct(excess[b, t], slopes, num)
    added = sum(map(len, found.values()))
    if not added:
        return choice, 0
    filled = (choice.limit >= 0).sum(2)
    slots = max(filled[cell] + len(new) for cell, new in found.items())
    slots = max(slots, choice.limit.shape[2])
    limit = np.full((batch, time, slots), -1)
    high = np.zeros((batch, time, slots), bool)
    old = choice.limit.shape[2]
    limit[..., :old], high[..., :old] = choice.limit, choice.is_high
    for (b, t), new in found.items():
        place = slice(filled[b, t], filled[b, t] + len(new))
        limit[b, t, place], high[b, t, place] = new, is_high[b, t, new]
    return Choice(limit, high), added


def _distinct(excess: Array, slopes: Array, num: int) -> list[int]:
    """The deepest limits of one step, none of them like a deeper one."""
    order = np.argsort(-excess)[: int((excess > 0).sum())]
    chosen: list[int] = []
    near = slopes[order] / np.maximum(np.linalg.norm(slopes[order], axis=1), 1e-30)[:, None]
    is_open = np.ones(len(order), bool)
    while is_open.any() and len(chosen) < num:
        k = int(np.argmax(is_open))
        chosen.append(int(order[k]))
        is_open &= near @ near[k] < _ALIKE
        is_open[k] = False
    return chosen

"""A set of scenario days on one feeder, as plain arrays."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gradmap.envs.scenarios.config import ScenarioConfig
from gradmap.feeders.errors import GradmapError, raise_faults

__all__ = [
    "PER_STEP",
    "PER_TERMINAL",
    "SPLITS",
    "Float32Array",
    "IntArray",
    "ScenarioConfig",
    "ScenarioSet",
]

Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

SPLITS = ("train", "validation", "test")
"""Names that a day's split can have."""

PER_TERMINAL = ("base_p_kw", "base_q_kvar", "pv_kw")
PER_STEP = ("temp_outdoor_degc", "tariff_usd_per_kwh")


@dataclasses.dataclass(frozen=True, eq=False)
class ScenarioSet:
    """Days of base load, photovoltaics, weather and prices.

    The arrays are copied to float32 and made read-only. Power is positive
    when drawn from the network, except `pv_kw`, which counts what is fed in.

    Attributes:
        date: ISO date of every day. `[day]`
        split: `train`, `validation` or `test`. `[day]`
        base_p_kw: Active power drawn by the base load. `[day, time, terminal]`
        base_q_kvar: Reactive power of the base load. `[day, time, terminal]`
        pv_kw: Photovoltaic generation, never negative. `[day, time, terminal]`
        temp_outdoor_degc: Outdoor temperature. `[day, time]`
        tariff_usd_per_kwh: Price of energy. `[day, time]`
        dt_hours: Length of a step, hours.
        terminal_names: Names of the feeder's load terminals. `[terminal]`

    Raises:
        GradmapError: If shapes, dates, splits or numbers do not fit; all
            faults are named at once.
    """

    date: tuple[str, ...]
    split: tuple[str, ...]
    base_p_kw: Float32Array
    base_q_kvar: Float32Array
    pv_kw: Float32Array
    temp_outdoor_degc: Float32Array
    tariff_usd_per_kwh: Float32Array
    dt_hours: float
    terminal_names: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("date", "split", "terminal_names"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in PER_TERMINAL + PER_STEP:
            array = np.array(getattr(self, name), dtype=np.float32)  # a copy: not the caller's
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        raise_faults("scenario set", _faults(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Unpickled arrays come back writable; freeze them again.
        for name, value in state.items():
            object.__setattr__(self, name, value)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    @property
    def num_days(self) -> int:
        """Number of days."""
        return len(self.date)

    @property
    def num_steps(self) -> int:
        """Steps of a day."""
        return int(self.temp_outdoor_degc.shape[1])

    @property
    def num_terminals(self) -> int:
        """Number of load terminals."""
        return len(self.terminal_names)

    def days(self, split: str) -> IntArray:
        """Returns the indices of a split's days, in order. `[day]`

        Args:
            split: `train`, `validation` or `test`.

        Raises:
            GradmapError: If there is no split of that name.
        """
        if split not in SPLITS:
            raise GradmapError(f"unknown split {split!r}; expected one of {', '.join(SPLITS)}")
        return np.array([i for i, name in enumerate(self.split) if name == split], dtype=np.int64)

    def subset(self, days: Sequence[int] | IntArray) -> ScenarioSet:
        """Returns a set of some of the days, in the order given.

        Args:
            days: Indices of the days, each at most once. `[day]`

        Raises:
            GradmapError: If an index is out of range, repeated or not whole.
        """
        index = np.asarray(days)
        if index.size == 0:
            index = index.astype(np.int64)
        if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer):
            raise GradmapError(
                f"days is {index.dtype} of shape {index.shape}; expected a list of whole numbers"
            )
        wrong = index[(index < 0) | (index >= self.num_days)]
        if wrong.size:
            raise GradmapError(f"no day {wrong[0]}; the set has days 0 to {self.num_days - 1}")
        arrays = {name: getattr(self, name)[index] for name in PER_TERMINAL + PER_STEP}
        return dataclasses.replace(
            self,
            date=tuple(self.date[i] for i in index),
            split=tuple(self.split[i] for i in index),
            **arrays,
        )


def _faults(scenarios: ScenarioSet) -> list[str]:
    """Says all that is wrong with a set."""
    faults = _day_faults(scenarios) + _shape_faults(scenarios)
    dt_hours, num_steps = scenarios.dt_hours, scenarios.temp_outdoor_degc.shape[-1:]
    if not (math.isfinite(dt_hours) and dt_hours > 0):
        faults.append(f"dt_hours is {dt_hours}; expected a length above 0")
    elif num_steps and num_steps[0] * dt_hours > 24 + 1e-6:
        faults.append(f"{num_steps[0]} steps of {dt_hours:g} h are longer than a day")
    for name in PER_TERMINAL + PER_STEP:
        array = getattr(scenarios, name)
        faults += _value_faults(scenarios, name, ~np.isfinite(array), "NaN or infinite")
        if name == "pv_kw":
            faults += _value_faults(scenarios, name, array < 0, "negative")
    return faults


def _is_iso(date: str) -> bool:
    try:
        return datetime.date.fromisoformat(date).isoformat() == date
    except (TypeError, ValueError):
        return False


def _day_faults(scenarios: ScenarioSet) -> list[str]:
    faults = []
    if len(scenarios.split) != len(scenarios.date):
        faults.append(f"{len(scenarios.date)} dates but {len(scenarios.split)} splits")
    unknown = sorted(set(scenarios.split) - set(SPLITS))
    if unknown:
        faults.append(f"unknown split {', '.join(unknown)}; expected {', '.join(SPLITS)}")
    for date in scenarios.date:
        if not _is_iso(date):
            faults.append(f"{date!r} is not a date such as 2016-01-31")
    for date, count in Counter(scenarios.date).items():
        if count > 1:
            pairs = zip(scenarios.date, scenarios.split, strict=False)
            where = sorted({split for day, split in pairs if day == date})
            faults.append(
                f"date {date} occurs {count} times"
                + (f" and lies in {' and '.join(where)}" if len(where) > 1 else "")
            )
    for name, count in Counter(scenarios.terminal_names).items():
        if count > 1:
            faults.append(f"terminal {name} occurs {count} times")
    return faults


def _shape_faults(scenarios: ScenarioSet) -> list[str]:
    num_days = len(scenarios.date)
    temp = scenarios.temp_outdoor_degc
    num_steps = temp.shape[1] if temp.ndim == 2 else 0
    faults = []
    for name in PER_STEP + PER_TERMINAL:
        expected: tuple[int, ...] = (num_days, num_steps)
        if name in PER_TERMINAL:
            expected += (len(scenarios.terminal_names),)
        shape = getattr(scenarios, name).shape
        if shape != expected or num_steps == 0:
            axes = ("day", "time", "terminal")[: len(expected)]
            sizes = [str(n) if n else "?" for n in expected]
            wanted = ", ".join(f"{a} {n}" for a, n in zip(axes, sizes, strict=True))
            faults.append(f"{name} has shape {list(shape)}; expected [{wanted}]")
    return faults


def _value_faults(
    scenarios: ScenarioSet, name: str, wrong: npt.NDArray[np.bool_], what: str
) -> list[str]:
    """Names the first wrong number of an array and counts the others."""
    if not wrong.any():
        return []
    place = [int(i) for i in np.argwhere(wrong)[0]] if wrong.ndim else []
    labels = []
    for axis, i in zip(("day", "step", "terminal"), place, strict=False):
        known = {"day": scenarios.date, "terminal": scenarios.terminal_names}.get(axis, ())
        labels.append(f"{axis} {known[i] if i < len(known) else i}")
    more = int(wrong.sum()) - 1
    return [f"{name} is {what} at {', '.join(labels)}" + (f" and {more} more" if more else "")]

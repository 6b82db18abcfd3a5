"""A user's own weather or tariff from a CSV file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gradmap.feeders.errors import GradmapError, raise_faults

if TYPE_CHECKING:
    import pandas as pd

MINUTES = 1440
"""Minutes of a day."""

_SHOWN = 3  # examples of each fault in the message
_OFFSET = r"[T ].*(?:[zZ]|[+-]\d\d(?::?\d\d)?)$"


def read_series(
    path: str,
    column: str,
    dates: Sequence[str],
    steps_per_day: int,
    limits: tuple[float, float],
) -> npt.NDArray[np.float64]:
    """Reads a quantity for every step of every day.

    The file has a header with `time` and `column`; other columns and the rows
    of other days are ignored, and rows may come in any order. `time` is the
    local clock in ISO form, without an offset, at the start of the interval.
    The resolution is constant; rows finer than a step are averaged, coarser
    ones repeated.

    Args:
        path: The file.
        column: Name of the column with the quantity.
        dates: ISO dates of the days wanted. `[day]`
        steps_per_day: Steps of a day.
        limits: Lowest and highest plausible value.

    Returns:
        The quantity. `[day, time]`

    Raises:
        GradmapError: If anything is missing, repeated, not a number, or out
            of the limits; all faults are named at once.
    """
    step = MINUTES // steps_per_day
    rows, resolution = _checked_rows(path, column, dates, step, limits)
    # One of the two does nothing: copies of coarser rows, averages of finer ones.
    copies = np.repeat(rows, max(1, resolution // step), axis=1)
    means: npt.NDArray[np.float64] = copies.reshape(len(dates), steps_per_day, -1).mean(axis=2)
    return means


def _checked_rows(
    path: str, column: str, dates: Sequence[str], step: int, limits: tuple[float, float]
) -> tuple[npt.NDArray[np.float64], int]:
    """Returns the rows of the wanted days, `[day, row]`, and their minutes."""
    table = _read_table(path, column)
    times, values, faults = _parse(table, column)
    resolution = _resolution(times)
    if resolution is None or MINUTES % resolution or (step % resolution and resolution % step):
        found = "no resolution" if resolution is None else f"{resolution} minutes between rows"
        faults.append(f"{found}; expected a whole fraction or multiple of the {step}-minute step")
        raise GradmapError(f"{path}: " + "; ".join(faults))
    own = np.isin(times.astype("datetime64[D]"), np.array(dates, dtype="datetime64[D]"))
    times, values, text = times[own], values[own], table[column].to_numpy()[own]
    faults += _coverage_faults(times, dates, resolution)
    faults += _number_faults(times, values, text, column, limits)
    if faults:
        faults.append(
            f"give one row every {resolution} minutes of every day from {dates[0]} to "
            f"{dates[-1]} but the days when the clock changes, in local time"
        )
        raise_faults(path, faults)
    return values[np.argsort(times)].reshape(len(dates), -1), resolution


def _read_table(path: str, column: str) -> pd.DataFrame:
    import pandas as pd  # here, since most sets are built without a user's file

    try:
        table = pd.read_csv(path, dtype=str, encoding="utf-8-sig", skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise GradmapError(f"{path}: cannot read it as CSV: {error}") from error
    missing = [name for name in ("time", column) if name not in table.columns]
    if missing:
        found = ", ".join(str(name) for name in table.columns[:8])
        raise GradmapError(f"{path}: no column {' or '.join(missing)}; found {found}")
    return table


def _parse(
    table: pd.DataFrame, column: str
) -> tuple[npt.NDArray[np.datetime64], npt.NDArray[np.float64], list[str]]:
    """Returns times, values with NaN where there is no number, and faults."""
    import pandas as pd

    text = table["time"].fillna("")
    offset = text.str.contains(_OFFSET)
    parsed = pd.to_datetime(text.mask(offset), format="ISO8601", errors="coerce")
    faults = []
    if offset.any():
        faults.append(_list("times with an offset, where local ones are due", list(text[offset])))
    unread = parsed.isna() & ~offset
    if unread.any():
        faults.append(_list("unreadable times", [repr(t) for t in text[unread]]))
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
    return parsed.to_numpy("datetime64[s]"), values, faults


def _resolution(times: npt.NDArray[np.datetime64]) -> int | None:
    """Returns the commonest distance of two rows in minutes, if whole."""
    known = np.unique(times[~np.isnat(times)])
    if len(known) < 2:
        return None
    gaps, counts = np.unique(np.diff(known).astype(np.int64), return_counts=True)
    seconds = int(gaps[counts.argmax()])
    return None if seconds % 60 else seconds // 60


def _coverage_faults(
    times: npt.NDArray[np.datetime64], dates: Sequence[str], resolution: int
) -> list[str]:
    midnights = np.array(dates, dtype="datetime64[m]")
    within_day = np.arange(0, MINUTES, resolution).astype("timedelta64[m]")
    wanted = (midnights[:, None] + within_day).ravel()
    faults = []
    unique, counts = np.unique(times, return_counts=True)
    for what, found in (
        ("missing rows", np.setdiff1d(wanted, unique)),
        ("repeated times", unique[counts > 1]),
        (f"times off the {resolution}-minute grid", np.setdiff1d(unique, wanted)),
    ):
        if len(found):
            faults.append(_list(what, [_clock(t) for t in found]))
    return faults


def _number_faults(
    times: npt.NDArray[np.datetime64],
    values: npt.NDArray[np.float64],
    text: npt.NDArray[Any],
    column: str,
    limits: tuple[float, float],
) -> list[str]:
    faults = []
    low, high = limits
    bad = ~np.isfinite(values)
    outside = ~bad & ((values < low) | (values > high))
    for what, rows in (
        (f"{column} not a number", bad),
        (f"{column} outside {low:g} to {high:g}", outside),
    ):
        if rows.any():
            pairs = zip(times[rows], text[rows], strict=True)
            faults.append(_list(what, [f"{_clock(t)} ({_cell(x)})" for t, x in pairs]))
    return faults


def _cell(value: Any) -> str:
    return "empty" if isinstance(value, float) and math.isnan(value) else repr(str(value))


def _clock(time: np.datetime64) -> str:
    return str(time.astype("datetime64[m]"))


def _list(what: str, found: Sequence[Any]) -> str:
    """Names the first few and says how many there are."""
    shown = ", ".join(str(x) for x in list(found)[:_SHOWN])
    return f"{len(found)} {what}: {shown}" + (", ..." if len(found) > _SHOWN else "")

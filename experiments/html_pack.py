"""Large arrays made small for the HTML report, and the days that it shows."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

VOLTAGE_QUANTUM = 2e-4
"""Step to which voltages of the report are rounded, p.u.: a fiftieth of a percent."""

MISSING = 0xFFFF
"""What stands for a value that is not there."""


def pack(values: npt.NDArray[np.floating], quantum: float) -> dict[str, Any]:
    """Rounds an array to whole multiples of a quantum, and deflates it.

    Neighbours in time differ little, so differences along time are kept, low
    bytes and high bytes apart: a tenth of the size of the float32.

    Args:
        values: Values of 0 or more, below 65,535 quanta; NaN is kept. `[block, time, width]`
        quantum: The step.

    Returns:
        `shape`, `quantum` and `data`: zlib's deflate of 16-bit words in base 64.
    """
    scaled = np.round(np.asarray(values, np.float64) / quantum)
    words = np.where(np.isfinite(scaled), np.clip(scaled, 0, MISSING - 1), MISSING)
    words = words.astype(np.int64)
    steps = np.diff(words, axis=1, prepend=0).astype(np.uint16)  # wraps, as the reader does
    planes = np.ascontiguousarray(steps, "<u2").view(np.uint8).reshape(-1, 2).T
    deflated = zlib.compress(planes.tobytes(), 6)
    text = base64.b64encode(deflated).decode("ascii")
    return {"shape": list(words.shape), "quantum": quantum, "data": text}


def unpack(packed: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Reads what `pack` wrote, as the report's own script does.

    Args:
        packed: From `pack`.

    Returns:
        Values, rounded. `[block, time, width]`
    """
    planes = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8)
    steps = planes.reshape(2, -1).T.copy().view("<u2").reshape(packed["shape"])
    words = np.cumsum(steps, axis=1, dtype=np.uint64) & 0xFFFF
    return np.where(words == MISSING, np.nan, words * packed["quantum"])


def rounded(values: npt.ArrayLike, digits: int) -> list[Any]:
    """Rounds an array to so many digits after the point; what is not finite becomes None.

    Args:
        values: Any shape.
        digits: Digits.

    Returns:
        Nested lists.
    """
    array = np.round(np.asarray(values, np.float64), digits) + 0.0  # no minus before zero
    found = array.astype(object)
    found[~np.isfinite(array)] = None
    whole: list[Any] = found.tolist()
    return whole


def choose_days(
    dates: Sequence[str],
    temp_degc: npt.NDArray[np.floating],
    violation_pct: npt.NDArray[np.floating],
    num: int = 4,
) -> list[tuple[int, str]]:
    """Chooses days that tell different stories.

    Args:
        dates: Date of each day, ISO.
        temp_degc: Mean outdoor temperature. `[day]`
        violation_pct: Share of node-steps in violation under selfish devices. `[day]`
        num: How many at most.

    Returns:
        Index and label of each: of the day with the most violations, the
        coldest, the hottest and the one in the middle by violations, those
        that fall together once.
    """
    by_violation = np.argsort(-np.nan_to_num(violation_pct), kind="stable")
    by_temp = np.argsort(np.nan_to_num(temp_degc), kind="stable")
    wanted = (
        ("most violations", by_violation),
        ("coldest", by_temp),
        ("hottest", by_temp[::-1]),
        ("ordinary", np.roll(by_violation, -(len(by_violation) // 2))),
    )
    chosen: dict[int, str] = {}
    for name, order in wanted[:num]:
        day = next((int(i) for i in order if int(i) not in chosen), None)
        if day is not None:
            chosen[day] = name
    return [
        (day, f"{dates[day]}: {name}, {temp_degc[day]:.0f} °C".replace("-0 °C", "0 °C"))
        for day, name in chosen.items()
    ]

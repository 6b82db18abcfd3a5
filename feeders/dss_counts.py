"""Counts that OpenDSS allocates memory or counts loops by, and how far they may go.

OpenDSS 0.14 takes any number: it writes past the end of its memory for a load
or transformer of four phases, and for terminal 0 of a monitor; it asks for all
memory of the machine for a curve of 2e9 points, and solves for days.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Count(NamedTuple):
    """A property that counts something.

    Attributes:
        name: The property.
        place: Its place among the properties of its class, from 1.
        most: The largest value that is accepted; the smallest is 1.
    """

    name: str
    place: int
    most: int


_PHASES, _TERMINALS, _POINTS = 50, 20, 10_000_000
_SMALL = (Count("phases", 1, 3),)
_WINDINGS = (*_SMALL, Count("windings", 2, 20))
_CURVE = (Count("npts", 1, _POINTS),)
_METER = (Count("terminal", 2, _TERMINALS),)
_BREAKER = (Count("monitoredterm", 2, _TERMINALS), Count("switchedterm", 4, _TERMINALS))


def _phases(place: int) -> tuple[Count, ...]:
    return (Count("phases", place, _PHASES),)


_BY_CLASS: dict[str, tuple[Count, ...]] = {
    "load": _SMALL,
    **dict.fromkeys(("transformer", "autotrans", "xfmrcode"), _WINDINGS),
    **dict.fromkeys(("generator", "storage", "pvsystem", "indmach012", "vsconverter"), _phases(1)),
    "vccs": _phases(2),
    **dict.fromkeys(("reactor", "fault"), _phases(3)),
    "capacitor": (*_phases(3), Count("numsteps", 12, 1000)),
    **dict.fromkeys(("gicsource",), _phases(4)),
    **dict.fromkeys(("line", "isource", "gictransformer"), _phases(5)),
    **dict.fromkeys(("vsource", "upfc", "gicline"), _phases(6)),
    "linecode": (Count("nphases", 1, _PHASES),),
    "linegeometry": (Count("nconds", 1, _PHASES), Count("nphases", 2, _PHASES)),
    "linespacing": (Count("nconds", 1, _PHASES), Count("nphases", 2, _PHASES)),
    "spectrum": (Count("numharm", 1, 1000),),
    **dict.fromkeys(("loadshape", "tshape", "priceshape"), _CURVE),
    **dict.fromkeys(("xycurve", "growthshape", "tcc_curve"), _CURVE),
    **dict.fromkeys(("monitor", "energymeter", "sensor", "gendispatcher"), _METER),
    **dict.fromkeys(("capcontrol", "storagecontroller", "espvlcontrol"), _METER),
    **dict.fromkeys(("relay", "recloser", "fuse"), _BREAKER),
    "swtcontrol": (Count("switchedterm", 2, _TERMINALS),),
    "regcontrol": (Count("winding", 2, _TERMINALS),),
}
_SEASONS = Count("seasons", 0, 100)  # of many classes
_EVERY = tuple(sorted({count for counts in _BY_CLASS.values() for count in counts}))
_WHOLE_NAME = 4  # letters of a name from which on no other property is meant

_LOOPS = {
    "number": 100_000,
    "maxiterations": 100_000,
    "miniterations": 10_000,
    "maxcontroliter": 10_000,
    "numallociterations": 10_000,
}


def count_fault(kind: str | None, name: str, value: str) -> str:
    """Says why a property is refused as a count, or nothing.

    Args:
        kind: Class of the element, lower case; `None` if it may be any.
        name: The property as it is named, lower case, perhaps shortened.
        value: Its value.
    """
    for count in (*(_EVERY if kind is None else _BY_CLASS.get(kind, ())), _SEASONS):
        if not name or not count.name.startswith(name):
            continue
        # A name of a letter or two may stand for another property, of another kind.
        is_whole = len(name) >= _WHOLE_NAME or re.match(r"\d+$|[-@]|.*\s", value)
        if is_whole and (fault := _fault(count, value)):
            return fault
    return ""


def place_fault(kind: str | None, place: int | None, value: str) -> str:
    """The same of a property that is not named.

    Args:
        kind: Class of the element, lower case; `None` if it may be any.
        place: Its place among the properties, from 1; `None` if it follows a
            named one, and may be any but the first.
        value: Its value.
    """
    for count in _BY_CLASS.get(kind or "", ()):
        is_near = place is None and count.place > 1 and re.fullmatch(r"\d+", value)
        if (count.place == place or is_near) and (fault := _fault(count, value)):
            return fault
    return ""


def _fault(count: Count, value: str) -> str:
    if re.fullmatch(r"\s*\d{1,9}(\.0*)?\s*", value) and 1 <= float(value) <= count.most:
        return ""
    most = f"{count.most:,}"
    return f"sets {count.name} to {value!r}, expected a whole number, 1 to {most}"


def loop_fault(option: str, value: str) -> str:
    """Says why an option is refused as a number of repetitions, or nothing.

    Args:
        option: The option.
        value: Its value.
    """
    most = _LOOPS.get(option)
    if most is None or (re.fullmatch(r"\d{1,9}", value.strip()) and int(value) <= most):
        return ""
    return f"sets {option} to {value!r}, expected a whole number, {most:,} at most"

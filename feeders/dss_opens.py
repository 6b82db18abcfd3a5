"""Which files OpenDSS would open by itself, for the values of a command."""

from __future__ import annotations

from collections.abc import Sequence

from gradmap.feeders.dss_text import Parameter, parameters

_PROPERTIES = ("csvfile", "sngfile", "dblfile", "pqcsvfile")
_CLASSES = frozenset(
    {"loadshape", "tshape", "priceshape", "xycurve", "growthshape", "spectrum", "tcc_curve"}
)
_FIRST_PLACE = 4  # of such a property, among all of these classes
# Any array or list may be `(file=name, column=2)`.
_IN_VALUES = ("file", "dblfile", "sngfile")


def files_of(parts: Sequence[Parameter], kind: str | None) -> list[str]:
    """Names of the files that parameters may have OpenDSS open.

    Args:
        parts: The parameters, from the first property on.
        kind: Class of the element, lower case; `None` if it may be any; nothing
            if the command is about none.
    """
    found = []
    is_curve = kind is None or kind in _CLASSES
    is_near = False  # to the place of such a property; before, `24` is a number
    for place, part in enumerate(parts, start=1):
        name = part.name.lower()
        is_near |= bool(name) or place >= _FIRST_PLACE
        if is_curve and is_near and part.value and any(p.startswith(name) for p in _PROPERTIES):
            found.append(part.value)
        if "=" in part.value:
            found += _in_value(part.value)
    return found


def _in_value(value: str) -> list[str]:
    return [
        part.value
        for part in parameters(value)
        if part.name and part.value and any(_agree(part.name, known) for known in _IN_VALUES)
    ]


def _agree(name: str, known: str) -> bool:
    """Whether two names are the same as far as the shorter goes: OpenDSS asks no more."""
    length = min(len(name), len(known))
    return name[:length].lower() == known[:length]

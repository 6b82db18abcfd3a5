"""The feeders that come with the package, by name."""

from __future__ import annotations

import difflib
import importlib.resources

from gradmap.feeders.dss import Taps, read_feeder
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import Feeder

_FEEDERS = {
    "ieee123": "IEEE 123-node test feeder: 4.16 kV, 91 loads, 7 regulator controls",
}


def list_feeders() -> tuple[str, ...]:
    """Names that [`load_feeder`][gradmap.feeders.catalog.load_feeder] knows."""
    return tuple(sorted(_FEEDERS))


def load_feeder(name: str, taps: Taps = None) -> Feeder:
    """Loads a feeder of the catalog.

    Args:
        name: One of `list_feeders()`.
        taps: Positions of the regulators, counted from the neutral one: one
            for all, or by control's name (controls left out stay as the files
            have them); `None` takes the taps written in the files, where
            OpenDSS's own regulation ends at the nominal load.

    Raises:
        GradmapError: If there is no such feeder, or a tap cannot be set.
    """
    check_name(name)
    folder = importlib.resources.files("gradmap.feeders") / "data" / name
    with importlib.resources.as_file(folder) as path:
        return read_feeder(path / "Master.dss", name=name, origin=name, taps=taps)


def check_name(name: str) -> None:
    """Raises an error that names the known feeders, unless `name` is one.

    Raises:
        GradmapError: If there is no such feeder.
    """
    if name in _FEEDERS:
        return
    close = difflib.get_close_matches(name, _FEEDERS, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise GradmapError(f"no feeder {name!r}{hint}; known feeders: {', '.join(list_feeders())}")

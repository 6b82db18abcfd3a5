"""Feeders by what names them: the bundled ones, and a circuit's own file."""

from __future__ import annotations

import contextlib
import difflib
import importlib.resources
import pathlib
from collections.abc import Iterator
from typing import Any

from gradmap.feeders.dss import Taps, read_feeder
from gradmap.feeders.dss_engine import compile_circuit
from gradmap.feeders.dss_trial import try_circuit
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import Feeder, OnUnsupported
from gradmap.feeders.synthetic_feeder import FORM, PREFIX, parse_name, synthetic, written

_FEEDERS = {
    "ieee13": "IEEE 13-node: 4.16 kV, short, heavily loaded",
    "ieee34": "IEEE 34-node: 24.9 kV, long, lightly loaded",
    "ieee37": "IEEE 37-node: 4.8 kV delta, underground",
    "ieee123": "IEEE 123-node: 4.16 kV, four banks of regulators",
}


def list_feeders() -> tuple[str, ...]:
    """Names that [`load_feeder`][gradmap.feeders.catalog.load_feeder] knows, by size."""
    return tuple(_FEEDERS)


def feeder_summary(name: str) -> str:
    """What a bundled feeder is, on one line.

    Args:
        name: One of `list_feeders()`.

    Raises:
        GradmapError: If there is no such feeder.
    """
    _check_name(name)
    return _FEEDERS[name]


def load_feeder(name: str, taps: Taps = None, on_unsupported: OnUnsupported = "raise") -> Feeder:
    """Loads a bundled feeder, or the circuit of an OpenDSS file.

    Args:
        name: One of `list_feeders()`; `synthetic:num_buses=1000,seed=0` for a
            synthetic feeder; or the path of a circuit's master file, which
            ends in `.dss`.
        taps: Positions of the regulators, counted from the neutral one: one
            for all, or by control's name (controls left out stay as the files
            have them); `None` takes the taps written in the files. Those of
            the bundled feeders are where OpenDSS's own regulation ends at the
            nominal load.
        on_unsupported: Of a file's circuit, as for `Feeder.from_dss`.

    Raises:
        GradmapError: If there is no such feeder, its circuit cannot be used,
            or a tap cannot be set.
    """
    if name.startswith(PREFIX):
        return synthetic(*parse_name(name), taps=taps)
    if name.lower().endswith(".dss") or (name not in _FEEDERS and pathlib.Path(name).is_dir()):
        return read_feeder(name, taps=taps, on_unsupported=on_unsupported)
    _check_name(name)
    with locate(name) as path:
        return read_feeder(path, name=name, origin=name, taps=taps, trial=False)


def reload_feeder(feeder: Feeder, taps: Taps) -> Feeder:
    """Reads a feeder's circuit again, at other taps.

    Args:
        feeder: The feeder; its `origin` says where the circuit is.
        taps: As for `load_feeder`.

    Raises:
        GradmapError: If the circuit cannot be read or a tap cannot be set.
    """
    with locate(feeder.origin) as path:
        return read_feeder(
            path,
            name=feeder.name,
            origin=feeder.origin,
            taps=taps,
            # As it was read before, or it would not have any.
            on_unsupported="freeze" if feeder.frozen else "raise",
            trial=not is_ours(feeder.origin),
        )


def is_ours(origin: str) -> bool:
    """Whether a feeder's `origin` names a circuit of this package's, not a file.

    Args:
        origin: As for `locate`.
    """
    return origin in _FEEDERS or origin.startswith(PREFIX)


def compile_origin(engine: Any, origin: str) -> None:
    """Compiles the circuit that a feeder's `origin` names; a file of a user's is tried first.

    Args:
        engine: A borrowed OpenDSS context.
        origin: As for `locate`.

    Raises:
        GradmapError: If the circuit cannot be compiled.
    """
    with locate(origin) as path:
        try_circuit(path, trial=not is_ours(origin))
        compile_circuit(engine, path)


@contextlib.contextmanager
def locate(origin: str) -> Iterator[pathlib.Path]:
    """Finds the master file that a feeder's `origin` names.

    Args:
        origin: A name of the catalog, that of a synthetic feeder, or a master
            file's path.

    Yields:
        The file, on disk for as long as the context is open.
    """
    if origin.startswith(PREFIX):
        with written(origin) as path:
            yield path
        return
    if origin not in _FEEDERS:
        yield pathlib.Path(origin)
        return
    folder = importlib.resources.files("gradmap.feeders") / "data" / origin
    with importlib.resources.as_file(folder) as path:
        yield path / "Master.dss"


def _check_name(name: str) -> None:
    """Raises an error that names the known feeders, unless `name` is one."""
    if name in _FEEDERS:
        return
    close = difflib.get_close_matches(name, _FEEDERS, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise GradmapError(
        f"no feeder {name!r}{hint}; known feeders: {', '.join(list_feeders())}; "
        f"{FORM} draws one; a circuit of your own is named by its master file, which ends in .dss"
    )

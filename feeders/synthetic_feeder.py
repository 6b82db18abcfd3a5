"""Synthetic radial feeders of any size, for scaling studies and as test cases.

A circuit is drawn, designed and written as OpenDSS text, and read from there
by the same reader as any other: what holds for users' circuits holds for it.
Its `origin` says how to draw it again.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
import tempfile
from collections.abc import Iterator

import numpy as np

from gradmap.feeders.dss import Taps, read_feeder
from gradmap.feeders.errors import GradmapError, raise_faults
from gradmap.feeders.model import Feeder
from gradmap.feeders.synthetic_design import design_feeder
from gradmap.feeders.synthetic_loads import draw_loads
from gradmap.feeders.synthetic_text import FeederPlan, circuit_text
from gradmap.feeders.synthetic_tree import TreeBus, grow_tree, place_buses

PREFIX = "synthetic:"
"""What the name of a synthetic feeder begins with."""

FORM = "synthetic:num_buses=1000,seed=0"
"""The name of a synthetic feeder, as an example."""

_FEWEST_BUSES = 4
# What a feeder of 12.47 kV commonly has at the most; more make further feeders.
_BUSES_OF_A_FEEDER = 1500
_SERVICE_SHARE = 0.04


def synthetic(num_buses: int, seed: int = 0, taps: Taps = None) -> Feeder:
    """Draws a radial feeder and reads it.

    A 115 kV source behind its short-circuit impedance; a substation with a
    tap changer; 12.47 kV feeders of up to 1,500 buses each, overhead or
    underground, with a three-phase trunk, laterals of one, two and three
    phases, capacitors, and regulators where the trunk is long; wye and delta
    loads of constant power, impedance and current, some at 480 V behind
    transformers of their own. Taps stand where voltages are good at the
    nominal load.

    The same arguments give the same feeder on every machine.

    Args:
        num_buses: Buses in all, the source's included; 4 or more.
        seed: Seed of everything that is drawn, 0 or more.
        taps: As for `load_feeder`.

    Raises:
        GradmapError: If an argument is out of range.
    """
    origin = _origin(num_buses, seed)
    with written(origin) as path:
        name = f"synthetic-{num_buses}-{seed}"
        return read_feeder(path, name=name, origin=origin, taps=taps, trial=False)


def write_synthetic(folder: str | pathlib.Path, num_buses: int, seed: int = 0) -> pathlib.Path:
    """Writes the OpenDSS files of a synthetic feeder.

    Args:
        folder: Where to; it is made if need be.
        num_buses: As for `synthetic`.
        seed: As for `synthetic`.

    Returns:
        The master file.

    Raises:
        GradmapError: If an argument is out of range or a file cannot be
            written.
    """
    origin = _origin(num_buses, seed)
    title = f"{origin}, drawn by gradmap.feeders.synthetic: no real circuit."
    texts = circuit_text(title, f"synthetic_{num_buses}_{seed}", _plans(num_buses, seed))
    out = pathlib.Path(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (out / name).write_text(text, encoding="ascii")
    except OSError as error:
        raise GradmapError(f"cannot write {out}: {error.strerror or error}") from error
    return out / "Master.dss"


def parse_name(name: str) -> tuple[int, int]:
    """Size and seed that a name of the form `synthetic:num_buses=1000,seed=0` gives.

    Args:
        name: The name; `,seed=0` may be left out.

    Raises:
        GradmapError: If it is no such name.
    """
    match = re.fullmatch(rf"{PREFIX}num_buses=(\d{{1,9}})(?:,seed=(\d{{1,18}}))?", name)
    if match is None:
        raise GradmapError(f"feeder {name!r} cannot be read, expected the form {FORM}")
    return int(match[1]), int(match[2] or 0)


@contextlib.contextmanager
def written(origin: str) -> Iterator[pathlib.Path]:
    """Writes the circuit that an origin names to a temporary folder.

    Args:
        origin: Of the form `synthetic:num_buses=1000,seed=0`.

    Yields:
        The master file, there for as long as the context is open.

    Raises:
        GradmapError: If it is no such origin.
    """
    num_buses, seed = parse_name(origin)
    with tempfile.TemporaryDirectory(prefix="gradmap-synthetic-") as folder:
        yield write_synthetic(folder, num_buses, seed)


def _origin(num_buses: int, seed: int) -> str:
    """The origin of a synthetic feeder, its arguments checked."""
    faults = []
    for name, value, least in (("num_buses", num_buses, _FEWEST_BUSES), ("seed", seed, 0)):
        if not _is_whole(value) or value < least:
            faults.append(f"{name} is {value!r}, expected a whole number, {least} or more")
    raise_faults("synthetic feeder", faults)
    return f"{PREFIX}num_buses={num_buses},seed={seed}"


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _plans(num_buses: int, seed: int) -> list[FeederPlan]:
    """Draws and designs the feeders of a circuit."""
    rng = np.random.default_rng(seed)
    wanted = num_buses - 2  # less the source's and the substation's
    count = -(-wanted // _BUSES_OF_A_FEEDER)
    plans = []
    for k in range(count):
        size = wanted // count + (k < wanted % count)
        num_service = int(_SERVICE_SHARE * size)
        buses = grow_tree(size - num_service, rng)
        service = _choose_service(buses, num_service, rng)
        loads = draw_loads(buses, service, rng)
        places = place_buses(buses, k / count)
        design = design_feeder(buses, loads)
        plans.append(FeederPlan(f"f{k + 1}", buses, places, service, loads, design))
    return plans


def _choose_service(buses: list[TreeBus], count: int, rng: np.random.Generator) -> list[int]:
    """Three-phase buses that get a service transformer, in ascending order."""
    hosts = [i for i, bus in enumerate(buses) if len(bus.phases) == 3]
    chosen = []
    for _ in range(count):
        chosen.append(hosts.pop(int(len(hosts) * rng.random())))
    return sorted(chosen)

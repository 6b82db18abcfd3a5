"""Where the agents of a task sit: in proportion to load, at some buses, or as a file says."""

from __future__ import annotations

import csv
import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import ClassVar

from gradmap.envs.kinds import KINDS
from gradmap.feeders.errors import GradmapError, raise_faults

COLUMNS = ("bus", "phase", "device", "size_kw")
"""Columns of a file of devices; `phase` may be left out, or empty."""

MAX_ROWS = 100_000
"""Rows of a file of devices: more are taken for the wrong file."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where agents are connected: always beside a load of the feeder.

    Attributes:
        buses: Buses at which agents sit, in proportion to the load there;
            none for all.
        buses_of: The same for single device types, in place of `buses`.
        csv: File that lists every device, in place of `buses` and of the
            task's number, mix and sizes: see `read_devices`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    buses: tuple[str, ...] = ()
    csv: str | None = None
    buses_of: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def faults(self) -> list[str]:
        """What is wrong with it by itself, a phrase each."""
        faults = []
        for name in ("buses", "buses_of"):
            if getattr(self, name) and self.csv is not None:
                faults.append(
                    f"placement.{name} and placement.csv are both given, expected one of them"
                )
        for kind, buses in self.buses_of.items():
            if kind not in KINDS:
                known = ", ".join(KINDS)
                faults.append(f"placement.buses_of names {kind!r}, expected some of {known}")
            if not buses:
                faults.append(f"placement.buses_of.{kind} names no bus: leave it out for all buses")
        return faults

    def of(self, kind: str) -> tuple[str, ...]:
        """Buses at which the agents of a device type sit; none for all.

        Args:
            kind: The device type.
        """
        return self.buses_of.get(kind, self.buses)


@dataclasses.dataclass(frozen=True)
class Device:
    """A row of a file of devices.

    Attributes:
        row: Its line in the file, the header being the first.
        bus: Bus, lower case.
        phase: Phase at the bus; None for that of the largest load there.
        kind: Device type.
        size_kw: Rated power, kW.
    """

    row: int
    bus: str
    phase: int | None
    kind: str
    size_kw: float


def read_devices(path: str | pathlib.Path) -> list[Device]:
    """Reads a file of devices: `bus,phase,device,size_kw`, a row each.

    Args:
        path: The CSV file, with a header.

    Returns:
        The devices, in the order of the file.

    Raises:
        GradmapError: If there is no such file, or rows are at fault; names all.
    """
    try:
        with pathlib.Path(path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise GradmapError(f"placement.csv: cannot read {path}: {reason}") from None
    named = {str(key).strip() for key in rows[0]} if rows else set()
    missing = [name for name in COLUMNS if name != "phase" and name not in named]
    if missing or len(rows) > MAX_ROWS:
        found = f"{len(rows)} rows, no column {', '.join(missing)}" if missing else f"{len(rows)}"
        raise GradmapError(
            f"placement.csv: {path} has {found}; expected 1 to {MAX_ROWS} rows under a header "
            f"{','.join(COLUMNS)}"
        )
    devices, faults = [], []
    for number, row in enumerate(rows, start=2):
        device, wrong = _device(number, {str(k).strip(): (v or "") for k, v in row.items()})
        faults += wrong
        devices.append(device)
    raise_faults(f"placement.csv: {path}", faults)
    return devices


def _device(number: int, row: dict[str, str]) -> tuple[Device, list[str]]:
    """A row, and what is wrong with it."""
    text = {name: row.get(name, "").strip() for name in COLUMNS}
    faults = []
    if not text["bus"]:
        faults.append(f"line {number}: no bus")
    if text["phase"] and not text["phase"].isdecimal():
        faults.append(f"line {number}: phase is {text['phase']!r}, expected 1, 2, 3 or nothing")
    if text["device"] not in KINDS:
        faults.append(
            f"line {number}: device is {text['device']!r}, expected one of {', '.join(KINDS)}"
        )
    try:
        size = float(text["size_kw"])
    except ValueError:
        size = math.nan
    if not (math.isfinite(size) and size > 0):
        faults.append(f"line {number}: size_kw is {text['size_kw']!r}, expected more than 0")
    phase = int(text["phase"]) if text["phase"].isdecimal() else None
    return Device(number, text["bus"].lower(), phase, text["device"], size), faults


def count_kinds(devices: Sequence[Device]) -> dict[str, int]:
    """Number of devices of each type, types without any left out.

    Args:
        devices: The devices.
    """
    kinds = [device.kind for device in devices]
    return {kind: kinds.count(kind) for kind in KINDS if kind in kinds}

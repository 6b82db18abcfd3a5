"""A measured year: the quarter-hourly profiles that SimBench ships.

Source: S. Meinecke et al., "SimBench - A Benchmark Dataset of Electric Power
Systems to Compare Innovative Solutions Based on Power Flow Analysis",
Energies 13 (2020) 3290. The Python package `simbench` carries the data as CSV
files; they are read from where it lies, without importing it, since that
import pulls in pandapower. Profiles are of the leap year 2016, in German
local time, stamped at the start of the quarter hour; loads are per unit of
their own yearly peak, photovoltaics per unit of the installed power.

Used are the low-voltage customers. Left out are the profiles that end in M
and H: single large customers at medium voltage, and `H0-H`, which no load of
SimBench refers to and whose day is not a household's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import importlib.metadata
import importlib.util
import os
import pathlib

import numpy as np
import numpy.typing as npt

from gradmap.envs.scenarios.config import QUARTERS
from gradmap.envs.scenarios.model import Float32Array
from gradmap.envs.scenarios.storage import read_npz, write_npz
from gradmap.feeders.errors import GradmapError

HOUSEHOLDS = ("H0-A", "H0-B", "H0-C", "H0-G", "H0-L")
BUSINESSES = ("G0-A", "G1-A", "G1-B", "G1-C", "G2-A", "G3-A", "G4-A", "G4-B", "G5-A", "G6-A")
FARMS = ("L0-A", "L1-A", "L2-A")
LOADS = HOUSEHOLDS + BUSINESSES + FARMS
SOLAR = tuple(f"PV{number}" for number in range(1, 9))

_FOLDER = pathlib.Path("networks", "1-complete_data-mixed-all-0-sw")
_LAYOUT = 1  # of the cached file; raise it when the selection or meaning changes


@dataclasses.dataclass(frozen=True, eq=False)
class ProfileYear:
    """The complete days of the measured year; arrays are read-only.

    Attributes:
        date: ISO dates, without the two Sundays on which the clock changes
            (92 and 100 quarter hours): 364 days. `[day]`
        load: Load per unit of each profile's peak. `[day, 96, len(LOADS)]`
        solar: Generation per unit of installed power. `[day, 96, len(SOLAR)]`
    """

    date: tuple[str, ...]
    load: Float32Array
    solar: Float32Array

    def __post_init__(self) -> None:
        for array, names in ((self.load, LOADS), (self.solar, SOLAR)):
            if array.shape != (len(self.date), QUARTERS, len(names)):
                raise ValueError(f"profiles of shape {array.shape} for {len(self.date)} days")
            array.setflags(write=False)

    @property
    def day(self) -> tuple[datetime.date, ...]:
        """The dates as objects. `[day]`"""
        return tuple(datetime.date.fromisoformat(text) for text in self.date)


def load_year() -> ProfileYear:
    """Returns the measured year, from the cache where there is one.

    Reading the CSV files takes a second or two; the result is kept for the
    process and, where the disk allows, under `cache_folder()`.

    Raises:
        GradmapError: If SimBench is not installed or its files do not fit.
    """
    try:
        spec = importlib.util.find_spec("simbench")
        version = importlib.metadata.version("simbench")
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise GradmapError(
            "the load profiles of SimBench are not installed; run `pip install simbench`, "
            "or read a saved scenario file with load_scenarios(path)"
        )
    return _cached_year(pathlib.Path(spec.submodule_search_locations[0]) / _FOLDER, version)


def cache_folder() -> pathlib.Path:
    """Returns the folder for derived files; it need not exist.

    `GRADMAP_CACHE` if set, else `gradmap` in `XDG_CACHE_HOME` or `~/.cache`.
    """
    own = os.environ.get("GRADMAP_CACHE")
    if own:
        return pathlib.Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base, "gradmap")


@functools.lru_cache(maxsize=1)
def _cached_year(folder: pathlib.Path, version: str) -> ProfileYear:
    path = cache_folder() / f"simbench-{version}-year-{_LAYOUT}.npz"
    try:
        arrays = read_npz(path)
        date = tuple(str(text) for text in arrays["date"])
        return ProfileYear(date, arrays["load"], arrays["solar"])
    # Absent or damaged in whatever way: a cache can always be made again.
    except Exception:
        year = _parse_year(folder)
    with contextlib.suppress(GradmapError):  # a read-only home costs the next process a second
        write_npz(path, {"date": np.array(year.date), "load": year.load, "solar": year.solar})
    return year


def _parse_year(folder: pathlib.Path) -> ProfileYear:
    date, load = _parse_profiles(folder / "LoadProfile.csv", [f"{n}_pload" for n in LOADS])
    solar_date, solar = _parse_profiles(folder / "RESProfile.csv", list(SOLAR))
    if date != solar_date:
        raise GradmapError(f"{folder}: load and generation profiles are of different days")
    return ProfileYear(date, load, solar)


def _parse_profiles(
    path: pathlib.Path, columns: list[str]
) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
    """Reads a profile file and keeps its complete days."""
    import pandas as pd  # here, since a warm cache never needs it

    try:
        table = pd.read_csv(path, sep=";", usecols=["time", *columns])
        text = table["time"].astype(str)
        profiles = table[columns].to_numpy(np.float32)
    except (OSError, ValueError) as error:
        raise GradmapError(
            f"{path}: cannot read the profiles ({error}); reinstall simbench, or read a saved "
            "scenario file with load_scenarios(path)"
        ) from error
    if not np.isfinite(profiles).all() or profiles.min() < 0:
        raise GradmapError(f"{path}: profiles with gaps or negative values; reinstall simbench")
    day = (text.str[6:10] + "-" + text.str[3:5] + "-" + text.str[0:2]).to_numpy(np.str_)
    dates, counts = np.unique(day, return_counts=True)
    complete = dates[counts == QUARTERS]
    kept = profiles[np.isin(day, complete)].reshape(len(complete), QUARTERS, len(columns))
    return tuple(str(d) for d in complete), kept

"""Scenario sets on disk: one npz file each, written whole or not at all."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gradmap.envs.scenarios.model import PER_STEP, PER_TERMINAL, ScenarioSet
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.files import replacing

FORMAT = "gradmap-scenarios-1"
"""Mark of the file format; a new layout gets a new number."""

_TEXT = ("date", "split", "terminal_names")


def save_scenarios(scenarios: ScenarioSet, path: str | pathlib.Path) -> None:
    """Writes a set to one compressed npz file.

    The file appears under its name only when it is complete.

    Args:
        scenarios: The set.
        path: File to write, `.npz` by custom; an old file is replaced.

    Raises:
        GradmapError: If the file cannot be written.
    """
    arrays: dict[str, npt.NDArray[Any]] = {
        name: getattr(scenarios, name) for name in PER_TERMINAL + PER_STEP
    }
    arrays |= {name: np.array(getattr(scenarios, name), dtype=np.str_) for name in _TEXT}
    arrays["dt_hours"] = np.array(scenarios.dt_hours)
    arrays["format"] = np.array(FORMAT)
    write_npz(pathlib.Path(path), arrays)


def load_scenarios(path: str | pathlib.Path) -> ScenarioSet:
    """Reads what `save_scenarios` wrote.

    Args:
        path: The file.

    Raises:
        GradmapError: If the file is missing, damaged, or no scenario file.
    """
    try:
        arrays = read_npz(pathlib.Path(path))
    except FileNotFoundError as error:
        raise GradmapError(f"{path}: no such scenario file") from error
    # Not only OSError and BadZipFile: a damaged header raises nearly anything.
    except Exception as error:
        raise GradmapError(
            f"{path}: damaged or not an npz file ({type(error).__name__}: {error}); "
            "save the scenarios again"
        ) from error
    expected = {*PER_TERMINAL, *PER_STEP, *_TEXT, "dt_hours", "format"}
    found = str(arrays.get("format"))
    if found != FORMAT or set(arrays) != expected:
        raise GradmapError(
            f"{path}: not a scenario file of this version (format {found}, expected {FORMAT}; "
            f"missing {sorted(expected - set(arrays)) or 'nothing'}); save the scenarios again"
        )
    try:
        fields: dict[str, Any] = {name: arrays[name] for name in PER_TERMINAL + PER_STEP}
        fields |= {name: tuple(str(text) for text in arrays[name]) for name in _TEXT}
        return ScenarioSet(**fields, dt_hours=float(arrays["dt_hours"]))
    except (TypeError, ValueError) as error:
        raise GradmapError(f"{path}: {error}") from error


def write_npz(path: pathlib.Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes arrays to a compressed npz file that is complete or absent.

    Args:
        path: File to write; its folder is made if need be.
        arrays: The arrays by name.

    Raises:
        GradmapError: If the folder or disk refuses; nothing is left behind.
    """
    with replacing(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_npz(path: pathlib.Path) -> dict[str, npt.NDArray[Any]]:
    """Reads all arrays of an npz file, refusing pickled objects.

    Args:
        path: The file.

    Raises:
        Exception: Whatever numpy and zipfile raise on a damaged file.
    """
    # Opened here, since numpy leaves a damaged file open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}

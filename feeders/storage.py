"""Feeders in files: one npz archive, without pickles."""

from __future__ import annotations

import pathlib
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from gradmap.feeders.controls import (
    Adjustable,
    CapacitorControls,
    Capacitors,
    Controls,
    RegulatorControls,
)
from gradmap.feeders.errors import GradmapError, raise_faults
from gradmap.feeders.files import replacing
from gradmap.feeders.model import GROUND, Branches, Feeder, LoadModel, Regulators, Terminals
from gradmap.feeders.plants import Plants

_FORMAT = "gradmap-feeder"
_VERSION = 4
_WITHOUT_PLANTS = "3"  # of files that knew no ratings of generators and the like


class _Field(NamedTuple):
    """An array of the file: numpy's kind letter and what its axes count."""

    kind: str
    axes: tuple[str, ...]


def _fields(prefix: str, kinds: Mapping[str, str], axis: str) -> dict[str, _Field]:
    """Fields of one axis, given as names by kind letter."""
    return {
        f"{prefix}{name}": _Field(kind, (axis,))
        for kind, names in kinds.items()
        for name in names.split()
    }


_ARRAYS: dict[str, _Field] = {
    "name": _Field("U", ()),
    "origin": _Field("U", ()),
    **_fields(
        "",
        {
            "U": "node_names",
            "f": "node_kv_base",
            "c": "source_current_a frozen_current_a",
            "b": "is_source_node",
        },
        "node",
    ),
    "frozen": _Field("U", ("frozen",)),
    "notes": _Field("U", ("note",)),
    "bus_names": _Field("U", ("bus",)),
    "bus_xy": _Field("f", ("bus", "two")),
    **_fields(
        "terminals.",
        {
            "U": "name load kind",
            "i": "node_from node_to model",
            "f": "kv_rated p_kw q_kvar vmin_pu vmax_pu vlow_pu cvr_p cvr_q",
            "b": "is_delta",
        },
        "terminal",
    ),
    "terminals.zipv": _Field("f", ("terminal", "seven")),
    **_fields("branches.", {"U": "name kind bus_from bus_to", "f": "rating_a"}, "branch"),
    **_fields("branches.", {"i": "conductor_branch conductor_node"}, "conductor"),
    **_fields(
        "regulators.",
        {
            "U": "control transformer bus",
            "i": "winding tap tap_min tap_max",
            "f": "tap_step_pu vreg_v band_v pt_ratio ct_primary_a ldc_r_v ldc_x_v",
        },
        "regulator",
    ),
    "controls.held": _Field("U", ("capacitor held",)),
    **_fields("controls.adjustable.", {"i": "element node conductor"}, "wire"),
    **_fields(
        "controls.adjustable.",
        {"i": "row column", "c": "fixed_siemens linear_siemens square_siemens"},
        "entry",
    ),
    **_fields("controls.capacitors.", {"U": "name bus", "f": "kvar", "b": "is_on"}, "capacitor"),
    **_fields(
        "controls.regulator.",
        {
            "U": "held",
            "i": "max_change direction phase",
            "f": "delay_s winding_v probe_ratio limit_v",
            "b": "is_inverse",
        },
        "regulator control",
    ),
    **_fields(
        "controls.regulator.",
        {"i": "probe_regulator probe_from probe_to probe_wire"},
        "regulator probe",
    ),
    **_fields(
        "controls.capacitor.",
        {
            "U": "name",
            "i": "capacitor kind phase",
            "f": "on off on_delay_s off_delay_s pt_ratio ct_ratio low_v high_v",
        },
        "capacitor control",
    ),
    **_fields(
        "plants.",
        {
            "U": "name kind",
            "f": "p_rated_kw s_rated_kva capacity_kwh stored_kwh reserve_kwh charge_efficiency "
            "discharge_efficiency",
        },
        "plant",
    ),
    **_fields("controls.capacitor.", {"i": "probe_control probe_from probe_to"}, "capacitor probe"),
}

# Sparse matrices: class and what rows and columns count.
_MATRICES: dict[str, tuple[Any, str, str]] = {
    "y_siemens": (sp.csc_matrix, "node", "node"),
    "y_source_siemens": (sp.csc_matrix, "node", "node"),
    "branches.current_siemens": (sp.csr_matrix, "conductor", "node"),
    "branches.series_siemens": (sp.csr_matrix, "node", "node"),
    "controls.capacitor.current_siemens": (sp.csr_matrix, "capacitor probe", "node"),
}
_MATRIX_PARTS = {"data": "c", "indices": "i", "indptr": "i"}

# The array whose length says how many there are of each.
_COUNTED_BY = {
    "node": "node_names",
    "bus": "bus_names",
    "frozen": "frozen",
    "note": "notes",
    "terminal": "terminals.name",
    "branch": "branches.name",
    "conductor": "branches.conductor_branch",
    "regulator": "regulators.control",
    "capacitor held": "controls.held",
    "wire": "controls.adjustable.element",
    "entry": "controls.adjustable.row",
    "capacitor": "controls.capacitors.name",
    "regulator control": "controls.regulator.held",
    "regulator probe": "controls.regulator.probe_regulator",
    "capacitor control": "controls.capacitor.name",
    "capacitor probe": "controls.capacitor.probe_control",
    "plant": "plants.name",
}

# Smallest value and the count that values stay below, for indices.
_INDICES = {
    "terminals.node_from": (0, "node"),
    "terminals.node_to": (GROUND, "node"),
    "branches.conductor_branch": (0, "branch"),
    "branches.conductor_node": (0, "node"),
    "controls.adjustable.element": (0, "element"),
    "controls.adjustable.node": (0, "node"),
    "controls.adjustable.conductor": (-1, "conductor"),
    "controls.adjustable.row": (0, "wire"),
    "controls.adjustable.column": (0, "wire"),
    "controls.regulator.probe_regulator": (0, "regulator control"),
    "controls.regulator.probe_from": (0, "node"),
    "controls.regulator.probe_to": (GROUND, "node"),
    "controls.regulator.probe_wire": (-1, "wire"),
    "controls.capacitor.capacitor": (0, "capacitor"),
    "controls.capacitor.probe_control": (0, "capacitor control"),
    "controls.capacitor.probe_from": (0, "node"),
    "controls.capacitor.probe_to": (GROUND, "node"),
}
_MAY_BE_NAN = {"bus_xy"}
_KIND_NAMES = {"U": "text", "i": "whole numbers", "f": "numbers", "c": "complex", "b": "true/false"}


def save_feeder(feeder: Feeder, path: str | pathlib.Path) -> None:
    """Writes a feeder to a file, all of it or nothing.

    Args:
        feeder: The feeder.
        path: The file, by custom `*.npz`; replaced if it exists.

    Raises:
        GradmapError: If the file cannot be written.
    """
    arrays: dict[str, Any] = {"format": np.array(_FORMAT), "version": np.array(_VERSION)}
    arrays.update({name: np.asarray(_get(feeder, name)) for name in _ARRAYS})
    for name in _MATRICES:
        matrix = _get(feeder, name)
        arrays.update({f"{name}.{part}": getattr(matrix, part) for part in _MATRIX_PARTS})
    # An empty tuple of names has no text type of its own.
    for name, field in _ARRAYS.items():
        if field.kind == "U" and not arrays[name].size:
            arrays[name] = arrays[name].astype(np.str_)
    with replacing(pathlib.Path(path)) as aside, aside.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_feeder_file(path: str | pathlib.Path) -> Feeder:
    """Reads a feeder that `save_feeder` wrote.

    Args:
        path: The file.

    Raises:
        GradmapError: If the file is missing, cut off or not a feeder's, or if
            its content does not fit together; every fault is named.
    """
    arrays = _read_arrays(path)
    found = str(arrays.get("format", "none"))
    if found != _FORMAT:
        raise GradmapError(f"{path}: format is {found!r}, expected {_FORMAT!r}")
    version = str(arrays.get("version", "none"))
    if version == _WITHOUT_PLANTS:
        arrays = _no_plants() | arrays
    elif version != str(_VERSION):
        raise GradmapError(f"{path}: version {version}, expected {_VERSION}: save the feeder again")
    raise_faults(str(path), _kind_faults(arrays))
    counts = {axis: len(arrays[name]) for axis, name in _COUNTED_BY.items()} | {
        "two": 2,
        "seven": 7,
    }
    counts["element"] = counts["regulator"] + counts["capacitor"]
    raise_faults(str(path), _shape_faults(arrays, counts))
    raise_faults(str(path), _value_faults(arrays, counts))
    return _build(arrays, counts)


def _no_plants() -> dict[str, Any]:
    """The arrays of `Plants.none()`."""
    types = {"U": np.str_, "f": np.float64}
    own = {name: field for name, field in _ARRAYS.items() if name.startswith("plants.")}
    return {name: np.zeros(0, types[field.kind]) for name, field in own.items()}


def _get(feeder: Feeder, name: str) -> Any:
    """The part of a feeder that a name such as `terminals.p_kw` stands for."""
    value: Any = feeder
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _read_arrays(path: str | pathlib.Path) -> dict[str, Any]:
    """Everything in an archive, read to the end."""
    try:
        # Opened here, as np.load leaves the file of a broken archive open.
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise GradmapError(f"{path}: holds a single array, expected a feeder's archive")
            with archive:
                return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise GradmapError(f"{path}: no such file; expected a saved feeder") from error
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, GradmapError):
            raise
        text = " ".join(str(error).split())
        raise GradmapError(f"{path}: not a feeder's archive, or cut off: {text}") from error


def _kind_faults(arrays: Mapping[str, Any]) -> list[str]:
    """One phrase per array that is missing, unknown or of another type or rank."""
    expected = {name: (field.kind, len(field.axes)) for name, field in _ARRAYS.items()}
    for name in _MATRICES:
        expected.update({f"{name}.{part}": (kind, 1) for part, kind in _MATRIX_PARTS.items()})
    faults = [f"{name} is missing" for name in expected if name not in arrays]
    faults += [
        f"{name} is unknown" for name in arrays if name not in {"format", "version", *expected}
    ]
    for name, (kind, rank) in expected.items():
        if name not in arrays:
            continue
        array = arrays[name]
        if array.dtype.kind != kind:
            faults.append(f"{name} is {array.dtype}, expected {_KIND_NAMES[kind]}")
        if array.ndim != rank:
            faults.append(f"{name} has {array.ndim} axes, expected {rank}")
    return faults


def _shape_faults(arrays: Mapping[str, Any], counts: Mapping[str, int]) -> list[str]:
    """One phrase per array whose size differs from what it belongs to."""
    faults = []
    for name, field in _ARRAYS.items():
        shape = tuple(counts[axis] for axis in field.axes)
        if arrays[name].shape != shape:
            faults.append(f"{name} has shape {arrays[name].shape}, expected {shape}")
    for name, (kind, rows, columns) in _MATRICES.items():
        shape = (counts[rows], counts[columns])
        parts = tuple(arrays[f"{name}.{part}"] for part in _MATRIX_PARTS)
        try:
            kind(parts, shape=shape).check_format(full_check=True)
        except ValueError as error:
            faults.append(f"{name} is no {shape[0]} by {shape[1]} sparse matrix ({error})")
    return faults


def _value_faults(arrays: Mapping[str, Any], counts: Mapping[str, int]) -> list[str]:
    """One phrase per array that holds a value it must not hold."""
    faults = []
    for name, array in arrays.items():
        if array.dtype.kind in "fc" and name not in _MAY_BE_NAN and not np.isfinite(array).all():
            faults.append(f"{name} holds a value that is not finite")
    for name, (low, axis) in _INDICES.items():
        array = arrays[name]
        if array.size and not (low <= array.min() and array.max() < counts[axis]):
            faults.append(
                f"{name} goes from {array.min()} to {array.max()}, expected {low} to "
                f"{counts[axis] - 1}"
            )
    if counts["regulator control"] not in (0, counts["regulator"]):
        faults.append(
            f"controls.regulator has {counts['regulator control']} rows, expected "
            f"{counts['regulator']}, one for each regulator, or none"
        )
    unknown = sorted(set(arrays["terminals.model"].tolist()) - {int(m) for m in LoadModel})
    if unknown:
        faults.append(f"terminals.model holds {unknown}, expected {[int(m) for m in LoadModel]}")
    return faults


def _build(arrays: Mapping[str, Any], counts: Mapping[str, int]) -> Feeder:
    """Makes the feeder from arrays that have passed every check."""

    def value(name: str) -> Any:
        if name in _MATRICES:
            kind, rows, columns = _MATRICES[name]
            parts = tuple(arrays[f"{name}.{part}"] for part in _MATRIX_PARTS)
            return kind(parts, shape=(counts[rows], counts[columns]))
        array, field = arrays[name], _ARRAYS[name]
        if field.kind != "U":
            return array
        return tuple(array.tolist()) if field.axes else str(array)

    def part(prefix: str) -> dict[str, Any]:
        names = [name for name in (*_ARRAYS, *_MATRICES) if name.rpartition(".")[0] == prefix]
        return {name.rpartition(".")[2]: value(name) for name in names}

    return Feeder(
        **part(""),
        terminals=Terminals(**part("terminals")),
        branches=Branches(**part("branches")),
        regulators=Regulators(**part("regulators")),
        plants=Plants(**part("plants")),
        controls=Controls(
            **part("controls"),
            adjustable=Adjustable(**part("controls.adjustable")),
            capacitors=Capacitors(**part("controls.capacitors")),
            regulator=RegulatorControls(**part("controls.regulator")),
            capacitor=CapacitorControls(**part("controls.capacitor")),
        ),
    )

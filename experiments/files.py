"""Files that are whole or not there: written aside, then moved into place."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import yaml

from gradmap.feeders.errors import GradmapError


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a path beside `path` to write to, and moves it there at the end.

    After an exception nothing is left of it, and `path` is as it was.

    Args:
        path: The file to write; its folder is made if need be.

    Raises:
        GradmapError: If there can be no such file.
    """
    beside = f".{path.name}-"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=beside, suffix=path.suffix)
    except OSError as error:
        raise GradmapError(f"cannot write {path}: {error.strerror}") from None
    os.close(handle)
    aside = pathlib.Path(name)
    try:
        yield aside
        aside.chmod(0o644)  # mkstemp keeps a file to its owner
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all."""
    with replacing(path) as aside:
        aside.write_text(text, "utf-8")


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file, whole or not at all; numbers that are not finite become null."""
    write_text(path, json.dumps(finite(value), indent=2, allow_nan=False) + "\n")


def write_yaml(path: pathlib.Path, value: Any) -> None:
    """Writes a YAML file, whole or not at all."""
    write_text(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def finite(value: Any) -> Any:
    """Replaces numbers that JSON cannot hold (infinite, not a number) by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    return value

"""Text, JSON and YAML files, each whole or not there."""

from __future__ import annotations

import hashlib
import json
import math
import pathlib
from typing import Any

import yaml

from gradmap.feeders.files import replacing


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


def fingerprint(path: pathlib.Path) -> str:
    """SHA-256 of what a file holds: the same wherever and whenever it was copied.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def finite(value: Any) -> Any:
    """Replaces numbers that JSON cannot hold (infinite, not a number) by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    return value

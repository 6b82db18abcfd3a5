"""Files that are whole or not there: written aside, then moved into place."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

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
    except OSError as error:
        raise GradmapError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)

"""What happens while a circuit is read: which files, and what OpenDSS is at."""

from __future__ import annotations

import pathlib

Stamp = tuple[int, int, int]
"""Size of a file, time of its last change in ns, and its number."""


def stamp(path: str | pathlib.Path) -> Stamp | None:
    """What tells whether a file is still the same, or `None` if there is none.

    Args:
        path: The file.
    """
    try:
        status = pathlib.Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


class Journal:
    """Keeps the files that a circuit is made of.

    Attributes:
        files: The stamp that each had before it was read, by its path.
    """

    def __init__(self) -> None:
        self.files: dict[str, Stamp | None] = {}

    def reads(self, path: pathlib.Path) -> None:
        """A file is about to be read.

        Args:
            path: The file.
        """
        self.files[str(path)] = stamp(path)

    def begins(self, what: str) -> None:
        """OpenDSS is about to do something; here nobody wants to know.

        Args:
            what: What it is, as the message after a crash would have it.
        """

"""Files that a circuit's files name: found, and looked at before anything opens them.

A named pipe would wait for ever, a device has no end, and a file of many
gigabytes takes all memory. So nothing but an ordinary file of a bounded size
is read, by us or by OpenDSS.
"""

from __future__ import annotations

import errno
import os
import pathlib
import stat

from gradmap.feeders.errors import GradmapError

MAX_BYTES = 250_000_000
"""Largest file that is read: ten million points of a curve, as text."""

# A pipe is not waited for; Windows alone knows the other.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_WANTED = "expected an ordinary file"
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def unfit(path: pathlib.Path) -> str | None:
    """Says why a path cannot be read whole.

    Args:
        path: The path; links are followed.

    Returns:
        The reason, nothing if it can be read, or `None` if there is no such
        file.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: a zero byte
        return None
    except OSError as error:
        # An array of numbers is too long for a name.
        return None if error.errno == errno.ENAMETOOLONG else f"cannot be read: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no file")
        return f"is {kind}, {_WANTED}"
    if status.st_size > MAX_BYTES:
        return f"has {status.st_size / 1e6:,.0f} MB, expected {MAX_BYTES / 1e6:,.0f} MB at most"
    return ""


def read_file(path: pathlib.Path) -> bytes:
    """Reads a file that is ordinary and not too large.

    Raises:
        GradmapError: If there is none, or it is not.
    """
    reason = unfit(path)
    if reason or reason is None:
        raise GradmapError(f"{path}: {reason or 'no such file'}")
    try:
        with open(os.open(path, _FLAGS), "rb") as file:
            status = os.fstat(file.fileno())  # it may be another file by now
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            return file.read(min(size, MAX_BYTES))
    except OSError as error:
        raise GradmapError(f"{path}: cannot be read: {error.strerror}") from None


def find_file(name: str, folder: pathlib.Path) -> pathlib.Path:
    """Finds a file that a circuit's file names.

    Args:
        name: Its name as it stands there; backslashes are allowed, and the
            ending `.dss` may be left out.
        folder: The folder that names are relative to.

    Raises:
        GradmapError: If there is none, or it cannot be read whole; a file whose
            name differs by upper and lower case alone is named.
    """
    path = folder / name.replace("\\", "/")
    candidates = (path, path.with_name(f"{path.name}.dss")) if path.name else (path,)
    reasons = [unfit(candidate) for candidate in candidates]
    for candidate, reason in zip(candidates, reasons, strict=True):
        if reason == "":
            return candidate.resolve()
    if found := next((reason for reason in reasons if reason), ""):
        raise GradmapError(f"{name!r} {found}")
    raise GradmapError(f"no file {name!r}{case_hint(*candidates)}")


def data_fault(name: str, folder: pathlib.Path) -> str:
    """Says why OpenDSS may not open a file of data, or nothing.

    Args:
        name: Its name as it stands in a property.
        folder: The folder that names are relative to.

    Returns:
        Nothing as well if there is no such file, which OpenDSS reports.
    """
    if name.startswith(("@", "~")):  # a variable; the home folder
        return f"names a file by {name[:1]!r}: write its path"
    paths = dict.fromkeys((folder / name, folder / name.replace("\\", "/")))
    reasons = [unfit(path) for path in paths]
    if found := next((reason for reason in reasons if reason), ""):
        return f"{name!r} {found}"
    if "" not in reasons:
        hint = case_hint(*paths)
        return f"no file {name!r}{hint}" if hint else ""
    # The files of /proc that never end have a size of zero.
    if any(path.stat().st_size == 0 for path in paths if unfit(path) == ""):
        return f"{name!r} is empty, expected numbers"
    return ""


def case_hint(*paths: pathlib.Path) -> str:
    """What to say of files that differ by upper and lower case alone, or nothing."""
    other = next(filter(None, map(other_case, paths)), None)
    return f"; there is {str(other)!r}: upper and lower case differ" if other else ""


def other_case(path: pathlib.Path) -> pathlib.Path | None:
    """A file whose path differs by upper and lower case alone."""
    found = pathlib.Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        if part == ".." or unfit(found / part) is not None:
            found = found / part
            continue
        match = next((name for name in names_in(found) if name.lower() == part.lower()), None)
        if match is None:
            return None
        found = found / match
    return found if unfit(found) == "" else None


def names_in(folder: pathlib.Path) -> list[str]:
    """Names of what lies in a folder, in order; none if it cannot be read."""
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []

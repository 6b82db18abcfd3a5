"""OpenDSS engines of our own: borrowed, filled with one circuit, given back.

OpenDSS keeps settings that belong to the whole process (working directory,
forms, editor, shell commands). Whatever is done here leaves them, and every
other OpenDSS circuit of the process, as they were.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

from dss import DSSException
from dss import dss as _prime

from gradmap.feeders.errors import GradmapError

Engine = Any
"""An OpenDSS context (`dss.IDSS`, which ships without type information)."""

# dss_python never frees a context: contexts that are no longer used wait here.
_idle: list[Engine] = []

_PROCESS_WIDE = {
    "AllowForms": False,
    "AllowEditor": False,
    "AllowDOScmd": False,
    "AllowChangeDir": False,
}
_process_wide_lock = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Forbids forms, editors, shell commands and changes of directory.

    These switches belong to the process, not to a context: they are put back
    on leaving.
    """
    with _process_wide_lock:
        before = {name: getattr(_prime, name) for name in _PROCESS_WIDE}
        try:
            for name, value in _PROCESS_WIDE.items():
                setattr(_prime, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(_prime, name, value)


def borrow_engine() -> Engine:
    """Returns an OpenDSS context without a circuit; give it back after use."""
    engine = _idle.pop() if _idle else _new_engine()
    engine.Text.Command = "ClearAll"
    engine.Text.Command = "Set DefaultBaseFrequency=60"
    return engine


def _new_engine() -> Engine:
    """Makes a context without moving the process to another directory."""
    # OpenDSS moves to where it was first loaded, whatever AllowChangeDir says.
    with _process_wide_lock:
        before = os.getcwd()
        try:
            return _prime.NewContext()
        finally:
            os.chdir(before)


def return_engine(engine: Engine) -> None:
    """Empties a borrowed context and keeps it for the next borrower."""
    with contextlib.suppress(DSSException):
        engine.Text.Command = "ClearAll"
    _idle.append(engine)


def compile_circuit(engine: Engine, path: str | pathlib.Path) -> None:
    """Compiles a circuit, and freezes its controls at what the files say.

    Args:
        engine: A borrowed context.
        path: The circuit's master file.

    Raises:
        GradmapError: If there is no such file, or OpenDSS reports an error.
    """
    master = pathlib.Path(path).resolve()
    if not master.is_file():
        raise GradmapError(f"{path}: no such file; expected the master file of an OpenDSS circuit")
    with quiet():
        try:
            engine.Text.Command = f'Compile "{master}"'
            if not engine.NumCircuits:
                raise GradmapError(f"{path}: defines no circuit; expected `New Circuit.<name>`")
            engine.Text.Command = "Set ControlMode=Off"
        except DSSException as error:
            raise GradmapError(f"{path}: OpenDSS reports: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """An OpenDSS error's text on one line."""
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    return " ".join(text.split())

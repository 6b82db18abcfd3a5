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

from gradmap.feeders.dss_files import case_hint, names_in, unfit
from gradmap.feeders.dss_journal import Journal
from gradmap.feeders.dss_script import run_script, scratch_folder
from gradmap.feeders.dss_text import one_line
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

_SNAPSHOT = 0  # Solution.Mode
_ACTION_OPEN = 1  # SwtControls.Action
_TOLERANCES = (1e-10, 1e-8, 1e-6, 1e-4)  # p.u.; the last is OpenDSS's own default
_MAX_ITERATIONS = 500
_SHOWN = 8


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
    with quiet():
        engine.DataPath = scratch_folder()
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
    for command in ("Set SeasonRating=No SeasonSignal=''", "ClearAll"):  # these outlive a circuit
        with contextlib.suppress(DSSException):
            engine.Text.Command = command
    _idle.append(engine)


def compile_circuit(
    engine: Engine, path: str | pathlib.Path, journal: Journal | None = None
) -> tuple[str, ...]:
    """Compiles a circuit, and freezes its controls at what the files say.

    Args:
        engine: A borrowed context.
        path: The circuit's master file.
        journal: As for `run_script`.

    Returns:
        What was left out, a phrase each.

    Raises:
        GradmapError: If there is no such file, a command in it is refused (see
            `dss_policy`), or OpenDSS reports an error.
    """
    master = find_master(path)
    with quiet():
        try:
            notes = run_script(engine, master, journal)
            if not engine.NumCircuits:
                raise GradmapError(f"{path}: defines no circuit; expected `New Circuit.<name>`")
            if engine.ActiveCircuit.Solution.Mode != _SNAPSHOT:
                engine.Text.Command = "Set Mode=Snapshot"
            engine.Text.Command = "Set ControlMode=Off"
            _settle_switches(engine)
        except DSSException as error:
            raise GradmapError(f"{path}: OpenDSS reports: {one_line(error)}") from error
    return notes


def find_master(path: str | pathlib.Path) -> pathlib.Path:
    """Finds a circuit's master file.

    Args:
        path: Its path.

    Returns:
        The absolute path, links followed.

    Raises:
        GradmapError: If there is no such file, or it is none that could be
            read: a folder, a named pipe, a device, too large.
    """
    master = pathlib.Path(path)
    reason = unfit(master)
    if not reason and reason is not None:
        return master.resolve()
    wanted = "expected the master file of an OpenDSS circuit"
    if os.path.isdir(master):
        inside = [name for name in names_in(master) if name.lower().endswith(".dss")]
        some = f": one of {', '.join(inside[:_SHOWN])}" if inside else ""
        raise GradmapError(f"{path}: is a folder; {wanted}{some}")
    if reason:
        raise GradmapError(f"{path}: {reason}; {wanted}")
    raise GradmapError(f"{path}: no such file; {wanted}{case_hint(master.absolute())}")


def _settle_switches(engine: Engine) -> None:
    """Opens and closes what switch controls were told to, without a delay.

    OpenDSS leaves that to a solution with its controls on.
    """
    circuit = engine.ActiveCircuit
    for control in circuit.SwtControls:
        if control.Action == control.State or control.IsLocked:
            continue
        element, terminal = control.SwitchedObj, int(control.SwitchedTerm)
        verb = "Open" if control.Action == _ACTION_OPEN else "Close"
        engine.Text.Command = f"{verb} {element} {terminal}"


def solve_snapshot(engine: Engine, subject: str) -> None:
    """Solves the circuit that an engine holds, its controls frozen.

    As tightly as it can be: the powers of generators and the currents of
    frozen elements are taken from the solution.

    Args:
        engine: A context with a circuit.
        subject: What to name in an error, such as the file's path.

    Raises:
        GradmapError: If OpenDSS finds no solution.
    """
    solution = engine.ActiveCircuit.Solution
    message = ""
    for tolerance in _TOLERANCES:
        engine.Text.Command = f"Set Tolerance={tolerance} MaxIterations={_MAX_ITERATIONS}"
        try:
            solution.Solve()
            if solution.Converged:
                return
        except DSSException as error:
            message = f": {one_line(error)}"
    raise GradmapError(
        f"{subject}: OpenDSS finds no solution of the snapshot in {_MAX_ITERATIONS} iterations, "
        f"controls frozen{message}"
    )

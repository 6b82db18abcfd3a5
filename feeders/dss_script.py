"""A circuit's files handed to OpenDSS line by line, each judged before."""

from __future__ import annotations

import functools
import pathlib
import tempfile
from typing import Any

from dss import DSSException

from gradmap.feeders.dss_commands import CONTINUES, DEFINES, RUN
from gradmap.feeders.dss_files import data_fault, find_file
from gradmap.feeders.dss_journal import Journal
from gradmap.feeders.dss_policy import Policy, Verdict
from gradmap.feeders.dss_text import command_lines, one_line, printable, quoted
from gradmap.feeders.errors import GradmapError

Engine = Any
_MAX_DEPTH = 50
_MAX_LINES = 1_000_000  # files that name each other twice double with every level
_SHOWN = 200  # letters of a command


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="gradmap-opendss-")


def scratch_folder() -> str:
    """A folder of this process, gone with it, for whatever OpenDSS may write."""
    return _scratch().name


def run_script(
    engine: Engine, path: pathlib.Path, journal: Journal | None = None
) -> tuple[str, ...]:
    """Runs the commands of a circuit's file that may be run.

    Editors, forms and shell commands are off, see `dss_engine.quiet`.

    Args:
        engine: An OpenDSS context.
        path: The master file.
        journal: Told of every file before it is read and of every command
            before OpenDSS has it.

    Returns:
        What was left out, a phrase each: file, line and command.

    Raises:
        GradmapError: If a line is refused, a file is missing or OpenDSS
            reports an error; with the file and the line.
    """
    return _Script(engine, path, journal or Journal()).run()


class _Script:
    def __init__(self, engine: Engine, master: pathlib.Path, journal: Journal) -> None:
        executive = engine.Executive
        self._engine = engine
        self._journal = journal
        self._master = master
        self._policy = Policy(
            [executive.Command(i) for i in range(1, executive.NumCommands + 1)],
            [executive.Option(i) for i in range(1, executive.NumOptions + 1)],
            list(engine.Classes),
        )
        self._notes: list[str] = []
        self._open: list[pathlib.Path] = []
        self._folder = master.parent  # what relative names are taken from
        self._present = ""
        self._num_lines = 0

    def run(self) -> tuple[str, ...]:
        try:
            self._file(self._master)
        finally:
            self._enter(scratch_folder())
        return tuple(self._notes)

    def _enter(self, folder: str) -> None:
        """Makes a folder the one that OpenDSS reads from and writes to."""
        if folder != self._present:
            self._engine.DataPath = self._present = folder

    def _file(self, path: pathlib.Path) -> None:
        self._open.append(path)
        self._journal.reads(path)
        for number, line in command_lines(path):
            verdict = self._policy.judge(line)
            where = f"{path.name}, line {number}"
            self._num_lines += 1
            if self._num_lines > _MAX_LINES:
                raise GradmapError(f"{self._master}: more than {_MAX_LINES:,} lines, at {where}")
            if verdict.refused:
                reason = printable(verdict.refused)
                raise GradmapError(f"{self._master}: {where} is refused: {reason}")
            left_out = map(printable, verdict.skipped)
            self._notes += [f"{where}: {phrase} is left out" for phrase in left_out]
            if verdict.redirect:
                self._redirect(verdict, where)
            if verdict.reads:
                path_read = self._find(verdict.reads, where)
                self._look_at(str(path_read), where)
                self._command(f"{verdict.commands[0]} {quoted(str(path_read))}", where)
                continue
            for name in verdict.opens:
                self._look_at(name, where)
            for command in verdict.commands:
                self._command(command, where)
        self._open.pop()

    def _redirect(self, verdict: Verdict, where: str) -> None:
        before = self._folder
        path = self._find(verdict.redirect, where)
        if path in self._open:
            raise GradmapError(f"{self._master}: {where}: {path.name} leads back to itself")
        if len(self._open) >= _MAX_DEPTH:
            raise GradmapError(f"{self._master}: {where}: more than {_MAX_DEPTH} files deep")
        self._folder = path.parent
        self._file(path)
        self._folder = path.parent if verdict.moves else before

    def _find(self, name: str, where: str) -> pathlib.Path:
        try:
            return find_file(name, self._folder)
        except GradmapError as error:
            raise GradmapError(f"{self._master}: {where}: {error}") from None

    def _look_at(self, name: str, where: str) -> None:
        """Refuses a file of data that OpenDSS should better not open."""
        if fault := data_fault(name, self._folder):
            raise GradmapError(f"{self._master}: {where}: {fault}")
        self._journal.reads(self._folder / name)

    def _command(self, command: str, where: str) -> None:
        self._journal.begins(f"{where}: `{printable(command)[:_SHOWN]}`")
        # OpenDSS writes to the folder that it reads from: for what defines no element, and so
        # reads no file of the circuit's, that is the scratch one.
        verb = command.partition(" ")[0]
        self._enter(scratch_folder() if verb in RUN - DEFINES - CONTINUES else str(self._folder))
        try:
            self._engine.Text.Command = command
        except DSSException as error:
            raise GradmapError(
                f"{self._master}: OpenDSS reports: {one_line(error)} ({where})"
            ) from error

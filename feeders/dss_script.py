"""A circuit's files handed to OpenDSS line by line, each judged before."""

from __future__ import annotations

import functools
import pathlib
import tempfile
from typing import Any

from dss import DSSException

from gradmap.feeders.dss_policy import Policy, Verdict
from gradmap.feeders.dss_text import command_lines, find_file, one_line, quoted
from gradmap.feeders.errors import GradmapError

Engine = Any
_MAX_DEPTH = 50


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="gradmap-opendss-")


def scratch_folder() -> str:
    """A folder of this process, gone with it, for whatever OpenDSS may write."""
    return _scratch().name


def run_script(engine: Engine, path: pathlib.Path) -> tuple[str, ...]:
    """Runs the commands of a circuit's file that may be run.

    Editors, forms and shell commands are off, see `dss_engine.quiet`.

    Args:
        engine: An OpenDSS context.
        path: The master file.

    Returns:
        What was left out, a phrase each: file, line and command.

    Raises:
        GradmapError: If a line is refused, a file is missing or OpenDSS
            reports an error; with the file and the line.
    """
    return _Script(engine, path).run()


class _Script:
    def __init__(self, engine: Engine, master: pathlib.Path) -> None:
        executive = engine.Executive
        self._engine = engine
        self._master = master
        self._policy = Policy(
            [executive.Command(i) for i in range(1, executive.NumCommands + 1)],
            [executive.Option(i) for i in range(1, executive.NumOptions + 1)],
            list(engine.Classes),
        )
        self._notes: list[str] = []
        self._open: list[pathlib.Path] = []

    def run(self) -> tuple[str, ...]:
        try:
            self._move(self._master.parent)
            self._file(self._master)
        finally:
            self._engine.DataPath = scratch_folder()
        return tuple(self._notes)

    def _move(self, folder: pathlib.Path) -> None:
        """Makes a folder the one that OpenDSS takes relative names from."""
        self._folder = folder
        self._engine.DataPath = str(folder)

    def _file(self, path: pathlib.Path) -> None:
        self._open.append(path)
        for number, line in command_lines(path):
            verdict = self._policy.judge(line)
            where = f"{path.name}, line {number}"
            if verdict.refused:
                raise GradmapError(f"{self._master}: {where} is refused: {verdict.refused}")
            self._notes += [f"{where}: {phrase} is left out" for phrase in verdict.skipped]
            if verdict.redirect:
                self._redirect(verdict, where)
            if verdict.reads:
                path_read = self._find(verdict.reads, where)
                self._command(f"{verdict.commands[0]} {quoted(str(path_read))}", where)
                continue
            for command in verdict.commands:
                self._command(command, where)
        self._open.pop()

    def _redirect(self, verdict: Verdict, where: str) -> None:
        before = self._folder
        path = self._find(verdict.redirect, where)
        if path in self._open or len(self._open) >= _MAX_DEPTH:
            raise GradmapError(f"{self._master}: {where}: {path.name} leads back to itself")
        self._move(path.parent)
        self._file(path)
        self._move(path.parent if verdict.moves else before)

    def _find(self, name: str, where: str) -> pathlib.Path:
        try:
            return find_file(name, self._folder)
        except GradmapError as error:
            raise GradmapError(f"{self._master}: {where}: {error}") from None

    def _command(self, command: str, where: str) -> None:
        try:
            self._engine.Text.Command = command
        except DSSException as error:
            raise GradmapError(
                f"{self._master}: OpenDSS reports: {one_line(error)} ({where})"
            ) from error

"""OpenDSS's command language, as far as to tell what a line would do.

A line is cut into parameters exactly as OpenDSS cuts it (`ParserDel.pas`),
and a file into lines, so that what is judged is what is run.
"""

from __future__ import annotations

import codecs
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from gradmap.feeders.dss_files import read_file
from gradmap.feeders.errors import GradmapError

_OPENING, _CLOSING = "(\"'[{", ")\"']}"
_BLANKS, _DELIMITERS = " \t", ",="
_END_OF_TOKEN = re.compile(r"[ \t,=!]|//")
_END_OF_LINE = re.compile(r"\r\n|\n|\r")
_COMMENT = "!"


class Parameter(NamedTuple):
    """A parameter of a command: `name=value`, or a value alone.

    Attributes:
        name: What stands before the sign of equality, or nothing.
        value: The value without the quotes or brackets around it.
        raw: The value with them.
        start: Where the parameter starts in the line.
        stop: Where the next one starts.
    """

    name: str
    value: str
    raw: str = ""
    start: int = 0
    stop: int = 0


def parameters(line: str) -> list[Parameter]:
    """Cuts a line into parameters; a comment is none."""
    text = line + " "
    position = _skip_blanks(text, 0)
    found = []
    while position < len(text):
        start = position
        token, raw, position, last = _token(text, start, " ")
        name = ""
        if last == "=":
            name = token
            token, raw, position, last = _token(text, position, "=")
        if position == start:
            break
        found.append(Parameter(name, token, raw, start, position))
    return found


def _token(text: str, position: int, last: str) -> tuple[str, str, int, str]:
    """One token: its text without and with quotes, where it ends, and on what.

    The last delimiter is handed on from token to token as OpenDSS does: at the
    end of a line, and after a quote, it is the one before.
    """
    end = len(text) - 1  # the blank that was added
    start = position
    quote = _OPENING.find(text[position])
    if quote >= 0:
        stop = text.find(_CLOSING[quote], position + 1, end)
        token = text[position + 1 : stop if stop >= 0 else end]
        position = stop + 1 if stop >= 0 else end
    else:
        found = _END_OF_TOKEN.search(text, position, end)
        if found:
            last = {"//": _COMMENT, "\t": " "}.get(found.group(), found.group())
        position = found.start() if found else end
        token = text[start:position]
    raw = text[start:position]
    if last == _COMMENT:
        return token, raw, len(text), last
    if last == " ":
        position = _skip_blanks(text, position)
    if text[position] in _DELIMITERS:
        last = text[position]
        position += 1
    return token, raw, _skip_blanks(text, position), last


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) - 1 and text[position] in _BLANKS:
        position += 1
    return position


def command_lines(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Reads the lines of a file that are not inside a block of comment.

    Args:
        path: The file.

    Yields:
        The number of the line, from 1, and the line.

    Raises:
        GradmapError: If the file cannot be read or is no text.
    """
    data = read_file(path)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise GradmapError(f"{path}: is UTF-16 text, expected UTF-8: save it as that")
    if b"\0" in data:
        raise GradmapError(f"{path}: holds zero bytes, expected a text file")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    is_comment = False
    for number, line in enumerate(_END_OF_LINE.split(text), start=1):
        if line.startswith("/*"):
            is_comment = True
        if not is_comment:
            yield number, line
        elif "*/" in line:
            is_comment = False


def quoted(name: str) -> str:
    """A name of a file or bus between a pair of marks that are not in it.

    Raises:
        GradmapError: If it holds all of them.
    """
    for opening, closing in zip(_OPENING, _CLOSING, strict=True):
        if closing not in name:
            return f"{opening}{name}{closing}"
    raise GradmapError(f"the name {name!r} holds every kind of quote")


def one_line(error: Exception) -> str:
    """An OpenDSS error's text on one line."""
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """What a circuit's file says, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

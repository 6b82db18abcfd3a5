"""What a line of a circuit's file may do.

A circuit file comes from anywhere, and OpenDSS's language can run programs,
load code and write files. So OpenDSS never reads the file: each line is judged
here and handed over only if its command is one of those that define a circuit.
Commands that report are left out, what runs a program or loads code is
refused, and whatever is not known is refused as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from gradmap.feeders.dss_commands import (
    CONTINUES,
    DEFINES,
    FREE_PLACES,
    LOADS_CODE,
    OPTIONS,
    READS,
    REDIRECTS,
    RUN,
    SKIP,
    WRITES,
)
from gradmap.feeders.dss_text import Parameter, parameters


class Verdict(NamedTuple):
    """What becomes of a line.

    Attributes:
        commands: What to hand to OpenDSS, in order.
        skipped: What is left out of it, a phrase each.
        refused: Why the file is refused, or nothing.
        reads: The file that the one command reads, or nothing.
        redirect: The file to read in its place, or nothing.
        moves: Whether the folder of that file stays the present one.
    """

    commands: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    refused: str = ""
    reads: str = ""
    redirect: str = ""
    moves: bool = False


class Policy:
    """Judges one line after the other.

    Args:
        commands: OpenDSS's commands.
        options: Its options.
        classes: Its classes.
    """

    def __init__(
        self, commands: Sequence[str], options: Sequence[str], classes: Sequence[str]
    ) -> None:
        self._commands = [name.lower() for name in commands]
        self._options = [name.lower() for name in options]
        self._classes = {name.lower() for name in classes}
        self._active: str | None = None  # class of the object that `~` goes on with

    def judge(self, line: str) -> Verdict:
        """Says what becomes of a line."""
        if "\0" in line:
            return Verdict(refused="holds a zero byte")
        parts = parameters(line)
        if not parts or not (parts[0].name or parts[0].value):
            return Verdict()
        first, rest = parts[0], line[parts[0].stop :]
        if first.name:
            return self._property(line, parts)
        verb = _resolve(first.value, self._commands)
        active, self._active = self._active, None
        if verb in REDIRECTS:
            target = parts[1].value if len(parts) > 1 else ""
            return Verdict(redirect=target, moves=REDIRECTS[verb])
        if verb in SKIP:
            return Verdict(skipped=(f"`{verb}`",))
        if verb not in RUN:
            known = "may not stand in" if verb in self._commands else "is unknown to"
            return Verdict(refused=f"`{first.value}` {known} a circuit's file")
        if verb in ("set", "solve"):
            return self._set(parts[1:], is_solve=verb == "solve")
        if verb in DEFINES:
            self._active = self._class_of(parts[1:2])
            return self._edit(verb, rest, skip_first=True)
        if verb in CONTINUES:
            self._active = active
            return self._edit(verb, rest, skip_first=False)
        reads = parts[1].value if verb in READS and len(parts) > 1 else ""
        return Verdict(commands=(verb if reads else f"{verb} {rest}",), reads=reads)

    def _class_of(self, parts: Sequence[Parameter]) -> str | None:
        """Class of the object that a command names, or `None` if that is not plain."""
        name = parts[0].value.lower().partition(".")[0] if parts else ""
        if name == "circuit":
            return "vsource"
        return name if name in self._classes else None

    def _property(self, line: str, parts: Sequence[Parameter]) -> Verdict:
        """Judges `class.name.property=value`."""
        pieces = parts[0].name.lower().split(".", 2)
        self._active = pieces[0] if len(pieces) == 3 and pieces[0] in self._classes else None
        # OpenDSS puts the value between double quotes and reads it again.
        if '"' in parts[0].value:
            return Verdict(refused="sets a property to a value with a double quote in it")
        own = parts[0]._replace(name=pieces[-1])
        fault, cut = self._check([own, *parts[1:]])
        if fault:
            return Verdict(refused=fault)
        if own in cut:
            return Verdict(skipped=tuple(f"`{part.name}={part.value}`" for part in cut))
        return self._without(line, cut)

    def _edit(self, verb: str, rest: str, skip_first: bool) -> Verdict:
        """Judges the properties that follow an object's name, or go on with it."""
        parts = parameters(rest)[1 if skip_first else 0 :]
        fault, cut = self._check(parts)
        if fault:
            return Verdict(refused=fault)
        verdict = self._without(rest, cut)
        return verdict._replace(commands=(f"{verb} {verdict.commands[0]}",))

    @staticmethod
    def _without(text: str, cut: Sequence[Parameter]) -> Verdict:
        for part in reversed(cut):
            text = f"{text[: part.start]} {text[part.stop :]}"
        return Verdict((text,), tuple(f"`{part.name}={part.value}`" for part in cut))

    def _check(self, parts: Sequence[Parameter]) -> tuple[str, list[Parameter]]:
        """Why properties are refused, or nothing, and those to leave out."""
        cut = []
        is_named = False
        for place, part in enumerate(parts, start=1):
            name = part.name.lower()
            if not name:
                if fault := self._positional(place, is_named, part.value):
                    return fault, []
                continue
            is_named = True
            if name.startswith("@"):
                return "names a property by a variable", []
            fault = self._named(name, part.value)
            if fault:
                return fault, []
            for other in WRITES if self._is_risky() else ():
                is_it = other.startswith(name) and name != "d"  # `d` is a damping
                if is_it and not part.value.lower().startswith(WRITES[other]):
                    cut.append(part)
        return "", cut

    def _is_risky(self) -> bool:
        return self._active is None or self._active in FREE_PLACES

    def _positional(self, place: int, is_named: bool, value: str) -> str:
        if self._active == "load" and place == 1 and not is_named:
            return _phases_fault(value)
        if not value or not self._is_risky():
            return ""
        free = FREE_PLACES.get(self._active or "", 0)
        if is_named or place > free:
            return f"gives the value {value!r} without its property's name"
        return ""

    def _named(self, name: str, value: str) -> str:
        if self._is_risky() and name != "d":
            for other in LOADS_CODE:
                if other.startswith(name):
                    return (
                        f"`{name}` loads code of its own"
                        if len(name) > 3
                        else (f"`{name}` may stand for `{other}`: write the property's whole name")
                    )
        if self._active in (None, "load") and "phases".startswith(name):
            return _phases_fault(value)
        return ""

    def _set(self, parts: Sequence[Parameter], is_solve: bool) -> Verdict:
        """Judges options; each is set by a command of its own."""
        commands, skipped, place = [], [], -1
        for part in parts:
            if not part.value:
                continue
            known = _resolve(part.name, self._options) if part.name else ""
            place = self._options.index(known) if known in self._options else place + 1
            option = self._options[place] if known or not part.name else ""
            if not option:
                return Verdict(refused=f"`{part.name}` is no option of OpenDSS")
            if option not in OPTIONS:
                skipped.append(f"`set {option}={part.value}`")
                continue
            # AutoAdd writes files of what it added.
            if option == "mode" and not re.match(r"[b-z]", part.value.lower()):
                return Verdict(refused=f"sets mode {part.value!r}, which may write files")
            commands.append(f"set {option}={part.raw}")
        if is_solve:
            commands.append("solve")
        return Verdict(tuple(commands), tuple(skipped))


def _phases_fault(value: str) -> str:
    """OpenDSS 0.14 writes past the end of its memory for a load of more phases."""
    if re.fullmatch(r"[123]", value.strip()):
        return ""
    return f"makes a load of {value!r} phases, expected 1, 2 or 3"


def _resolve(name: str, names: Sequence[str]) -> str:
    """The name that a whole or shortened one stands for, or nothing."""
    name = name.lower()
    if name in names:
        return name
    return next((one for one in names if name and one.startswith(name)), "")

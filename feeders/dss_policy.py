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
    MODES,
    OPTIONS,
    READS,
    REDIRECTS,
    RUN,
    SKIP,
    WRITES,
)
from gradmap.feeders.dss_counts import count_fault, loop_fault, place_fault
from gradmap.feeders.dss_opens import files_of
from gradmap.feeders.dss_text import Parameter, parameters


class Verdict(NamedTuple):
    """What becomes of a line.

    Attributes:
        commands: What to hand to OpenDSS, in order.
        skipped: What is left out of it, a phrase each.
        refused: Why the file is refused, or nothing.
        reads: The file that the one command reads, or nothing.
        opens: Files of data that the commands may have OpenDSS open.
        redirect: The file to read in its place, or nothing.
        moves: Whether the folder of that file stays the present one.
    """

    commands: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    refused: str = ""
    reads: str = ""
    opens: tuple[str, ...] = ()
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
        self._opens: list[str] = []

    def judge(self, line: str) -> Verdict:
        """Says what becomes of a line."""
        self._opens = []
        verdict = self._judge(line)
        return verdict._replace(opens=tuple(self._opens)) if self._opens else verdict

    def _judge(self, line: str) -> Verdict:
        if "\0" in line:
            return Verdict(refused="holds a zero byte")
        parts = parameters(line)
        if not parts or not (parts[0].name or parts[0].value):
            return Verdict()
        first, rest = parts[0], line[parts[0].stop :]
        if first.name:
            return self._property(line, parts)
        verb = _resolve(first.value, self._commands)
        active, self._active = self._active, None  # of what changes the object, only `New` is sure
        if verb in REDIRECTS:
            target = parts[1].value if len(parts) > 1 else ""
            return Verdict(redirect=target, moves=REDIRECTS[verb])
        if verb in SKIP:
            return Verdict(skipped=(f"`{verb}`",))
        if verb not in RUN:
            known = "may not stand in a circuit's file" if verb else "is unknown to OpenDSS"
            return Verdict(refused=f"`{first.value}` {known}")
        if verb in ("set", "solve"):
            return self._set(parts[1:], is_solve=verb == "solve")
        if verb in DEFINES:
            self._active = self._class_of(verb, parts[1:2])
            # OpenDSS begins the names of the files it writes with the circuit's.
            if self._active == "vsource" and re.search(r"[/\\@]", parts[1].value):
                return Verdict(refused=f"names a circuit {parts[1].value!r}, like a file")
            verdict = self._edit(verb, rest, skip_first=True)
            # The others leave another object active where theirs does not exist.
            self._active = self._active if verb == "new" else None
            return verdict
        if verb in CONTINUES:
            self._active = active
            return self._edit(verb, rest, skip_first=False)
        if verb in READS and len(parts) > 1 and parts[1].value:
            return Verdict(commands=(verb,), reads=parts[1].value)
        self._opens = files_of(parts[1:], "")
        return _checked(f"{verb} {rest}", [Parameter("", verb), *parts[1:]])

    def _class_of(self, verb: str, parts: Sequence[Parameter]) -> str | None:
        """Class of the object that a command names, or `None` if that is not plain."""
        # A name without a dot is that of an object of the class before.
        name, dot, _ = parts[0].value.lower().partition(".") if parts else ("", "", "")
        if name == "circuit" and verb == "new":
            return "vsource"  # to edit or select a circuit changes no object
        return name if dot and name in self._classes else None

    def _property(self, line: str, parts: Sequence[Parameter]) -> Verdict:
        """Judges `class.name.property=value`."""
        pieces = parts[0].name.lower().split(".", 2)
        self._active = pieces[0] if len(pieces) == 3 and pieces[0] in self._classes else None
        # OpenDSS puts the value, a variable's too, between double quotes and reads it again.
        if '"' in parts[0].value:
            return Verdict(refused="sets a property to a value with a double quote in it")
        if parts[0].value.startswith("@"):
            return Verdict(refused="sets a property by `class.name.property=` to a variable")
        own = parts[0]._replace(name=pieces[-1])
        fault, cut = self._check([own, *parts[1:]])
        self._active = None
        if fault:
            return Verdict(refused=fault)
        if own in cut:
            return Verdict(skipped=_phrases(cut))
        return _without(line, parts, cut)

    def _edit(self, verb: str, rest: str, skip_first: bool) -> Verdict:
        """Judges the properties that follow an object's name, or go on with it."""
        line = f"{verb} {rest}"
        parts = parameters(line)
        fault, cut = self._check(parts[2 if skip_first else 1 :])
        if fault:
            return Verdict(refused=fault)
        return _without(line, [Parameter("", verb), *parts[1:]], cut)

    def _check(self, parts: Sequence[Parameter]) -> tuple[str, list[Parameter]]:
        """Why properties are refused, or nothing, and those to leave out."""
        cut = []
        is_named = False
        self._opens = files_of(parts, self._active)
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
        if not value:
            return ""
        if fault := place_fault(self._active, None if is_named else place, value):
            return fault
        if not self._is_risky():
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
        if self._active == "xycurve" and len(name) > 1 and "points".startswith(name):
            return f"`{name}` of a curve crashes OpenDSS: give xarray and yarray"
        return count_fault(self._active, name, value)

    def _set(self, parts: Sequence[Parameter], is_solve: bool) -> Verdict:
        """Judges options; each is set by a command of its own."""
        self._opens = files_of(parts, "")
        commands: list[str] = []
        skipped: list[str] = []
        place = -1
        for part in parts:
            if not part.value:
                continue
            known = _resolve(part.name, self._options) if part.name else ""
            place = self._options.index(known) if known in self._options else place + 1
            if place >= len(self._options) or (part.name and not known):
                return Verdict(refused=f"`{part.name or part.value}` is no option of OpenDSS")
            option = self._options[place]
            if option not in OPTIONS:
                skipped.append(f"`set {option}={part.value}`")
                continue
            if option == "mode" and not re.match(MODES, part.value.lower()):
                return Verdict(refused=f"sets mode {part.value!r}, which may write files")
            if fault := loop_fault(option, part.value):
                return Verdict(refused=fault)
            verdict = _checked(
                f"set {option}={part.raw}", [Parameter("", "set"), Parameter(option, part.value)]
            )
            if verdict.refused:
                return verdict
            commands += verdict.commands
        if is_solve:
            commands.append("solve")
        return Verdict(tuple(commands), tuple(skipped))


def _without(line: str, parts: Sequence[Parameter], cut: Sequence[Parameter]) -> Verdict:
    """The line less some of its parameters."""
    kept = [part for part in parts if part not in cut]
    for part in reversed(cut):
        line = f"{line[: part.start]} {line[part.stop :]}"
    return _checked(line, kept)._replace(skipped=_phrases(cut))


def _checked(line: str, meant: Sequence[Parameter]) -> Verdict:
    """Hands a line over if it still reads as what was judged."""
    found = [(part.name, part.value) for part in parameters(line)]
    if found != [(part.name, part.value) for part in meant]:
        return Verdict(refused="cannot be read without doubt")
    return Verdict(commands=(line,))


def _phrases(cut: Sequence[Parameter]) -> tuple[str, ...]:
    return tuple(f"`{part.name}={part.value}`" for part in cut)


def _resolve(name: str, names: Sequence[str]) -> str:
    """The name that a whole or shortened one stands for, or nothing."""
    name = name.lower()
    if name in names:
        return name
    return next((one for one in names if name and one.startswith(name)), "")

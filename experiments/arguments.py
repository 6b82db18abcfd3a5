"""The command line: tyro parses it, and every fault becomes one line."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import pydantic
import tyro

from gradmap.experiments.config_files import describe, suggest
from gradmap.feeders.errors import GradmapError

Parsed = TypeVar("Parsed")

_BOX = "╭╮╰╯│─├┤┌┐└┘"


def parse(
    kind: type[Parsed],
    arguments: Sequence[str],
    command: str,
    description: str,
    default: Parsed | None = None,
) -> Parsed:
    """Parses a command's arguments.

    Args:
        kind: Class whose fields are the options.
        arguments: What follows the command.
        command: The command as typed, `gradmap train METHOD`.
        description: What the help says first.
        default: Values of the options that are not given.

    Raises:
        GradmapError: If an option is unknown or a value cannot be used.
        SystemExit: With code 0, if help was asked for.
    """
    said = io.StringIO()
    subject = " ".join(command.split()[:2])
    more: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(said):
            value, unknown = tyro.cli(
                kind,
                prog=command,
                description=description,
                args=list(arguments),
                return_unknown_args=True,
                **more,
            )
    except (SystemExit, pydantic.ValidationError) as error:
        if isinstance(error, SystemExit) and not error.code:
            raise
        raise GradmapError(f"{subject}: {_reason(error, said.getvalue())}") from None
    if unknown:
        raise GradmapError(f"{subject}: {_unknown(unknown, default or value)}")
    parsed: Parsed = value
    return parsed


def take_option(arguments: Sequence[str], name: str) -> str | None:
    """Value of an option, the last if given twice, None if absent.

    Args:
        arguments: What follows the command.
        name: The option, `--config`.

    Raises:
        GradmapError: If the option stands last, without a value.
    """
    found = None
    for position, word in enumerate(arguments):
        if word.startswith(f"{name}="):
            found = word.partition("=")[2]
        elif word == name:
            if position + 1 == len(arguments):
                raise GradmapError(f"{name} needs a value")
            found = arguments[position + 1]
    return found


def take_feeder(arguments: Sequence[str]) -> str | None:
    """The feeder named by `--feeder`, or by `--task.feeder`, which says the same.

    Args:
        arguments: What follows the command.

    Raises:
        GradmapError: If the two differ, or one has no value.
    """
    short, long = take_option(arguments, "--feeder"), take_option(arguments, "--task.feeder")
    if short is not None and long is not None and short != long:
        raise GradmapError(f"--feeder {short} and --task.feeder {long}: name one of them")
    return long if short is None else short


def _unknown(words: Sequence[str], options: Any) -> str:
    flags = [word for word in words if word.startswith("-")]
    if not flags:
        return f"unexpected {' '.join(words)}; --help lists the options"
    known = [f"--{path.replace('_', '-')}" for path in _paths(options)]
    phrases = [flag.partition("=")[0] for flag in flags]
    return "; ".join(f"unknown option {flag}{suggest(flag, known)}" for flag in phrases)


def _paths(options: Any, prefix: str = "") -> list[str]:
    """Dotted names of all fields, as tyro writes them as options."""
    if isinstance(options, pydantic.BaseModel):
        fields: Mapping[str, Any] = {
            name: getattr(options, name) for name in type(options).model_fields
        }
    else:
        fields = {name: getattr(options, name) for name in options.__dataclass_fields__}
    paths = []
    for name, value in fields.items():
        is_group = isinstance(value, pydantic.BaseModel) or hasattr(value, "__dataclass_fields__")
        if not is_group:
            paths.append(prefix + name)
        else:
            # A command's settings stand without a prefix.
            paths += _paths(value, "" if name == "settings" else f"{prefix}{name}.")
    return paths


def _reason(error: BaseException, said: str) -> str:
    """What was wrong: the exception below tyro's, or the text of its box."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, pydantic.ValidationError):
            return "; ".join(describe(cause, {}))
        if isinstance(cause, GradmapError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    lines = []
    for line in said.splitlines()[1:]:
        text = line.strip(_BOX + " ")
        if text.strip("-"):
            lines.append(text)
        elif lines:  # the rule below the message
            break
    return _plain(" ".join(lines)) or "the arguments cannot be used; --help lists the options"


def _plain(said: str) -> str:
    """What tyro says of what is missing, in a sentence; anything else as it is."""
    if found := re.fullmatch(r"Missing from (.*?): (.*)", said):
        command, rest = found.groups()
        # Of each: a type in capitals, its help, and that it is required.
        wanted = re.findall(r"[A-Z|]+ (.*?)\.? \(required\)", rest)
        named = "; ".join(text[:1].lower() + text[1:] for text in wanted) or rest
        return f"expected after `{command}`: {named}; --help lists the options"
    if found := re.match(r"Missing value for argument '(.*?)'", said):
        return f"{found.group(1)} has no value; --help lists the options"
    return said

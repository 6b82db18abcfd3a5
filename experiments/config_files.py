"""Reads YAML and turns every fault that pydantic finds into one line."""

from __future__ import annotations

import difflib
import pathlib
from collections.abc import Hashable, Mapping, Sequence
from importlib import resources
from typing import Any, TypeVar

import pydantic
import yaml

from gradmap.feeders.errors import GradmapError, raise_faults

Model = TypeVar("Model", bound=pydantic.BaseModel)

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice; YAML itself keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Builds a mapping.

        Args:
            node: The mapping's node.
            deep: Whether to build its values at once.

        Raises:
            yaml.constructor.ConstructorError: If a key is given twice.
        """
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def bundled_configs() -> list[str]:
    """Names of the configurations that come with the package, sorted."""
    folder = resources.files("gradmap.experiments") / "configs"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name[0] != "_")


def load_yaml(source: str | pathlib.Path) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping.

    Args:
        source: The file, or the name of a bundled configuration such as
            `smoke`.

    Returns:
        The mapping; empty for an empty file.

    Raises:
        GradmapError: If there is no such file, or it holds no valid mapping.
    """
    path = pathlib.Path(source)
    try:
        if not path.exists() and str(source) in bundled_configs():
            inside = resources.files("gradmap.experiments") / "configs" / f"{source}.yaml"
            text = inside.read_text("utf-8")
        else:
            text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise GradmapError(
            f"cannot read configuration {source}: {reason}; give a YAML file or one of "
            f"{', '.join(bundled_configs())}"
        ) from None
    try:
        data = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise GradmapError(f"{source} is not valid YAML: {_yaml_problem(error)}") from None
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise GradmapError(f"{source} holds a {type(data).__name__}, expected keys and values")
    return data


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lays one nested mapping over another, which stays as it was.

    Args:
        base: What holds where `over` is silent.
        over: What wins.
    """
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        result[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return result


def validate(
    model: type[Model], values: Mapping[str, Any], known: Mapping[str, Any], subject: str
) -> Model:
    """Builds a configuration, and names all faults at once.

    Args:
        model: The configuration's class.
        values: Nested values.
        known: A complete nested mapping, whose keys are those allowed.
        subject: Where the values come from, for the message.

    Raises:
        GradmapError: If any value or key is at fault; the message names all.
    """
    try:
        return model.model_validate(dict(values))
    except pydantic.ValidationError as error:
        raise_faults(subject, describe(error, known))
        raise  # never reached: a validation error has at least one fault


def describe(error: pydantic.ValidationError, known: Mapping[str, Any]) -> list[str]:
    """One phrase for each fault that pydantic found.

    Args:
        error: What pydantic raised.
        known: A complete nested mapping, whose keys are those allowed.
    """
    return [_phrase(dict(fault), known) for fault in error.errors(include_url=False)]


def suggest(word: str, known: Sequence[str]) -> str:
    """` (did you mean ...?)` with the nearest known words, or the known ones if few."""
    near = difflib.get_close_matches(word, known, n=2, cutoff=0.7)
    if near:
        return f" (did you mean {' or '.join(near)}?)"
    return f" (known: {', '.join(known)})" if 0 < len(known) <= 12 else ""


def _phrase(fault: dict[str, Any], known: Mapping[str, Any]) -> str:
    where = [str(part) for part in fault["loc"]]
    path = ".".join(where)
    if fault["type"] in _UNKNOWN:
        level: Any = known
        for part in where[:-1]:
            level = level.get(part, {}) if isinstance(level, Mapping) else {}
        keys = list(level) if isinstance(level, Mapping) else []
        return f"unknown key {path}{suggest(where[-1], keys)}"
    if fault["type"] in ("value_error", "assertion_error"):
        reason = str(fault["ctx"]["error"])
        return reason if path and path in reason else f"{path}: {reason}" if path else reason
    message = str(fault["msg"]).replace("Input should be", "expected")
    return f"{path}: {message[0].lower()}{message[1:]}, found {fault['input']!r}"


def _yaml_problem(error: yaml.YAMLError) -> str:
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    mark = getattr(error, "problem_mark", None)
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else problem

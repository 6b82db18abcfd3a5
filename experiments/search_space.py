"""What a search may try: for each method a file of its settings and their ranges.

    learning_rate: {log: [0.003, 0.03]}
    days_per_batch: {choice: [4, 8, 16]}
    price.voltage_usd_per_pu: {log: [100, 1000]}

The files lie in `experiments/spaces/`; a dot leads into nested settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import resources
from typing import Annotated, Any

import pydantic
from pydantic import ConfigDict, Field

from gradmap.experiments.config import RunConfig
from gradmap.experiments.config_files import describe, load_yaml, merge, suggest, validate
from gradmap.experiments.config_load import load_run_config
from gradmap.experiments.registry import METHODS, method_spec
from gradmap.feeders.errors import GradmapError, raise_faults

Settings = dict[str, Any]
"""Values by the dotted names of a method's settings."""


class Domain(pydantic.BaseModel):
    """Values that a setting may take, one of four kinds.

    Attributes:
        choice: One of these, each as likely as the others.
        log: Lowest and highest number, its logarithm evenly spread.
        uniform: Lowest and highest number, evenly spread.
        int: Lowest and highest whole number, both included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    choice: Annotated[tuple[Any, ...], Field(min_length=2)] | None = None
    log: tuple[float, float] | None = None
    uniform: tuple[float, float] | None = None
    int: tuple[pydantic.StrictInt, pydantic.StrictInt] | None = None

    @pydantic.model_validator(mode="after")
    def _is_one_range(self) -> Domain:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            raise ValueError(f"{', '.join(given) or 'no range'} given, expected one of {_KINDS}")
        if self.kind != "choice":
            low, high = self.ends
            if not low < high:
                raise ValueError(f"{self.kind} is [{low}, {high}], expected the lower end first")
            if self.kind == "log" and not low > 0:
                raise ValueError(f"log is [{low}, {high}], expected ends above 0")
        return self

    @property
    def kind(self) -> str:
        """`choice`, `log`, `uniform` or `int`."""
        return next(name for name, value in self if value is not None)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The lowest and the highest value, or all values of a choice."""
        ends: tuple[Any, ...] = getattr(self, self.kind)
        return ends

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the range.

        Args:
            value: The value; a tuple is the same as a list.
        """
        if self.kind == "choice":
            return _plain(value) in [_plain(each) for each in self.ends]
        low, high = self.ends
        return isinstance(value, (int, float)) and bool(low <= value <= high)


_KINDS = ", ".join(Domain.model_fields)

Space = dict[str, Domain]
"""Ranges by the dotted names of a method's settings."""


def tunable() -> tuple[str, ...]:
    """Methods that come with a search space, in the order of tables."""
    folder = resources.files("gradmap.experiments") / "spaces"
    found = {file.name.removesuffix(".yaml") for file in folder.iterdir()}
    return tuple(name for name in METHODS if name in found)


def load_space(method: str) -> Space:
    """Reads the search space of a method.

    Args:
        method: Name of the method.

    Raises:
        GradmapError: If the method is unknown or has no space, or the file is
            at fault.
    """
    method_spec(method)
    if method not in tunable():
        raise GradmapError(
            f"method {method} has no search space; those that have one: {', '.join(tunable())}"
        )
    source = resources.files("gradmap.experiments") / "spaces" / f"{method}.yaml"
    with resources.as_file(source) as path:
        return check_space(method, load_yaml(path), f"spaces/{method}.yaml")


def check_space(method: str, values: Mapping[str, Any], subject: str) -> Space:
    """Turns the content of a file into a space.

    Args:
        method: Name of the method.
        values: The file's content.
        subject: Where it comes from, for the message.

    Raises:
        GradmapError: If a name is none of the method's settings, a range is
            malformed, or the method refuses an end of it; names all faults.
    """
    known = own_settings(method)
    faults, space = [], {}
    if not values:
        faults.append("no setting, expected one or more")
    for name, given in values.items():
        if name not in known:
            faults.append(f"unknown setting {name}{suggest(name, list(known))}")
            continue
        try:
            space[name] = Domain.model_validate(given)
        except pydantic.ValidationError as error:
            fields = dict.fromkeys(Domain.model_fields)
            faults += [f"{name}: {each}" for each in describe(error, fields)]
    for name, domain in space.items():
        for end in domain.ends:
            try:
                with_settings(load_run_config(method), {name: end})
            except GradmapError as error:
                faults.append(f"{name}: {error}")
    raise_faults(subject, list(dict.fromkeys(faults)))
    return space


def own_settings(method: str) -> Settings:
    """Defaults of a method by the dotted names of its settings.

    Args:
        method: Name of the method.

    Raises:
        GradmapError: If it is unknown or takes no settings.
    """
    spec = method_spec(method)
    if spec.defaults is None:
        raise GradmapError(f"method {method} takes no settings: there is nothing to search")
    return _flat(dataclasses.asdict(spec.defaults))


def nested(settings: Settings) -> dict[str, Any]:
    """Turns dotted names into nested mappings, as configuration files have them.

    Args:
        settings: Values by dotted names.
    """
    result: dict[str, Any] = {}
    for name, value in settings.items():
        tree = value
        for part in reversed(name.split(".")):
            tree = {part: tree}
        result = merge(result, tree)
    return result


def with_settings(config: RunConfig, settings: Settings) -> RunConfig:
    """Lays values over the method's own settings in a run's configuration.

    Args:
        config: The run.
        settings: Values by the dotted names of the method's settings.

    Raises:
        GradmapError: If the method refuses them; names all faults.
    """
    known = config.model_dump(mode="json")
    section = method_spec(config.method).settings
    values = merge(known, {str(section): nested(settings)})
    return validate(RunConfig, values, known, f"method {config.method}")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Settings:
    result: Settings = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            result |= _flat(value, f"{prefix}{key}.")
        else:
            result[prefix + key] = _plain(value)
    return result


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value

"""`gradmap train METHOD`."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import shlex
from collections.abc import Sequence
from typing import Annotated, Any, cast

import pydantic
from tyro.conf import Suppress, arg

from gradmap.experiments.arguments import parse, take_feeder, take_option
from gradmap.experiments.config import RunConfig
from gradmap.experiments.config_load import check_run_config, load_run_config
from gradmap.experiments.registry import METHODS, method_spec
from gradmap.experiments.runs import RunFolder
from gradmap.experiments.sections import SECTIONS
from gradmap.feeders.errors import GradmapError

DESCRIPTION = """\
Trains METHOD (`gradmap methods` lists them) and writes a run's folder.
Options given here win over --config, and that over the method's defaults."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of `gradmap train`.

    Attributes:
        config: YAML file of settings, or the name of a bundled one.
        feeder: Feeder to train on, in place of the task's: a name of `gradmap
            feeders`, or the path of a circuit's master .dss file.
        resume: Folder of a run to continue; its settings hold.
        out: Folder of the new run; runs/METHOD-TIME if not given.
        settings: The run.
    """

    config: str | None = None
    feeder: str | None = None
    resume: pathlib.Path | None = None
    out: pathlib.Path | None = None
    settings: Annotated[RunConfig, arg(name="")] = RunConfig()


def run(command: str, words: Sequence[str]) -> int:
    """Trains a method.

    Args:
        command: `train`.
        words: What follows it.

    Returns:
        0, or 130 if it was asked to stop.
    """
    arguments = _arguments(list(words))
    line = shlex.join(["gradmap", command, *words])
    # Here, not above: help and faults on the command line need no torch.
    from gradmap.experiments.session import resume_run, start_run

    if arguments.resume is None:
        out = arguments.out or _default_out(arguments.settings.method)
        return start_run(arguments.settings, out, line)
    if arguments.out is not None:
        raise GradmapError("--resume writes to the run's own folder; leave out --out")
    return resume_run(arguments.resume, arguments.settings, line)


def _arguments(words: list[str]) -> Arguments:
    """Reads the command line in two passes: what the defaults are, then all."""
    is_help = "--help" in words or "-h" in words
    resume, config = take_option(words, "--resume"), take_option(words, "--config")
    method = words.pop(0) if words and not words[0].startswith("-") else None
    if method is not None:
        method_spec(method)
    if resume is not None and not is_help:
        if config is not None:
            raise GradmapError("--resume continues with the run's own settings; leave out --config")
        if take_feeder(words) is not None:
            raise GradmapError("--resume continues on the run's own feeder; leave out --feeder")
        settings = RunFolder.open(pathlib.Path(resume)).config
        if method not in (None, settings.method):
            raise GradmapError(f"{resume} was trained by {settings.method}, not by {method}")
    elif method is None and not is_help:
        raise GradmapError(f"gradmap train: name a method first: {', '.join(METHODS)}")
    else:
        settings = load_run_config(
            method or "gradmap", config, take_feeder(words), take_option(words, "--task.name")
        )
    # Options of other methods are read all the same: what is wrong with them is said below.
    default = _own_options(settings) if is_help and method else Arguments(settings=settings)
    parsed = parse(type(default), words, "gradmap train METHOD", DESCRIPTION, default)
    check_run_config(parsed.settings)
    return parsed


def _own_options(settings: RunConfig) -> Arguments:
    """Defaults of which help shows the method's own settings, and those of no other."""
    own, hide = method_spec(settings.method).settings, cast(Any, Suppress)
    hidden: dict[str, Any] = {
        name: (hide[field.annotation], field.default)
        for name, field in RunConfig.model_fields.items()
        if name in SECTIONS and name != own
    }
    shown = pydantic.create_model(
        "RunConfig", __base__=RunConfig, __doc__=RunConfig.__doc__, **hidden
    )
    default = shown(**dict(settings))
    kind = dataclasses.make_dataclass(
        "Arguments",
        [("settings", Annotated[shown, arg(name="")], dataclasses.field(default=default))],
        bases=(Arguments,),
        frozen=True,
        namespace={"__doc__": Arguments.__doc__},
    )
    return cast(Arguments, kind())


def _default_out(method: str) -> pathlib.Path:
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return pathlib.Path("runs") / f"{method}-{stamp}"

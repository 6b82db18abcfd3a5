"""Builds configurations: a method's defaults, then YAML, then the command line."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from gradmap.envs.config import TaskConfig
from gradmap.envs.kinds import HandOver
from gradmap.experiments.config import CompareConfig, RunConfig
from gradmap.experiments.config_files import Model, load_yaml, merge, suggest, validate
from gradmap.experiments.registry import METHODS, MethodSpec, method_spec
from gradmap.experiments.sections import SECTIONS
from gradmap.feeders.errors import GradmapError, raise_faults


def load_run_config(
    method: str,
    source: str | pathlib.Path | None = None,
    feeder: str | None = None,
    task: str | None = None,
) -> RunConfig:
    """Builds the configuration of a run.

    Args:
        method: Name of the method; it wins over one named in the file.
        source: YAML file or name of a bundled configuration; its values win
            over the method's defaults. Of a comparison's, what holds for the
            method.
        feeder: Feeder of the task, in place of the file's; see `own_task`.
        task: Name of the task, in place of the file's.

    Raises:
        GradmapError: If method or file cannot be used; names all faults.
    """
    spec = method_spec(method)
    values = {} if source is None else _of_comparison(load_yaml(source), spec)
    values["method"] = method
    defaults = _default_run(spec).model_dump(mode="json")
    return _build(RunConfig, defaults, values, source, feeder, task)


def check_run_config(config: RunConfig) -> RunConfig:
    """Refuses settings that would mean nothing to the method.

    Args:
        config: The configuration with all overrides.

    Raises:
        GradmapError: If there are any.
    """
    spec = method_spec(config.method)
    foreign: set[str] = {section for section in SECTIONS if section != spec.settings}
    expected, found = (
        each.model_dump(mode="json", include=foreign) for each in (RunConfig(), config)
    )
    given = differences(expected, found)
    if given:
        own = "it takes no settings" if spec.settings is None else f"its own are {spec.settings}.*"
        raise GradmapError(
            f"method {config.method} does not learn from {', '.join(given)}; leave "
            f"{'it' if len(given) == 1 else 'them'} out: {own}"
        )
    return config


def _of_comparison(values: dict[str, Any], spec: MethodSpec) -> dict[str, Any]:
    """What a comparison's file says of a method's run; other files as they are."""
    foreign = set(CompareConfig.model_fields) - set(RunConfig.model_fields)
    result = {name: value for name, value in values.items() if name not in foreign}
    settings, budget = values.get("settings"), values.get("reference_budget")
    if spec.settings and isinstance(settings, Mapping) and spec.name in settings:
        result[spec.settings] = settings[spec.name]
    if spec.is_reference and budget is not None:
        result["budget"] = budget
    return result


def own_values(config: RunConfig) -> dict[str, Any]:
    """A run's configuration as YAML holds it, without the settings of other methods.

    What a file does not hold cannot be at odds with a later version.

    Args:
        config: The run.
    """
    own = method_spec(config.method).settings
    foreign = {section for section in SECTIONS if section != own}
    dumped: dict[str, Any] = config.model_dump(mode="json", exclude=foreign)
    return dumped


def _default_run(spec: MethodSpec, **shared: Any) -> RunConfig:
    """A run with the method's defaults in its own section."""
    own: dict[str, Any] = {} if spec.settings is None else {spec.settings: spec.defaults}
    return RunConfig(method=spec.name, **own, **shared)


def differences(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the values in which two nested mappings differ.

    Args:
        one: A mapping.
        other: Another.
        prefix: What stands before every name.
    """
    found = []
    for key in dict.fromkeys((*one, *other)):
        a, b = one.get(key), other.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}")
    return found


def load_compare_config(
    source: str | pathlib.Path, feeder: str | None = None, task: str | None = None
) -> CompareConfig:
    """Builds the configuration of a comparison.

    Args:
        source: YAML file or name of a bundled configuration.
        feeder: Feeder of the task, in place of the file's; see `own_task`.
        task: Name of the task, in place of the file's.

    Raises:
        GradmapError: If the file cannot be used; names all faults.
    """
    defaults = CompareConfig().model_dump(mode="json")
    config = _build(CompareConfig, defaults, load_yaml(source), source, feeder, task)
    run_configs(config)
    return config


class RunKey(NamedTuple):
    """Place of a run in a comparison.

    Attributes:
        task: Name of the task in the comparison.
        method: Name of the method.
        seed: Seed of the learner.
    """

    task: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.task}/{self.method}/seed-{self.seed}"


def run_configs(config: CompareConfig) -> dict[RunKey, RunConfig]:
    """The configuration of each run: tasks, then methods in the table's order, then seeds.

    Args:
        config: The comparison.

    Raises:
        GradmapError: If a method or seed is unknown or named twice, or
            settings or a task are at fault; names all faults.
    """
    methods = config.methods or tuple(METHODS)
    faults = [
        f"unknown method {name}{suggest(name, list(METHODS))}"
        for name in dict.fromkeys((*methods, *config.settings))
        if name not in METHODS
    ]
    for what, given in (("method", methods), ("seed", config.seeds), ("split", config.splits)):
        faults += [f"{what} {n} is named twice" for n in dict.fromkeys(given) if given.count(n) > 1]
    tasks = _tasks(config, faults)
    runs: dict[RunKey, RunConfig] = {}
    for task, values in tasks.items():
        for method in (name for name in dict.fromkeys(methods) if name in METHODS):
            try:
                runs |= _method_runs(config, task, values, method)
            except GradmapError as error:
                faults.append(str(error))
    raise_faults("comparison", list(dict.fromkeys(faults)))
    return runs


def has_seeds(spec: MethodSpec) -> bool:
    """Whether two seeds of a method differ: of those that learn, references aside.

    Args:
        spec: The method.
    """
    return spec.needs_training and not spec.is_reference


_SHARED = frozenset(CompareConfig.model_fields) & frozenset(RunConfig.model_fields)
_OF_FEEDER = ("name", "feeder", "taps", "difficulty", "scenarios")
"""Keys of a task whose values follow from its feeder, see `own_task`."""

_MAY_BE_SHARED = ("regulation", "vmin_pu", "vmax_pu")
"""Likewise, unless a comparison of several tasks says something for all of them."""

_TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _tasks(config: CompareConfig, faults: list[str]) -> dict[str, dict[str, Any]]:
    """Values of each task by its name; what is at fault goes into `faults`."""
    whole = config.model_dump(mode="json")["task"]
    tasks = {}
    for name in config.tables:
        over = config.tasks.get(name, {})
        if not _TASK_NAME.fullmatch(name):
            faults.append(f"task {name!r} names a folder: use letters, digits, '.', '_' and '-'")
            continue
        tasks[name] = merge(_task_base(whole, over), over)
    return tasks


def _task_base(whole: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a task of several before those of its own."""
    published, feeder = over.get("name"), over.get("feeder")
    if isinstance(feeder, str) and feeder != whole["feeder"]:
        own = _of_feeder(feeder, over)
        usual = dataclasses.asdict(TaskConfig())
        unsaid = [key for key in _MAY_BE_SHARED if whole[key] == usual[key]]
        return {**whole, **{key: own[key] for key in (*_OF_FEEDER, *unsaid)}}
    return whole if published in (None, whole["name"]) else merge(whole, _published(published))


def _method_runs(
    config: CompareConfig, task: str, values: Mapping[str, Any], method: str
) -> dict[RunKey, RunConfig]:
    """The runs of a method on a task, a seed each."""
    spec, given = METHODS[method], config.settings.get(method, {})
    if spec.settings is None and given:
        raise GradmapError(f"settings.{method}: it takes none, found {', '.join(given)}")
    shared = {name: getattr(config, name) for name in _SHARED}
    if spec.is_reference and config.reference_budget is not None:
        shared["budget"] = config.reference_budget
    known = _default_run(spec, **shared).model_dump(mode="json")
    over = {spec.settings: given} if spec.settings else {}
    subject = f"settings.{method}" if given else f"tasks.{task}"
    base = validate(RunConfig, merge({**known, "task": values}, over), known, subject)
    return {
        RunKey(task, method, seed): base.model_copy(update={"seed": seed})
        for seed in (config.seeds if has_seeds(spec) else config.seeds[:1])
    }


def _build(
    model: type[Model],
    defaults: Mapping[str, Any],
    values: dict[str, Any],
    source: Any,
    feeder: str | None = None,
    name: str | None = None,
) -> Model:
    """Lays a file's values over the defaults of the task that it names."""
    subject = "configuration" if source is None else str(source)
    task = values.get("task")
    if isinstance(task, str):
        values = {**values, "task": {"name": task}}
    for key, over in (("feeder", feeder), ("name", name)):
        if over is not None and isinstance(values.get("task", {}), dict):
            values = {**values, "task": {**values.get("task", {}), key: over}}
    given = values["task"] if isinstance(values.get("task"), dict) else {}
    known = {**defaults, "task": _task_defaults(defaults["task"], given)}
    return validate(model, merge(known, values), known, subject)


def _task_defaults(known: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a task before those given: of the task or the feeder that they name."""
    name, feeder = given.get("name"), given.get("feeder")
    if set(known) <= set(given):  # nothing is left to fill in, least of all taps by name
        return {**known, "taps": None}
    if isinstance(feeder, str) and _is_own(feeder, name, known["feeder"]):
        # Not merged: taps by name are those of one feeder.
        return _of_feeder(feeder, given)
    return _published(name) if isinstance(name, str) and name != known["name"] else known


def _is_own(feeder: str, name: Any, known: str) -> bool:
    """Whether a feeder means its own task: the published one's does if the name says so."""
    if feeder not in (known, TaskConfig().feeder):
        return True
    from gradmap.envs.own_task import task_name

    return bool(name == task_name(feeder))


def _of_feeder(feeder: str, given: Mapping[str, Any]) -> dict[str, Any]:
    # Here, not above: see `_published`.
    from gradmap.envs.own_task import own_task

    placement = given.get("placement")
    is_listed = isinstance(placement, Mapping) and placement.get("csv") is not None
    task = own_task(feeder, **_handed_over(given))
    dumped: dict[str, Any] = RunConfig(task=task).model_dump(mode="json")["task"]
    return {**dumped, "difficulty": None} if is_listed else dumped


def _handed_over(given: Mapping[str, Any]) -> dict[str, Any]:
    """What of a task decides on the number of agents and on sizes, if devices are handed over."""
    hand_over = given.get("hand_over")
    is_usable = isinstance(hand_over, list | tuple) and set(map(str, hand_over)) <= set(
        get_args(HandOver)
    )
    if not hand_over or not is_usable:
        return {}  # what is at fault is found where the whole task is checked
    found: dict[str, Any] = {"hand_over": tuple(hand_over)}
    if isinstance(given.get("num_agents"), int):
        found["num_agents"] = given["num_agents"]
    elif "mix" in given:
        found["num_agents"] = TaskConfig().num_agents
    return found


def _published(name: str) -> dict[str, Any]:
    # Here, not above: the catalog loads torch, which `--help` can do without.
    from gradmap.envs.catalog import task_config

    dumped: dict[str, Any] = RunConfig(task=task_config(name)).model_dump(mode="json")["task"]
    return dumped

"""The trials of a search, drawn before any of them runs.

A trial is a run as `gradmap train` makes it. Its name is a digest of all
that its result depends on, so that a search that is repeated, or made longer,
finds the trials that it has.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import pydantic
from pydantic import ConfigDict, Field

from gradmap.envs.config import TaskConfig
from gradmap.experiments.config import Budget, RunConfig, Selection, Validation
from gradmap.experiments.config_files import suggest
from gradmap.experiments.config_load import load_run_config
from gradmap.experiments.registry import METHODS, check_installed
from gradmap.experiments.search_space import (
    Domain,
    Settings,
    Space,
    load_space,
    own_settings,
    tunable,
    with_settings,
)
from gradmap.feeders.errors import raise_faults

SHARED = ("task", "seed", "device", "budget", "validation", "selection")
"""Settings that all trials of a search have in common."""

_FREE = ("threads", "device", "checkpoint_seconds", "evaluation_batch")
"""Settings of a run on which no result hangs."""

_DIGITS = 3
"""Significant digits of a number that is drawn: nobody tunes a fourth."""


class SearchConfig(pydantic.BaseModel):
    """A search: the same task, days, budget and number of trials for every method.

    Attributes:
        task: The task.
        seed: Seed of the learners, and of the trials that are drawn.
        trials: Trials of each method; the first has the method's defaults.
        device: `auto` (the GPU when there is one), `cpu` or `cuda`.
        budget: How long each trial trains.
        validation: When and on what policies are judged.
        selection: Which checkpoint of a trial, and which trial, is best.
        workers: Trials at the same time, on one core each; none for as many
            as there are cores.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: TaskConfig = TaskConfig()
    seed: Annotated[int, Field(ge=0)] = 0
    trials: Annotated[int, Field(ge=1)] = 8
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    budget: Budget = Budget(seconds=40.0)
    validation: Validation = Validation(every=5)
    selection: Selection = Selection()
    workers: Annotated[int, Field(ge=1)] | None = None


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial of a search.

    Attributes:
        number: Its place, from 0, the defaults.
        name: Digest of all that its result depends on.
        settings: The values tried.
        config: The run.
    """

    number: int
    name: str
    settings: Settings
    config: RunConfig

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.config.method


def pick_methods(names: Sequence[str]) -> tuple[str, ...]:
    """Turns the words of a command line into methods.

    Args:
        names: Methods, or `all` for those that have a search space.

    Raises:
        GradmapError: If a method is unknown, named twice, has no search
            space, or needs what is not installed; names all faults.
    """
    known = tunable()
    if tuple(names) == ("all",):
        check_installed(known)
        return known
    faults = [
        f"method {name} has no search space (those that have one: {', '.join(known)})"
        if name in METHODS
        else f"unknown method {name}{suggest(name, list(METHODS))}"
        for name in dict.fromkeys(names)
        if name not in known
    ]
    faults += [f"method {n} is named twice" for n in dict.fromkeys(names) if names.count(n) > 1]
    if not names:
        faults.append(f"no method, expected all or some of {', '.join(known)}")
    raise_faults("gradmap tune", faults)
    check_installed(names)
    return tuple(names)


def plan_trials(search: SearchConfig, method: str, space: Space | None = None) -> list[Trial]:
    """Draws the trials of a method; the first has its defaults.

    Two trials may be equal where there is little to choose from.

    Args:
        search: The search.
        method: Name of the method.
        space: What to try; the one that comes with the package if None.

    Raises:
        GradmapError: If the space is at fault, or the method refuses a trial.
    """
    space = load_space(method) if space is None else space
    shared = {name: getattr(search, name) for name in SHARED}
    base = load_run_config(method).model_copy(update=shared)
    defaults = own_settings(method)
    tried = [{name: defaults[name] for name in space}]
    tried += draw(space, search.trials - 1, search.seed)
    trials = []
    for number, settings in enumerate(tried):
        config = with_settings(base, settings)
        trials.append(Trial(number, trial_name(config), settings, config))
    return trials


def draw(space: Space, num: int, seed: int) -> list[Settings]:
    """Draws settings at random, as Ray Tune's `BasicVariantGenerator` does.

    The first of many are the same as those of few.

    Args:
        space: What to draw from.
        num: How many.
        seed: Seed.
    """
    # Here, not above: it takes seconds, and spaces can be read without it.
    from ray.tune.search.variant_generator import generate_variants

    random = np.random.default_rng(seed)
    ranges = {name: _range(domain) for name, domain in space.items()}
    drawn = (next(generate_variants(ranges, random_state=random))[1] for _ in range(num))
    return [
        {name: _rounded(value, space[name]) for name, value in settings.items()}
        for settings in drawn
    ]


def trial_name(config: RunConfig) -> str:
    """Digest of all that a trial's result depends on.

    Args:
        config: The run.
    """
    section = METHODS[config.method].settings
    sections = {spec.settings for spec in METHODS.values()} - {section, None}
    values = config.model_dump(mode="json", exclude={*_FREE, *(s for s in sections if s)})
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _range(domain: Domain) -> Any:
    from ray import tune

    if domain.kind == "choice":
        return tune.choice(list(domain.ends))
    low, high = domain.ends
    if domain.kind == "int":
        return tune.randint(low, high + 1)
    return tune.loguniform(low, high) if domain.kind == "log" else tune.uniform(low, high)


def _rounded(value: Any, domain: Domain) -> Any:
    if domain.kind == "int":
        return int(value)
    if domain.kind == "choice":
        return value
    low, high = domain.ends
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)

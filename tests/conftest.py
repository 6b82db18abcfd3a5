"""What tests of every layer share."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest

if TYPE_CHECKING:
    from gradmap.envs.core import Core
    from gradmap.envs.scenarios.model import ScenarioSet
    from gradmap.feeders.model import Feeder

# A busy machine must not fail a test, and a failure must come back on the next run.
hypothesis.settings.register_profile("gradmap", deadline=None, derandomize=True)
hypothesis.settings.load_profile("gradmap")

SUB_PACKAGES = ("feeders", "envs", "algorithms", "baselines", "experiments")


def _folder(package: str) -> pathlib.Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None, f"{package} has no __init__.py"
    return pathlib.Path(spec.origin).parent


@pytest.fixture(scope="session")
def modules() -> dict[str, pathlib.Path]:
    """The file of every module of the package under test: checkout or installed wheel."""
    found = {"gradmap": _folder("gradmap") / "__init__.py"}
    for name in SUB_PACKAGES:
        top = _folder(f"gradmap.{name}")
        for path in sorted(top.rglob("*.py")):
            parts = path.relative_to(top).with_suffix("").parts
            tail = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join(("gradmap", name, *tail))] = path
    return found


# Loading the feeder and its year of scenarios takes half a second and no test
# changes them: once for each process.
@functools.cache
def _feeder() -> Feeder:
    from gradmap.envs.config import TaskConfig
    from gradmap.feeders.catalog import load_feeder

    return load_feeder("ieee123", TaskConfig().taps)


@functools.cache
def _year() -> ScenarioSet:
    from gradmap.envs.config import TaskConfig
    from gradmap.envs.scenarios.build import build_scenarios

    return build_scenarios(_feeder(), TaskConfig().scenarios)


@pytest.fixture(scope="session")
def task_feeder() -> Feeder:
    """The published task's feeder at the published taps."""
    return _feeder()


@pytest.fixture(scope="session")
def few_days() -> ScenarioSet:
    """Eight days of the published task, spread over the year: 4 train, 2 validation, 2 test."""
    year = _year()

    def some(split: str, num: int) -> Sequence[int]:
        days = year.days(split)
        return days[np.linspace(0, len(days) - 1, num).astype(int)].tolist()

    return year.subset([*some("train", 4), *some("validation", 2), *some("test", 2)])


MakeCore = Callable[..., "Core"]


@pytest.fixture(scope="session")
def make_core(few_days: ScenarioSet) -> MakeCore:
    """Makes cores of the published task, shrunk: `steps` cuts the days short."""
    from gradmap.envs.config import TaskConfig
    from gradmap.envs.core import Core
    from gradmap.envs.fleet import build_agents
    from gradmap.envs.scenarios.model import PER_STEP, PER_TERMINAL

    def make(
        num_agents: int = 20,
        *,
        scenarios: ScenarioSet = few_days,
        steps: int | None = None,
        agents: Any = None,
        core: dict[str, Any] | None = None,
        **task: Any,
    ) -> Core:
        config = dataclasses.replace(TaskConfig(), num_agents=num_agents, **task)
        if steps is not None:
            names = PER_TERMINAL + PER_STEP
            cut = {name: getattr(scenarios, name)[:, :steps] for name in names}
            scenarios = dataclasses.replace(scenarios, **cut)
        agents = agents or build_agents(config, _feeder())
        return Core(config, _feeder(), scenarios, agents, **(core or {}))

    return make


@pytest.fixture(scope="session")
def core(make_core: MakeCore) -> Core:
    """Twenty agents, 8 batteries, 8 heat pumps and 4 generators, whole days."""
    return make_core()


@pytest.fixture(scope="session")
def short_core(make_core: MakeCore) -> Core:
    """The same with days of six steps, for what learns."""
    return make_core(steps=6)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray, started once for each process of tests: it takes seconds."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=128 * 2**20,
            ignore_reinit_error=True,
        )
        yield
        ray.shutdown()

"""Speed of the environment and of learning, on the published task at full size.

What a step costs is split between the policies' networks and the power flow:
which of the two decides how long a method takes, the tables show.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from rich import box
from rich.table import Table
from torch import Tensor

from gradmap.algorithms.config import LearnerConfig
from gradmap.algorithms.gradmap import GradMAP
from gradmap.algorithms.learner import GradientLearner
from gradmap.algorithms.networks import Actors
from gradmap.algorithms.rollout import Rollout, environment_gradient, rollout
from gradmap.algorithms.self_supervised import SelfSupervised
from gradmap.envs.catalog import make
from gradmap.envs.core import Core
from gradmap.envs.state import State
from gradmap.experiments.bench_power_flow import Section
from gradmap.experiments.bench_timing import Contender, Rates
from gradmap.experiments.registry import method_spec
from gradmap.feeders.model import Feeder
from gradmap.feeders.powerflow.solve import solve_power_flow

TASK = "ieee123-mixed-v1"

_NUM_AGENTS = 1000
_BATCHES = (8, 16, 32)
_DAYS_PER_BATCH = (8, 16)
_SEED = 0
_NOON = 0.5  # of the day: where single steps are timed

PARTS = ("observe", "act", "step", "solve", "act_gradient", "solve_gradient")
"""Parts of one step of the environment, each timed alone; `solve` is the part
of `step` that solves the network, the last two are forward and backward."""


class _InParts(GradMAP):
    """GradMAP whose iteration can be timed in parts."""

    def parts(self, days: Tensor) -> dict[str, Callable[[], Any]]:
        """What an iteration on some days is made of, by name.

        Args:
            days: The days. `[batch]`

        Returns:
            `rollout`: the days under the policies; `model`: making the model of
            them; `reuse`: all passes on it; `networks`: as many steps forward and
            back through the networks alone.
        """
        with torch.no_grad():
            done = rollout(self.core, self.actors, days)
        made = self._model(done)
        public, own = done.public, done.own
        sizes = torch.arange(len(days)).split(-(-len(days) // self.config.minibatches))

        def networks() -> None:
            for _ in range(self.config.reuse_passes):
                for rows in sizes:
                    self.actors.on_days(public, own, rows).sum().backward()

        return {
            "rollout": _no_grad(rollout, self.core, self.actors, days),
            # A rollout puts together what was seen when it is first asked for.
            "model": lambda: self._model(dataclasses.replace(done)),
            "reuse": lambda: self._reuse_on(made, done),
            "networks": networks,
        }


def environment_section(feeder: Feeder, num_rounds: int) -> Section:
    """Times days of the environment, and the parts of a step.

    Args:
        feeder: Left aside: the task has the same feeder at taps of its own.
        num_rounds: Rounds of timing; a day is long, so a third of them.

    Returns:
        The section.
    """
    core = make(TASK, num_agents=_NUM_AGENTS)
    contenders: dict[str, Contender] = {}
    for batch in _BATCHES:
        learner = _learner(core, batch)
        days = _days(core, batch)
        steps = batch * core.num_steps
        contenders[f"rollout, {batch}"] = _no_grad(rollout, core, learner.actors, days), steps
        contenders[f"gradient, {batch}"] = _gradient(learner, days), steps
        for name, call in _parts(core, learner.actors, days).items():
            contenders[f"{name}, {batch}"] = call, 1
    rates = Rates(contenders, _rounds(num_rounds))
    rows = [
        {
            "batch": batch,
            "steps_per_s": rates.median(f"rollout, {batch}"),
            "gradient_steps_per_s": rates.median(f"gradient, {batch}"),
            **{f"{name}_ms": 1e3 / rates.median(f"{name}, {batch}") for name in PARTS},
        }
        for batch in _BATCHES
    ]
    data = {"num_agents": core.num_agents, "rows": rows}
    return Section(name="environment", table=_environment_table(core, rows), data=data)


def learning_section(feeder: Feeder, num_rounds: int) -> Section:
    """Times the outer iterations of the methods that learn through the gradient.

    Args:
        feeder: Left aside: the task has the same feeder at taps of its own.
        num_rounds: Rounds of timing; an iteration is long, so a third of them.

    Returns:
        The section.
    """
    core = make(TASK, num_agents=_NUM_AGENTS)
    contenders: dict[str, Contender] = {}
    for count in _DAYS_PER_BATCH:
        learner = _learner(core, count)
        days = _days(core, count)
        contenders[f"gradient, {count}"] = _gradient(learner, days), 1
        for name, call in _learner(core, count).parts(days).items():
            contenders[f"{name}, {count}"] = call, 1
        contenders[f"gradmap, {count}"] = _iteration(learner), 1
        other = dataclasses.replace(_tuned("ss-primal-dual"), days_per_batch=count)
        contenders[f"ss, {count}"] = _iteration(SelfSupervised(core, other, _SEED)), 1
    rates = Rates(contenders, _rounds(num_rounds))
    rows = [
        {
            "days_per_batch": count,
            "env_gradient_s": 1 / rates.median(f"gradient, {count}"),
            "rollout_s": 1 / rates.median(f"rollout, {count}"),
            "model_s": 1 / rates.median(f"model, {count}"),
            "reuse_s": 1 / rates.median(f"reuse, {count}"),
            "reuse_networks_s": 1 / rates.median(f"networks, {count}"),
            "reuse_steps": _tuned("gradmap").reuse_passes * _tuned("gradmap").minibatches,
            "gradmap_iteration_s": 1 / rates.median(f"gradmap, {count}"),
            "self_supervised_iteration_s": 1 / rates.median(f"ss, {count}"),
        }
        for count in _DAYS_PER_BATCH
    ]
    data = {"num_agents": core.num_agents, "rows": rows}
    return Section(name="learning", table=_learning_table(core, rows), data=data)


def _tuned(method: str) -> LearnerConfig:
    settings = method_spec(method).defaults
    assert isinstance(settings, LearnerConfig)
    return settings


def _rounds(num_rounds: int) -> int:
    return max(1, num_rounds // 3)


def _days(core: Core, batch: int) -> Tensor:
    """Training days, spread over the year."""
    days = core.days("train")
    return days[torch.arange(batch) * len(days) // batch]


def _learner(core: Core, days_per_batch: int) -> _InParts:
    config = dataclasses.replace(_tuned("gradmap"), days_per_batch=days_per_batch)
    return _InParts(core, config, _SEED)


def _no_grad(call: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    def run() -> Any:
        with torch.no_grad():
            return call(*arguments)

    return run


def _gradient(learner: GradientLearner, days: Tensor) -> Callable[[], tuple[Rollout, Tensor]]:
    return lambda: environment_gradient(learner.core, learner.actors, days, learner.objective)


def _iteration(learner: GradientLearner) -> Callable[[], dict[str, float]]:
    return lambda: learner.iterate(0.0)


def _parts(core: Core, actors: Actors, days: Tensor) -> dict[str, Callable[[], Any]]:
    """The parts of a step at noon, in the order of `PARTS`."""
    with torch.no_grad():
        state = core.reset(days)
        while state.step < _NOON * core.num_steps:
            state, _ = core.step(state, actors.act(core.observe(state)))
        observation = core.observe(state)
        action = actors.act(observation)
        p_kw, q_kvar = _powers(core, state, action)
    seen = observation.clone().requires_grad_()
    p_tracked = p_kw.clone().requires_grad_()

    def solve(p: Tensor) -> Tensor:
        return solve_power_flow(core.network, p, q_kvar).v_terminal_magnitude_pu

    def solve_and_back() -> None:
        v_pu = solve(p_tracked)
        torch.autograd.grad(v_pu, p_tracked, torch.ones_like(v_pu))

    def act_and_back() -> None:
        # To the observation alone, as in an environment gradient.
        actors.requires_grad_(False)
        found = actors.act(seen)
        torch.autograd.grad(found, seen, torch.ones_like(found))
        actors.requires_grad_(True)

    calls = (
        _no_grad(core.observe, state),
        _no_grad(actors.act, observation),
        _no_grad(core.step, state, action),
        _no_grad(solve, p_kw),
        act_and_back,
        solve_and_back,
    )
    return dict(zip(PARTS, calls, strict=True))


def _powers(core: Core, state: State, action: Tensor) -> tuple[Tensor, Tensor]:
    """Powers of all terminals in the step that `action` makes. `[batch, terminal]` each"""
    _, outcome = core.step(state, action)
    days, at = state.days.cpu().numpy(), state.step
    scenarios = core.scenarios
    base_p, base_q, pv = (
        torch.tensor(array[days, at], device=core.device)
        for array in (scenarios.base_p_kw, scenarios.base_q_kvar, scenarios.pv_kw)
    )
    zeros = torch.zeros_like(base_p)
    p_device = zeros.index_add(-1, core.agent_terminal, outcome.p_kw) - pv
    q_device = zeros.index_add(-1, core.agent_terminal, outcome.q_kvar)
    return torch.cat((base_p, p_device), -1), torch.cat((base_q, q_device), -1)


def _environment_table(core: Core, rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        title=f"environment, {core.config.name}: {core.num_agents:,} agents; steps of single days "
        "a second, and ms for the parts of one step of the whole batch",
        title_justify="left",
        box=box.SIMPLE,
        caption="act: the policies' networks; solve: the power flow inside step; act and solve "
        "with gradient: forward and backward",
    )
    headings = ("batch", "steps/s", "with gradient", "observe", "act", "step", "solve")
    for heading in (*headings, "act + grad", "solve + grad"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row["batch"]),
            f"{row['steps_per_s']:,.0f}",
            f"{row['gradient_steps_per_s']:,.0f}",
            *(f"{row[f'{name}_ms']:.2f}" for name in PARTS),
        )
    return table


def _learning_table(core: Core, rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        title=f"learning, {core.config.name}: {core.num_agents:,} agents, seconds",
        title_justify="left",
        box=box.SIMPLE,
        caption="an iteration of GradMAP is one rollout, the model of its days and all steps of "
        "reuse on it; networks: the policies' part of those steps; the environment gradient is "
        "what the others take",
    )
    headings = ("days", "environment gradient", "rollout", "model", "reuse", "networks", "steps")
    for heading in (*headings, "GradMAP iteration", "self-supervised iteration"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            str(row["days_per_batch"]),
            f"{row['env_gradient_s']:.3f}",
            f"{row['rollout_s']:.3f}",
            f"{row['model_s']:.3f}",
            f"{row['reuse_s']:.3f}",
            f"{row['reuse_networks_s']:.3f}",
            str(row["reuse_steps"]),
            f"{row['gradmap_iteration_s']:.3f}",
            f"{row['self_supervised_iteration_s']:.3f}",
        )
    return table

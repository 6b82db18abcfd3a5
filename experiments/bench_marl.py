"""Speed of PPO in RLlib by layout of the agents, on a game that costs next to nothing.

The stacked layouts and the stock ones learn the same number of policies of the
same size from the same number of steps; only the one module for each type of
device shares its weights. What a layout costs besides the power flow, the
table shows.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from rich import box
from rich.table import Table

from gradmap.baselines.rllib.cluster import start_ray
from gradmap.baselines.rllib.ippo import ippo_config
from gradmap.baselines.rllib.mappo import mappo_config
from gradmap.baselines.rllib.stock import STOCK_SETTINGS, Layout, stock_layout
from gradmap.experiments import bench_marl_env as game
from gradmap.experiments.bench_power_flow import Section
from gradmap.feeders.model import Feeder

SETTINGS = dataclasses.replace(
    STOCK_SETTINGS,
    hidden=(64, 64),
    critic_hidden=(64, 64),
    days_per_batch=4,
    epochs=4,
    minibatches=4,
)
"""Settings of all layouts. They are such as the stock layouts honour too: no
agent stops early, so that all of them go through every minibatch."""

PHASES = ("iteration_s", "sampling_s", "update_s")
"""What is timed: an iteration, and the parts of it in the env runner and in the
learner. The rest is weights on their way, and metrics."""

_NUM_AGENTS = (10, 100, 1000)
_LONG_AGENTS = 1000  # from here on the stock layouts take minutes
_LONG_ROUNDS = 7  # fewer are for those in a hurry
_ENOUGH_S = 30.0  # a layout whose iterations have taken as long gets no more turns
_SEED = 0


def _stacked(make: Callable[..., PPOConfig], num_agents: int) -> PPOConfig:
    config = make(SETTINGS, steps_per_day=game.NUM_STEPS, seed=_SEED)
    config.environment(game.JOINT, env_config={"num_agents": num_agents})
    return config


def _stock(layout: Layout, num_agents: int) -> PPOConfig:
    names = game.agent_names(num_agents)
    config = stock_layout(SETTINGS, names, steps_per_day=game.NUM_STEPS, layout=layout)
    config.environment(game.MANY, env_config={"num_agents": num_agents})
    config.debugging(seed=_SEED, log_level="ERROR")
    return config


LAYOUTS: dict[str, Callable[[int], PPOConfig]] = {
    "IPPO, stacked": functools.partial(_stacked, ippo_config),
    "MAPPO, stacked": functools.partial(_stacked, mappo_config),
    "stock, module per agent": functools.partial(_stock, "agent"),
    "stock, module per type": functools.partial(_stock, "type"),
}
"""What makes the configuration of each layout for a number of agents."""


class _Stopwatch:
    """An algorithm of RLlib, its iterations timed; RLlib's own timers are smoothed."""

    def __init__(self, config: PPOConfig) -> None:
        self._iterations: list[dict[str, float]] = []
        self._now: dict[str, float] = {}
        begin = time.perf_counter()
        with warnings.catch_warnings():
            # All algorithms of a process have their environments under one name.
            warnings.filterwarnings("ignore", message=".*Overriding environment")
            self._algorithm: Algorithm | None = config.build_algo()
        self._build_s = time.perf_counter() - begin
        runner, learners = self._algorithm.env_runner, self._algorithm.learner_group
        runner.sample = self._timed("sampling_s", runner.sample)
        learners.update = self._timed("update_s", learners.update)

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            found = call(*args, **kwargs)
            self._now[name] = self._now.get(name, 0.0) + time.perf_counter() - begin
            return found

        return timed

    def take_turn(self) -> None:
        """Times an iteration, unless there have been enough."""
        if self._algorithm is None:
            return
        self._now = {}
        self._timed("iteration_s", self._algorithm.train)()
        self._iterations.append(self._now)
        if sum(found["iteration_s"] for found in self._iterations) > _ENOUGH_S:
            self.stop()

    def stop(self) -> None:
        """Ends the algorithm, and lets go of its modules."""
        if self._algorithm is not None:
            self._algorithm.stop()
        self._algorithm = None

    def row(self) -> dict[str, Any]:
        """Medians, the first iteration left out where it is not the only one."""
        is_warm = len(self._iterations) > 1
        timed = self._iterations[1:] if is_warm else self._iterations
        medians = {name: statistics.median(found[name] for found in timed) for name in PHASES}
        return {
            **medians,
            "build_s": self._build_s,
            "iterations": len(timed),
            "is_warm": is_warm,
        }


def marl_section(feeder: Feeder, num_rounds: int) -> Section:
    """Times iterations of PPO in each layout.

    Layouts take turns. A layout whose iterations have taken more than some
    seconds is not given another: with a module per agent at 1,000 agents there
    is one iteration, without one to warm up.

    Args:
        feeder: Left aside: the game has none.
        num_rounds: Rounds of timing; an iteration is long, so a seventh of
            them, and one to warm up. Below seven the stock layouts are left
            out at 1,000 agents.

    Returns:
        The section.
    """
    is_ours = not ray.is_initialized()
    start_ray(SETTINGS, torch.device("cpu"))
    game.register()
    try:
        rows = [row for num in _NUM_AGENTS for row in _rows(num, num_rounds)]
    finally:
        if is_ours:
            ray.shutdown()
    settings = dataclasses.asdict(SETTINGS)
    data = {"steps": game.NUM_STEPS, "features": game.NUM_FEATURES, "settings": settings}
    return Section(name="rllib", table=_table(rows), data=data | {"rows": rows})


def _rows(num_agents: int, num_rounds: int) -> list[dict[str, Any]]:
    """One row for each layout."""
    is_short = num_rounds < _LONG_ROUNDS and num_agents >= _LONG_AGENTS
    makers = {k: v for k, v in LAYOUTS.items() if not (is_short and k.startswith("stock"))}
    watches: dict[str, _Stopwatch] = {}
    for _ in range(1 + max(1, num_rounds // 7)):
        for layout, make_config in makers.items():
            # Not before its turn: thousands of modules slow what runs beside them.
            if layout not in watches:
                watches[layout] = _Stopwatch(make_config(num_agents))
            watches[layout].take_turn()
    for watch in watches.values():
        watch.stop()
    return [
        {"layout": layout, "num_agents": num_agents, **watch.row()}
        for layout, watch in watches.items()
    ]


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        title="RLlib layouts: seconds for one iteration of PPO, "
        f"{SETTINGS.days_per_batch} episodes of {game.NUM_STEPS} steps, "
        f"{SETTINGS.epochs} epochs of {SETTINGS.minibatches} minibatches",
        title_justify="left",
        box=box.SIMPLE,
        caption="on a game that costs next to nothing; networks of 64-64; *: one iteration, "
        "without one to warm up",
    )
    table.add_column("layout", no_wrap=True)
    for heading in ("agents", "iteration", "sampling", "update", "build"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        seconds = [f"{row[name]:.2f}" for name in (*PHASES, "build_s")]
        seconds[0] += " " if row["is_warm"] else "*"
        table.add_row(row["layout"], f"{row['num_agents']:,}", *seconds)
    return table

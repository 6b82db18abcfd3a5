"""Policies as they stand, without what training them further would need.

A frozen policy is a few tensors: weights of the agents' networks, or, of a
method that optimises whole days, the actions that it chose on the days of the
table. It needs neither the method nor what the method needs.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from gradmap.algorithms.checkpoint import load_checkpoint
from gradmap.algorithms.networks import Actors
from gradmap.algorithms.rollout import rollout
from gradmap.algorithms.trainer import Trainer
from gradmap.baselines.foresight import OpenLoopPolicy
from gradmap.envs.core import Core
from gradmap.envs.policy import Policy
from gradmap.experiments.assembly import Assembly, Untrained, assemble, load_state, task_label
from gradmap.experiments.config import RunConfig
from gradmap.experiments.evaluate import pick_days
from gradmap.experiments.registry import method_spec
from gradmap.feeders.errors import GradmapError

Tensors = dict[str, Tensor]

KIND = "frozen"
"""Key of a checkpoint's meta data that says what of a policy it holds."""

ACTORS, RULES, ACTIONS = "actors", "rules", "actions"
"""What it says: networks, nothing but their configuration, or actions of known days."""

_PRICES = "multiplier."


class Frozen(Untrained):
    """A policy that was trained once.

    Args:
        policy: The policy.
        multipliers: Prices by name, for methods that have them.
        lower_bound_usd: Lower bound of each day's cost, for the reference. `[day]`
    """

    def __init__(
        self, policy: Policy, multipliers: Tensors | None, lower_bound_usd: list[float] | None
    ) -> None:
        super().__init__(policy)
        self.multipliers = multipliers
        self._lower_bound_usd = lower_bound_usd

    def lower_bound_usd(self) -> Tensor | None:
        """Lower bound of each day's cost, $. `[day]`, float64; None if there is none."""
        bound = self._lower_bound_usd
        return None if bound is None else torch.tensor(bound, dtype=torch.float64)


def freeze(
    run: Assembly, split: str, judged: pathlib.Path | None = None
) -> tuple[Tensors, dict[str, Any]]:
    """Takes out what a policy is made of.

    Args:
        run: A run with its state.
        split: Days whose actions are kept of a method that is no network.
        judged: Arrays that its judgement on these days has kept. Without
            them, or where they hold no actions, the days are played again,
            which may take minutes and is said in a line for each batch.

    Returns:
        Tensors, and meta data as JSON can hold it. Rules need no tensors:
        their configuration is all there is.
    """
    policy, spec = run.trainer.policy(), run.spec
    tensors = {f"{_PRICES}{k}": v.detach() for k, v in (run.trainer.multipliers or {}).items()}
    meta: dict[str, Any] = {}
    if isinstance(policy, Actors):
        meta[KIND] = ACTORS
        meta["hidden"] = list(getattr(run.config, str(spec.settings)).hidden)
        tensors.update({f"actors.{k}": v.detach() for k, v in policy.state_dict().items()})
    elif spec.is_decentralised:
        meta[KIND] = RULES
    else:
        meta[KIND] = ACTIONS
        days = pick_days(run.core, split)
        action = _judged_action(run.core, days, judged)
        if action is None:
            action = record(run, policy, days)
        # A price for each day and step of the reference is of no use without it.
        tensors = {"days": days, "action": action}
    find_bound = getattr(run.trainer, "lower_bound_usd", None)
    bound = None if find_bound is None else find_bound()
    meta["lower_bound_usd"] = None if bound is None else bound.tolist()
    return tensors, meta


def record(run: Assembly, policy: Policy, days: Tensor) -> Tensor:
    """Runs a policy, and keeps what it does; prints how far it is.

    Args:
        run: The run.
        policy: Its policy.
        days: The days. `[day]`

    Returns:
        Actions in [-1, 1]. `[day, time, *Core.action_shape]`
    """
    parts: list[Tensor] = []
    with torch.no_grad():
        for some in days.split(run.config.evaluation_batch):
            done = sum(map(len, parts))
            print(f"{run.spec.name}: {done} of {len(days)} days played again", flush=True)
            parts.append(rollout(run.core, policy, some).action)
    return torch.cat(parts)


def _judged_action(core: Core, days: Tensor, judged: pathlib.Path | None) -> Tensor | None:
    """Actions that a judgement has kept of the same days; None where it has not."""
    if judged is None or not judged.is_file():
        return None
    with np.load(judged, allow_pickle=False) as kept:
        dates = [core.scenarios.date[day] for day in days.tolist()]
        if "action" not in kept.files or kept["date"].tolist() != dates:
            return None
        return torch.from_numpy(kept["action"])


def load_run(
    config: RunConfig, checkpoint: pathlib.Path, stress: str | None = None
) -> tuple[Assembly, dict[str, Any]]:
    """Builds a run with the state of a checkpoint, frozen or not.

    Args:
        config: The run.
        checkpoint: The checkpoint's file.
        stress: Name of a stress split to judge the run on, if any.

    Returns:
        The run, and what was kept beside its state. Close it at the end.

    Raises:
        GradmapError: If the checkpoint is missing, damaged, or of another
            task or method.
    """
    meta: dict[str, Any] = {}
    if checkpoint.is_file():
        tensors, meta = load_checkpoint(checkpoint, task_label(config.task))
    if meta.get(KIND) in (None, RULES):
        run = assemble(config, stress)
        try:
            return run, load_state(checkpoint, run)
        except BaseException:
            run.close()
            raise
    if meta["method"] != config.method:
        raise GradmapError(f"{checkpoint} was made by {meta['method']}, expected {config.method}")
    # Any method that needs nothing gives the environment.
    core = assemble(config.model_copy(update={"method": "idle"}), stress).core
    prices = {k.removeprefix(_PRICES): v for k, v in tensors.items() if k.startswith(_PRICES)}
    policy = frozen_policy(core, tensors, meta)
    trainer = Frozen(policy, prices or None, meta.get("lower_bound_usd"))
    return Assembly(config, method_spec(config.method), core, cast(Trainer, trainer)), meta


def frozen_policy(core: Core, tensors: Tensors, meta: Mapping[str, Any]) -> Policy:
    """Makes a policy of what `freeze` took out of it; rules excepted, which need their method.

    Args:
        core: The environment.
        tensors: Its tensors; others, such as prices, are left alone.
        meta: What was kept beside them.
    """
    if meta[KIND] == ACTIONS:
        return OpenLoopPolicy(tensors["days"], tensors["action"].to(core.device))
    hidden, seed = tuple(meta["hidden"]), torch.Generator().manual_seed(0)
    actors = Actors(core.num_agents, core.num_features, hidden, seed, core.num_actions)
    weights = {k.removeprefix("actors."): v for k, v in tensors.items() if k.startswith("actors.")}
    actors.load_state_dict(weights)
    return actors.to(core.device).requires_grad_(False)

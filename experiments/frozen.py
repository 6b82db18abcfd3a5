"""Policies as they stand, without what training them further would need.

A frozen policy is a few tensors: weights of the agents' networks, or, of a
method that optimises whole days, the actions that it chose on the days of the
table. It needs neither the method nor what the method needs.
"""

from __future__ import annotations

import pathlib
from typing import Any, cast

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


def freeze(run: Assembly, split: str) -> tuple[Tensors, dict[str, Any]]:
    """Takes out what a policy is made of.

    Args:
        run: A run with its state.
        split: Days whose actions are kept of a method that is no network.

    Returns:
        Tensors, and meta data as JSON can hold it. Rules need no tensors:
        their configuration is all there is.
    """
    policy, spec = run.trainer.policy(), run.spec
    tensors = {f"{_PRICES}{k}": v.detach() for k, v in (run.trainer.multipliers or {}).items()}
    meta: dict[str, Any] = {}
    if isinstance(policy, Actors):
        meta[KIND] = "actors"
        meta["hidden"] = list(getattr(run.config, str(spec.settings)).hidden)
        tensors.update({f"actors.{k}": v.detach() for k, v in policy.state_dict().items()})
    elif spec.is_decentralised:
        meta[KIND] = "rules"
    else:
        meta[KIND] = "actions"
        tensors = {}  # a price for each day and step of the reference: no use without it
        tensors["days"], tensors["action"] = record(run, policy, split)
    find_bound = getattr(run.trainer, "lower_bound_usd", None)
    bound = None if find_bound is None else find_bound()
    meta["lower_bound_usd"] = None if bound is None else bound.tolist()
    return tensors, meta


def record(run: Assembly, policy: Policy, split: str) -> tuple[Tensor, Tensor]:
    """Runs a policy, and keeps what it does.

    Args:
        run: The run.
        policy: Its policy.
        split: The days.

    Returns:
        Days, `[day]`, and actions in [-1, 1], `[day, time, agent]`.
    """
    days = pick_days(run.core, split)
    with torch.no_grad():
        parts = [rollout(run.core, policy, d) for d in days.split(run.config.evaluation_batch)]
    return days, torch.cat([part.action for part in parts])


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
    if meta.get(KIND) in (None, "rules"):
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
    policy = _policy(core, tensors, meta)
    trainer = Frozen(policy, prices or None, meta.get("lower_bound_usd"))
    return Assembly(config, method_spec(config.method), core, cast(Trainer, trainer)), meta


def _policy(core: Core, tensors: Tensors, meta: dict[str, Any]) -> Policy:
    if meta[KIND] == "actions":
        return OpenLoopPolicy(tensors["days"], tensors["action"].to(core.device))
    hidden, seed = tuple(meta["hidden"]), torch.Generator().manual_seed(0)
    actors = Actors(core.num_agents, core.num_features, hidden, seed)
    weights = {k.removeprefix("actors."): v for k, v in tensors.items() if k.startswith("actors.")}
    actors.load_state_dict(weights)
    return actors.to(core.device).requires_grad_(False)

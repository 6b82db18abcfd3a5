"""IPPO and MAPPO as a method in training: RLlib's algorithm behind our `Trainer`."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from typing import Any

import torch
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import LEARNER_RESULTS
from torch import Tensor

from gradmap.algorithms.multipliers import Multipliers
from gradmap.algorithms.networks import Actors
from gradmap.algorithms.schedule import cosine_fraction
from gradmap.baselines.rllib.cluster import start_ray
from gradmap.baselines.rllib.config import PPOSettings
from gradmap.baselines.rllib.env import DayRecord, PricedJointEnv
from gradmap.baselines.rllib.ippo import stacked_config
from gradmap.baselines.rllib.learner import IS_LEARNING, StackedPPOLearner
from gradmap.baselines.rllib.sampling import (
    EnvSource,
    environment_of,
    random_state,
    set_random_state,
    take_record,
)
from gradmap.envs.constraints import Violations
from gradmap.envs.core import Core
from gradmap.envs.counters import Counters
from gradmap.envs.policy import Policy

LEARNT = {
    "policy_loss": "policy_loss",
    "value_loss": "vf_loss",
    "explained_variance": "vf_explained_var",
    "entropy": "entropy",
    "divergence": "mean_kl_loss",
    "policies_learning": IS_LEARNING,
}
"""Metrics of an update: our name and RLlib's."""


class _RunAlgorithm(PPO):
    """RLlib's PPO, which keeps no folder of its own in the user's home."""

    def _setup_logdir(self) -> None:
        self._logdir = tempfile.mkdtemp(prefix="gradmap-rllib-")

    def cleanup(self) -> None:
        """Stops it, and removes its folder; called by RLlib."""
        super().cleanup()
        shutil.rmtree(self._logdir, ignore_errors=True)


class RLlibTrainer:
    """PPO with independent policies on RLlib; a `Trainer`.

    An iteration samples a batch of whole days, updates every agent's policy
    and critic, and moves the multipliers, which are part of the rewards of
    the next. With everything in this process a run that is stopped and
    resumed continues to the same numbers: the state of torch's and numpy's
    global generators, which RLlib draws from, is part of `state_dict`. What
    Ray processes have drawn is not: such a run resumes with other days.

    Args:
        core: The environment.
        settings: Settings.
        seed: Seed of weights, exploration and the order of days.
    """

    def __init__(self, core: Core, settings: PPOSettings, seed: int) -> None:
        self.core = core
        self.settings = settings
        self.counters = Counters()
        self.prices = Multipliers(core, settings.price)
        start_ray(settings, core.device)
        self._source = EnvSource(core, settings)
        config = stacked_config(settings, steps_per_day=core.num_steps, seed=seed)
        config.environment(self._source.name, env_config=self._source.config)
        if core.device.type == "cuda":
            config.learners(num_gpus_per_learner=1)
        config.algo_class = _RunAlgorithm
        self.algorithm: PPO = config.build_algo()

    @property
    def multipliers(self) -> dict[str, Tensor] | None:
        """Prices by name, or None where the network is left out; see `Trainer`."""
        return None if self.settings.price.kind == "none" else self.prices.tensors()

    def iterate(self, progress: float) -> dict[str, float]:
        """Samples, updates, moves the multipliers; see `Trainer.iterate`."""
        fraction = cosine_fraction(progress, self.settings.learning_rate_final)
        rate = self.settings.learning_rate * fraction
        self.algorithm.learner_group.foreach_learner(
            lambda learner: setattr(learner, "learning_rate", rate)
        )
        learnt = self.algorithm.train()[LEARNER_RESULTS][DEFAULT_MODULE_ID]
        records = self._on_environments(take_record)
        found = Violations(
            **{
                name: torch.cat([getattr(record.found, name) for record in records])
                for name in vars(records[0].found)
            }
        )
        usable = torch.cat([record.usable for record in records])
        self.prices.ascend(found, usable)
        self._share_prices()
        self._count(len(usable))
        named = {ours: float(learnt[theirs]) for ours, theirs in LEARNT.items()}
        return {**self._sampled(records, found, usable), **named}

    def _count(self, num_days: int) -> None:
        self.counters.iterations += 1
        self.counters.env_steps += num_days * self.core.num_steps
        # And the measurement before midnight.
        self.counters.power_flow_solves += num_days * (self.core.num_steps + 1)

    def _sampled(
        self, records: list[DayRecord], found: Violations, usable: Tensor
    ) -> dict[str, float]:
        """Figures of the batch that was sampled, exploration included."""
        cost = torch.cat([record.cost_usd for record in records])
        outside = ((found.over_pu > 0) | (found.under_pu > 0)).double().mean((-2, -1))
        num = usable.sum().clamp_min(1)
        sampled = {
            "cost_usd_per_day": torch.where(usable, cost, 0.0).sum() / num,
            "outside_band_pct": 100.0 * torch.where(usable, outside, 0.0).sum() / num,
            "clipped_kwh_per_day": torch.cat([r.clipped_kwh for r in records]).mean(),
            "failed_days": (~usable).sum(),
            "multiplier_max": torch.maximum(self.prices.over.max(), self.prices.under.max()),
            "multiplier_sum": self.prices.over.sum() + self.prices.under.sum(),
        }
        return {name: float(value) for name, value in sampled.items()}

    def _on_environments(self, call: Any) -> list[Any]:
        """Calls a function on every environment runner that samples."""
        group = self.algorithm.env_runner_group
        is_local = self.settings.num_env_runners == 0
        found: list[Any] = group.foreach_env_runner(call, local_env_runner=is_local)
        return found

    def _share_prices(self) -> None:
        prices = self.prices.tensors()

        def take(runner: Any) -> None:
            environment_of(runner).prices.load(prices)

        self._on_environments(take)

    def policy(self) -> Policy:
        """Returns the policies' means, as GradMAP's actors; see `Trainer.policy`."""
        actors = Actors(
            self.core.num_agents,
            self.core.num_features,
            self.settings.hidden,
            torch.Generator().manual_seed(0),
            self.core.num_actions,
        )
        prefix = "module.actors."
        weights = self._learners(StackedPPOLearner.tensors).items()
        actors.load_state_dict(
            {k.removeprefix(prefix): v for k, v in weights if k.startswith(prefix)}
        )
        return actors.to(self.core.device).requires_grad_(False)

    def _learners(self, call: Any) -> Any:
        """Calls a function on all learners, which are equal, and returns one's answer."""
        answers = self.algorithm.learner_group.foreach_learner(call)
        return next(iter(answers)).get()

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that a resumed run needs; see `Trainer.state_dict`."""
        state: dict[str, Tensor] = dict(self._learners(StackedPPOLearner.tensors))
        state.update({f"prices.{k}": v for k, v in self.prices.tensors().items()})
        state["counters"] = torch.tensor(dataclasses.astuple(self.counters))
        if self.settings.num_env_runners == 0:
            env: PricedJointEnv = environment_of(self.algorithm.env_runner)
            state.update({f"calendar.{k}": v for k, v in env.calendar.state_dict().items()})
            state.update({f"random.{k}": v for k, v in random_state().items()})
        return {key: value.detach().cpu().clone() for key, value in state.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` returned; see `Trainer.load_state_dict`."""

        def part(prefix: str) -> dict[str, Tensor]:
            cut = len(prefix)
            return {k[cut:]: v for k, v in state.items() if k.startswith(prefix)}

        learnt = {k: v for k, v in state.items() if k.startswith(("module.", "adam."))}
        self._learners(lambda learner: learner.load_tensors(learnt))
        group = self.algorithm.env_runner_group
        group.sync_weights(
            from_worker_or_learner_group=self.algorithm.learner_group, inference_only=True
        )
        self.prices.load(part("prices."))
        self._share_prices()
        self.counters = Counters(*state["counters"].tolist())
        if self.settings.num_env_runners == 0 and part("calendar."):
            runner = self.algorithm.env_runner
            # A runner that has not sampled yet would seed the environment once more.
            runner._seed = None
            environment_of(runner).calendar.load_state_dict(part("calendar."))
            set_random_state(part("random."))

    def close(self) -> None:
        """Stops RLlib's processes; Ray itself is left to who started it."""
        self.algorithm.stop()
        self._source.close()

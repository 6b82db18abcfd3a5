"""GradMAP: each environment gradient is used several times, inside a trust region.

Gradient-based multi-agent proximal learning (arXiv 2604.24549). One outer
iteration rolls the independent policies out, takes the gradient `G` of the
Lagrangian with respect to every action, once, and then lets every agent's
network make many cheap steps on a surrogate of it that needs no power flow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradmap.algorithms.config import LearnerConfig
from gradmap.algorithms.day_model import (
    DayModel,
    linear_feeder,
    own_state_gain,
)
from gradmap.algorithms.learner import GradientLearner
from gradmap.algorithms.proximal import SURROGATES
from gradmap.algorithms.rollout import Rollout, environment_gradient
from gradmap.envs.constraints import excess
from gradmap.envs.core import Core
from gradmap.envs.days import season_parts
from gradmap.feeders.powerflow.nearby import LinearFeeder


class GradMAP(GradientLearner):
    """Primal-dual learning with reuse of the environment gradient.

    Args:
        core: The environment.
        config: Settings.
        seed: Seed of the initial weights and of the order of days and samples.
    """

    config: LearnerConfig

    def __init__(self, core: Core, config: LearnerConfig, seed: int) -> None:
        super().__init__(core, config, seed)
        self.trust_region = config.trust_region
        self._feeder = linear_feeder(core) if config.surrogate == "model" else None
        # Compiled before the clock of the training runs.
        idle = torch.zeros(1, core.num_steps, *core.action_shape, device=core.device)
        with torch.enable_grad():
            played = core.device_days(core.days("train")[:1]).play(idle.requires_grad_(True))
            played.p_kw.sum().backward()

    def schedule(self, progress: float) -> None:
        """Narrows the trust region beside the learning rate; see `GradientLearner`."""
        super().schedule(progress)
        left = 1.0 - min(progress, 1.0) * (1.0 - self.config.trust_region_final)
        self.trust_region = self.config.trust_region * left

    def update(self, days: Tensor) -> Rollout:
        """One environment gradient, then `reuse_passes` passes; see `GradientLearner`."""
        done, gradient = environment_gradient(self.core, self.actors, days, self.objective)
        if self.config.price.kind == "none" and self.core.num_actions > 1:
            # Without a network nobody gains by reactive power. What is left, how others'
            # policies answer to the voltage, is tiny, and Adam would make steps of it.
            gradient[..., 1] = 0.0
        if self._feeder is None:
            self._reuse(done, gradient)
        else:
            self._reuse_on(*self._model(self._feeder, done, gradient), done)
        return done

    def _model(
        self, feeder: LinearFeeder, done: Rollout, gradient: Tensor
    ) -> tuple[DayModel, Tensor]:
        """The model of a rollout, and what of the environment's gradient it leaves out."""
        gain = own_state_gain(self.actors, done.observation)
        model = DayModel(self.core, feeder, done, gain)
        days = torch.arange(len(done.days), device=gradient.device)
        start = done.action.clone().requires_grad_(True)
        (known,) = torch.autograd.grad(self.modelled(model, start, days), start)
        return model, gradient - known

    def modelled(self, model: DayModel, action: Tensor, rows: Tensor) -> Tensor:
        """The objective, by the model, of some days of a rollout under other actions.

        Args:
            model: Of the rollout.
            action: Actions, as in `DayModel.play`.
            rows: Which of its days. `[row]`, int64

        Returns:
            Scalar, differentiable in the actions.
        """
        days = model.play(action, rows)
        priced = self.config.price.kind != "none"
        found = excess(days.v_pu, days.loading, self.limits) if priced else None
        return self.lagrangian(days.sums.cost_usd, days.sums.clipped_kw, found, days.usable)

    def _reuse_on(self, model: DayModel, unknown: Tensor, done: Rollout) -> None:
        """Improves the networks on the days of a rollout, played again by the model."""
        days = done.days
        surrogate = SURROGATES[self.config.proximal]
        observation = done.observation.transpose(1, 2)
        usable = done.outcome.is_usable[:, -1]
        for _ in range(self.config.reuse_passes):
            for part in season_parts(len(days), self.config.minibatches, self.generator):
                rows = part.to(unknown.device)
                action = self.actors.on_days(observation, rows).movedim(0, 2)
                left = surrogate(unknown[rows], action - done.action[rows], self.trust_region)
                # The objective is a mean over its usable days, the gradient that over all.
                share = usable[rows].sum() / usable.sum().clamp_min(1)
                loss = self.modelled(model, action, rows) * share + left.sum()
                self.optimiser.zero_grad(set_to_none=True)
                loss.backward()
                self.optimiser.step()

    def _reuse(self, done: Rollout, gradient: Tensor) -> None:
        """Improves the networks on the samples of a rollout."""
        # One order for all agents and passes: shuffling is then one gather, and
        # every minibatch a slice of memory.
        num_samples = gradient.shape[0] * gradient.shape[1]
        order = torch.randperm(num_samples, generator=self.generator).to(gradient.device)

        def by_agent(x: Tensor) -> Tensor:
            return x.flatten(0, 1)[order].transpose(0, 1).contiguous()

        samples = [by_agent(x) for x in (done.observation, done.action, gradient)]
        surrogate = SURROGATES[self.config.proximal]
        size = -(-num_samples // self.config.minibatches)
        batches = list(zip(*(x.split(size, dim=1) for x in samples), strict=True))
        for _ in range(self.config.reuse_passes):
            for observation, before, slope in batches:
                change = self.actors(observation) - before
                loss = surrogate(slope, change, self.trust_region).sum()
                self.optimiser.zero_grad(set_to_none=True)
                loss.backward()
                self.optimiser.step()

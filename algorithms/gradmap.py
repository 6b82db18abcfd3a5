"""GradMAP: what one rollout says of the environment is used many times.

Gradient-based multi-agent proximal learning (arXiv 2604.24549). One outer
iteration rolls the independent policies out, takes the environment to first
order there, once, and then lets every agent's network make many cheap steps
on a surrogate of it that needs no power flow. In the paper's form that is the
gradient `G` of the Lagrangian with respect to every action.
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
from gradmap.algorithms.rollout import Rollout, environment_gradient, rollout
from gradmap.envs.constraints import excess
from gradmap.envs.core import Core
from gradmap.envs.days import season_parts


class GradMAP(GradientLearner):
    """Primal-dual learning with reuse of each rollout.

    Args:
        core: The environment.
        config: Settings.
        seed: Seed of the initial weights and of the order of days and samples.
    """

    config: LearnerConfig

    def __init__(self, core: Core, config: LearnerConfig, seed: int) -> None:
        super().__init__(core, config, seed)
        self.trust_region = config.trust_region
        self._feeder = None if config.surrogate == "gradient" else linear_feeder(core)
        if config.surrogate == "model":
            self.flows_per_step = 1  # nothing is taken back through the power flow
        # Compiled before the clock of the training runs.
        idle = torch.zeros(1, core.num_steps, *core.action_shape, device=core.device)
        with torch.enable_grad():
            played = core.device_days(core.days("train")[:1]).play(idle.requires_grad_(True))
            played.cost_usd.sum().backward()

    def schedule(self, progress: float) -> None:
        """Narrows the trust region beside the learning rate; see `GradientLearner`."""
        super().schedule(progress)
        left = 1.0 - min(progress, 1.0) * (1.0 - self.config.trust_region_final)
        self.trust_region = self.config.trust_region * left

    def update(self, days: Tensor) -> Rollout:
        """One rollout, then `reuse_passes` passes over it; see `GradientLearner`."""
        if self.config.surrogate == "model":
            with torch.no_grad():
                done = rollout(self.core, self.actors, days)
            self._reuse_on(self._model(done), done)
            return done
        done, gradient = environment_gradient(self.core, self.actors, days, self.objective)
        if self.config.price.kind == "none" and self.core.num_actions > 1:
            # Without a network nobody gains by reactive power. What is left, how others'
            # policies answer to the voltage, is tiny, and Adam would make steps of it.
            gradient[..., 1] = 0.0
        if self.config.surrogate == "gradient":
            self._reuse(done, gradient)
        else:
            model = self._model(done)
            self._reuse_on(model, done, gradient - self._known(model, done))
        return done

    def _model(self, done: Rollout) -> DayModel:
        """The model of a rollout."""
        assert self._feeder is not None, "the paper's form has no model"
        return DayModel(self.core, self._feeder, done, own_state_gain(self.actors, done))

    def _known(self, model: DayModel, done: Rollout) -> Tensor:
        """The model's own gradient at the rollout's actions."""
        days = torch.arange(len(done.days), device=done.action.device)
        start = done.action.clone().requires_grad_(True)
        (known,) = torch.autograd.grad(self.modelled(model, start, days), start)
        return known

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
        return self.lagrangian(days.devices.cost_usd, days.devices.clipped_kw, found, days.usable)

    def _reuse_on(self, model: DayModel, done: Rollout, unknown: Tensor | None = None) -> None:
        """Improves the networks on the days of a rollout, played again by the model.

        `unknown` is what of the environment's gradient is not the model's; None leaves it out.
        """
        surrogate = SURROGATES[self.config.proximal]
        public, own = done.public, done.own
        usable = done.outcome.is_usable[:, -1]
        for _ in range(self.config.reuse_passes):
            for part in season_parts(len(done.days), self.config.minibatches, self.generator):
                rows = part.to(own.device)
                action = self.actors.on_days(public, own, rows)
                # The objective is a mean over its usable days, the rest one over all.
                share = usable[rows].sum() / usable.sum().clamp_min(1)
                loss = self.modelled(model, action, rows) * share
                if unknown is not None:
                    change = action - done.action[rows]
                    loss = loss + surrogate(unknown[rows], change, self.trust_region).sum()
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

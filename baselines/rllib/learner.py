"""PPO's update of all agents at once, each as if it were alone."""

from __future__ import annotations

import math
from typing import Any

import torch
from ray.rllib.algorithms.ppo.ppo import (
    LEARNER_RESULTS_KL_KEY,
    LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY,
)
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import ENTROPY_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from gradmap.baselines.rllib.learners import mean_over_learners
from gradmap.baselines.rllib.module import StackedPPOModule

IS_LEARNING = "share_of_policies_learning"
"""Metric: share of the agents whose policies still learn at an update's end."""


class StackedPPOLearner(PPOTorchLearner):
    """Learns a `StackedPPOModule`.

    The loss is a mean over samples and a *sum* over agents, so that an
    agent's gradient is what it would be alone; the norm is clipped for each
    agent alone, since a common norm would couple them; and an agent whose
    policy has moved further than `kl_stop` from the one that sampled takes no
    further part in the update, moments of Adam included. Its critic goes on.

    `learner_config_dict` of the algorithm's configuration holds `kl_stop`,
    a number or None.

    Attributes:
        learning_rate: Rate of the next update in place of the configured one,
            if not None.
    """

    learning_rate: float | None = None

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One fused Adam for all agents; called by RLlib.

        Args:
            module_id: The module.
            config: Its configuration.
        """
        parameters = self.get_parameters(self._module[module_id])
        self.register_optimizer(
            module_id=module_id,
            # One kernel for all weights: large stacks are bound by memory.
            optimizer=torch.optim.Adam(parameters, lr=config.lr, fused=True),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Lets every policy learn again; called by RLlib before an update.

        Args:
            timesteps: RLlib's counters.
        """
        super().before_gradient_based_update(timesteps=timesteps)
        self._is_learning: Tensor | None = None
        if self.learning_rate is not None:
            # RLlib puts the configured rate back after each update.
            for optimiser in self._named_optimizers.values():
                self._set_optimizer_lr(optimiser, self.learning_rate)

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """PPO's loss, mean over samples and sum over agents; called by RLlib.

        Args:
            module_id: The module.
            config: Its configuration.
            batch: Columns, `[sample, ...]`.
            fwd_out: What the module returned.

        Returns:
            Scalar.
        """
        net: StackedPPOModule = self.module[module_id].unwrapped()
        mean, log_std = fwd_out[Columns.ACTION_DIST_INPUTS].chunk(2, dim=-1)
        log_p = _log_probability(batch[Columns.ACTIONS], mean, log_std)
        ratio = torch.exp(log_p - batch[Columns.ACTION_LOGP])
        advantage = batch[Postprocessing.ADVANTAGES]
        clipped = ratio.clamp(1.0 - config.clip_param, 1.0 + config.clip_param)
        gain = torch.minimum(advantage * ratio, advantage * clipped)
        entropy = (log_std + 0.5 * math.log(2.0 * math.pi * math.e)).sum(-1)
        weight = self.entropy_coeff_schedulers_per_module[module_id].get_current_value()
        divergence = _divergence(batch[Columns.ACTION_DIST_INPUTS], mean, log_std).detach().mean(0)
        is_learning = self._stop_far_policies(divergence)
        policy_loss = torch.where(is_learning, -(gain + weight * entropy).mean(0), 0.0)
        target = batch[Postprocessing.VALUE_TARGETS]
        error = (net.scaled_values(batch[Columns.OBS]) - target).square().mean(0)
        loss: Tensor = (policy_loss + config.vf_loss_coeff * error).sum()
        self.metrics.log_dict(
            {
                POLICY_LOSS_KEY: -gain.detach().mean(),
                VF_LOSS_KEY: error.detach().mean(),
                LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY: _explained(error.detach(), target),
                ENTROPY_KEY: entropy.detach().mean(),
                LEARNER_RESULTS_KL_KEY: divergence.mean(),
                IS_LEARNING: is_learning.float().mean(),
            },
            key=module_id,
            window=1,
        )
        return loss

    def _stop_far_policies(self, divergence: Tensor) -> Tensor:
        """Agents whose policies still learn in this update. `[agent]`, bool"""
        limit = self.config.learner_config_dict.get("kl_stop")
        before = self._is_learning
        if before is None:
            before = torch.ones_like(divergence, dtype=torch.bool)
        if limit is not None:
            before = before & (mean_over_learners(divergence) <= limit)
        self._is_learning = before
        return before

    def postprocess_gradients_for_module(
        self, *, module_id: str, config: Any = None, module_gradients_dict: dict[Any, Tensor]
    ) -> dict[Any, Tensor]:
        """Clips the norm of each agent's gradient; called by RLlib.

        A shared trunk sums the gradients of all agents, so its norm may be
        larger by the square root of their number, as that of a sum of
        independent ones.

        Args:
            module_id: The module.
            config: Its configuration.
            module_gradients_dict: Gradients by RLlib's reference.

        Returns:
            The same references, clipped gradients.
        """
        gradients = module_gradients_dict
        if not config.grad_clip:
            return gradients
        net: StackedPPOModule = self.module[module_id].unwrapped()
        num = net.num_agents
        shared = {self.get_param_ref(p) for p in net.shared_parameters()}
        own = [g for ref, g in gradients.items() if ref not in shared]
        norm = torch.stack([g.reshape(num, -1).square().sum(1) for g in own]).sum(0).sqrt()
        scale = (config.grad_clip / (norm + 1e-6)).clamp_max(1.0)
        for gradient in own:
            gradient *= scale.view(-1, *[1] * (gradient.dim() - 1))
        trunk = [g for ref, g in gradients.items() if ref in shared]
        if trunk:
            limit = config.grad_clip * math.sqrt(num)
            norm = torch.stack([g.square().sum() for g in trunk]).sum().sqrt()
            for gradient in trunk:
                gradient *= (limit / (norm + 1e-6)).clamp_max(1.0)
        return gradients

    def apply_gradients(self, gradients_dict: dict[Any, Tensor]) -> None:
        """Steps Adam, and leaves the policies that have stopped as they are; called by RLlib.

        Args:
            gradients_dict: Gradients by RLlib's reference.
        """
        for ref, gradient in gradients_dict.items():
            self._params[ref].grad = gradient
        for module_id, names in self._module_optimizers.items():
            net: StackedPPOModule = self.module[module_id].unwrapped()
            for name in names:
                optimiser = self._named_optimizers[name]
                kept = self._kept(net, optimiser)
                optimiser.step()
                with torch.no_grad():
                    for tensor, row, old in kept:
                        tensor[row] = old

    def _kept(
        self, net: StackedPPOModule, optimiser: torch.optim.Optimizer
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Rows of the policies that have stopped: without gradient Adam would still move them."""
        if self._is_learning is None or bool(self._is_learning.all()):
            return []
        row = (~self._is_learning).nonzero().squeeze(-1)
        kept = []
        for parameter in net.policy_parameters():
            state = optimiser.state.get(parameter, {})
            tensors = [parameter, *(state[k] for k in ("exp_avg", "exp_avg_sq") if k in state)]
            kept += [(t, row, t.detach()[row].clone()) for t in tensors]
        return kept

    def tensors(self) -> dict[str, Tensor]:
        """Weights as `module.*` and Adam's state as `adam.*`, not copied."""
        ((module_id, module),) = self.module.items()
        found = {f"module.{k}": v for k, v in module.unwrapped().state_dict().items()}
        for _, optimiser in self.get_optimizers_for_module(module_id):
            for index, entry in optimiser.state_dict()["state"].items():
                found.update({f"adam.{index}.{k}": v for k, v in entry.items()})
        return found

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Takes over what `tensors` returned.

        Args:
            tensors: Weights and Adam's state.
        """
        ((module_id, module),) = self.module.items()
        cut = len("module.")
        weights = {k[cut:]: v for k, v in tensors.items() if k.startswith("module.")}
        module.unwrapped().load_state_dict(weights)
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, index, name = key.split(".")
                # Adam would take the tensor itself over, and change the caller's.
                moments.setdefault(int(index), {})[name] = value.clone()
        for _, optimiser in self.get_optimizers_for_module(module_id):
            optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
        # Runners take weights only of a number that is new to them.
        self._weights_seq_no += 1


def _log_probability(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log-density of a diagonal Gaussian, the last axis summed."""
    score = (action - mean) * torch.exp(-log_std)
    terms = -0.5 * score.square() - log_std - 0.5 * math.log(2.0 * math.pi)
    return terms.sum(-1)


def _divergence(before: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """KL divergence from the Gaussian that sampled to the present one, last axis summed."""
    mean_before, log_std_before = before.chunk(2, dim=-1)
    spread = torch.exp(2.0 * (log_std_before - log_std))
    shift = ((mean_before - mean) * torch.exp(-log_std)).square()
    return (log_std - log_std_before + 0.5 * (spread + shift - 1.0)).sum(-1)


def _explained(error: Tensor, target: Tensor) -> Tensor:
    """Share of the targets' variance that the critics explain, mean over agents."""
    variance = target.var(0, correction=0).clamp_min(1e-8)
    return (1.0 - error / variance).mean()

"""IPPO as an RLlib algorithm configuration: independent policies, local critics."""

from __future__ import annotations

import dataclasses

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from gradmap.baselines.rllib.config import PPOSettings
from gradmap.baselines.rllib.gae import JointBatchAndGAE
from gradmap.baselines.rllib.learner import StackedPPOLearner
from gradmap.baselines.rllib.module import StackedPPOModule
from gradmap.baselines.rllib.runner import JointEnvRunner
from gradmap.baselines.rllib.squash import SquashActions


def stacked_config(settings: PPOSettings, *, steps_per_day: int = 48, seed: int = 0) -> PPOConfig:
    """RLlib's PPO for all agents of a joint environment, stacked into one module.

    Every setting of PPO is given: several of RLlib's defaults are unusual.
    What is left is the environment:

        config = stacked_config(PPOSettings(days_per_batch=4))
        config.environment("gradmap/ieee123-mixed-joint-v1", env_config={"num_agents": 100})
        algorithm = config.build_algo()

    Args:
        settings: Settings.
        steps_per_day: Steps of an episode.
        seed: Seed of weights, exploration and the order of days.

    Returns:
        The configuration.
    """
    num_runners, num_learners = settings.num_env_runners, settings.num_learners
    samples = settings.days_per_batch * steps_per_day // max(num_learners, 1)
    model = {
        "hidden": list(settings.hidden),
        "critic": settings.critic,
        "critic_hidden": list(settings.critic_hidden),
        "log_std_initial": settings.log_std_initial,
        "seed": seed,
    }
    config = PPOConfig()
    config.environment(normalize_actions=False, clip_actions=False)
    config.env_runners(
        env_runner_cls=JointEnvRunner,
        num_env_runners=num_runners,
        num_envs_per_env_runner=settings.days_per_batch // max(num_runners, 1),
        batch_mode="complete_episodes",
        gym_env_vectorize_mode="vector_entry_point",
        observation_filter="NoFilter",
        module_to_env_connector=lambda env, spaces: SquashActions(),
    )
    config.learners(
        num_learners=num_learners,
        learner_class=StackedPPOLearner,
        add_default_connectors_to_learner_pipeline=False,
        learner_connector=lambda observation_space, action_space: JointBatchAndGAE(
            observation_space,
            action_space,
            discount=settings.discount,
            gae_lambda=settings.gae_lambda,
            normalise_values=settings.normalise_values,
        ),
        learner_config_dict={"kl_stop": settings.kl_stop},
    )
    config.training(
        lr=settings.learning_rate,
        gamma=settings.discount,
        lambda_=settings.gae_lambda,
        train_batch_size_per_learner=samples,
        minibatch_size=max(1, samples // settings.minibatches),
        num_epochs=settings.epochs,
        shuffle_batch_per_epoch=True,
        clip_param=settings.clip,
        vf_clip_param=float("inf"),
        vf_loss_coeff=settings.value_weight,
        entropy_coeff=settings.entropy_bonus,
        use_kl_loss=False,
        kl_coeff=0.0,
        grad_clip=settings.grad_clip,
    )
    config.rl_module(rl_module_spec=RLModuleSpec(StackedPPOModule, model_config=model))
    config.debugging(seed=seed, log_level="ERROR")
    return config


def ippo_config(
    settings: PPOSettings | None = None, *, steps_per_day: int = 48, seed: int = 0
) -> PPOConfig:
    """IPPO: every agent's critic sees what the agent sees; see `stacked_config`.

    Args:
        settings: Settings; their `critic` is left aside.
        steps_per_day: Steps of an episode.
        seed: Seed of weights, exploration and the order of days.

    Returns:
        The configuration.
    """
    chosen = dataclasses.replace(settings or PPOSettings(), critic="local")
    return stacked_config(chosen, steps_per_day=steps_per_day, seed=seed)

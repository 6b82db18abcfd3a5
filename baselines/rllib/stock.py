"""IPPO as RLlib's documentation has it: many agents by name, a module for each.

It is what a user's own script does, made ready, and what the stacked layout is
measured beside. RLlib's learner, connectors and env runner are its own; one
connector is added, which squashes actions as the actors do.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.policy import PolicySpec

from gradmap.algorithms.config import PriceConfig
from gradmap.baselines.rllib.agent_module import AgentPPOModule
from gradmap.baselines.rllib.config import PPOSettings
from gradmap.baselines.rllib.squash import SquashActions
from gradmap.envs.catalog import task_config
from gradmap.envs.fleet import build_agents
from gradmap.envs.reward import RewardConfig
from gradmap.envs.rllib import MULTI_AGENT, register
from gradmap.envs.task_feeder import load_task_feeder
from gradmap.feeders.errors import raise_faults

Layout = Literal["agent", "type"]

STOCK_SETTINGS = PPOSettings(
    learning_rate_final=1.0,
    kl_stop=None,
    normalise_values=False,
    network_split="even",
    stored_usd_per_kwh=0.0,
    price=PriceConfig(kind="fixed"),
)
"""The settings that RLlib's own learner and environment can honour; change the others at will."""


FIXED = {
    "critic": "local",
    "learning_rate_final": 1.0,
    "kl_stop": None,
    "normalise_values": False,
    "network_split": "even",
    "stored_usd_per_kwh": 0.0,
    "ray_address": None,
}
"""Settings that must have these values in the stock layout."""


def own_module(agent_id: str, episode: Any = None, **kwargs: Any) -> str:
    """Maps every agent to a module of its own, named as the agent.

    Args:
        agent_id: Name of the agent.
        episode: Left aside.
        **kwargs: Left aside.

    Returns:
        Name of the module.
    """
    return agent_id


def type_module(agent_id: str, episode: Any = None, **kwargs: Any) -> str:
    """Maps every agent to its device type's module.

    Args:
        agent_id: Name of the agent, such as `heat_pump_0007`.
        episode: Left aside.
        **kwargs: Left aside.

    Returns:
        Name of the module, such as `heat_pump`.
    """
    return agent_id.rpartition("_")[0]


_MAPPINGS = {"agent": own_module, "type": type_module}


def stock_config(
    settings: PPOSettings = STOCK_SETTINGS,
    *,
    num_agents: int,
    layout: Layout = "agent",
    env: str = MULTI_AGENT,
) -> PPOConfig:
    """RLlib's PPO for a module per agent or per device type.

    Every setting of PPO is given: several of RLlib's defaults are unusual. The
    rest is the caller's, such as `config.debugging(seed=0)`, which seeds
    weights, exploration and days.

    Two things differ from the stacked layout and cannot be set:

    - RLlib standardises advantages over rows that include one artificial step
      at the end of each day, which the loss then masks.
    - It gives all modules minibatches of one size. A device type with fewer
      agents than the largest goes over its batch more often.

    And its connectors order agents by a set: two processes draw the same
    actions from the same seed only with the same `PYTHONHASHSEED`.

    Args:
        settings: Settings; begin from `STOCK_SETTINGS`.
        num_agents: Number of agents.
        layout: `agent` for independent policies, `type` for one policy that all
            agents of a device type share.
        env: Registered name of the environment, `gradmap/` and its task.

    Returns:
        The configuration; `config.build_algo()` makes the algorithm.

    Raises:
        GradmapError: If there is a setting that this layout cannot honour, or
            no such task or layout.
    """
    task = task_config(env.removeprefix("gradmap/"), num_agents)
    names = build_agents(task, load_task_feeder(task)).names
    register()  # ray may have been shut down since the import
    config = stock_layout(
        settings, names, steps_per_day=task.scenarios.steps_per_day, layout=layout
    )
    reward = _reward(settings, num_agents)
    config.environment(env, env_config={"num_agents": num_agents, "reward": reward})
    return config


def stock_layout(
    settings: PPOSettings,
    names: Sequence[str],
    *,
    steps_per_day: int = 48,
    layout: Layout = "agent",
) -> PPOConfig:
    """As `stock_config`, for any environment of RLlib; to name it is the caller's.

    The environment's own rewards are learnt from: `settings.price` is not in them.

    Args:
        settings: Settings; begin from `STOCK_SETTINGS`.
        names: Names of the agents, a device type and a number: `heat_pump_0007`.
        steps_per_day: Steps of an episode.
        layout: As in `stock_config`.

    Returns:
        The configuration, less the environment.

    Raises:
        GradmapError: If there is a setting that this layout cannot honour, or
            no such layout.
    """
    _refuse_unsupported(settings, layout)
    mapping = _MAPPINGS[layout]
    agents_of = collections.Counter(mapping(name) for name in names)
    config = PPOConfig()
    config.api_stack(enable_rl_module_and_learner=True, enable_env_runner_and_connector_v2=True)
    config.environment(
        # `SquashActions` does what is needed.
        normalize_actions=False,
        clip_actions=False,
        # Its check steps each copy, and seeds all of them alike.
        disable_env_checking=True,
    )
    # A dictionary: RLlib takes a set too, and then orders modules by its hashes.
    config.multi_agent(
        policies={module: PolicySpec() for module in agents_of},
        policy_mapping_fn=mapping,
        # RLlib compares the minibatch, which is in agent steps, with the batch.
        count_steps_by="agent_steps",
    )
    config.rl_module(rl_module_spec=_modules(settings, list(agents_of)))
    _sampling(config, settings)
    _training(config, settings, steps_per_day, agents_of)
    return config


def _sampling(config: PPOConfig, settings: PPOSettings) -> None:
    """Whole days, all of a batch's at once."""
    config.env_runners(
        num_env_runners=settings.num_env_runners,
        num_envs_per_env_runner=settings.days_per_batch // max(settings.num_env_runners, 1),
        # A fragment is a whole day all the same, for a batch is one day of each
        # copy. With `complete_episodes` RLlib would reset and seed every copy
        # again for each batch.
        batch_mode="truncate_episodes",
        rollout_fragment_length="auto",
        observation_filter="NoFilter",
        module_to_env_connector=lambda env, spaces: SquashActions(),
    )


def _training(
    config: PPOConfig,
    settings: PPOSettings,
    steps_per_day: int,
    agents_of: collections.Counter[str],
) -> None:
    """Every setting of PPO by name."""
    days = math.ceil(settings.days_per_batch / max(settings.num_learners, 1))
    agent_steps = days * steps_per_day * agents_of.total()
    # RLlib adds an artificial step to every day, to hold the value at its end.
    rows = days * (steps_per_day + 1) * max(agents_of.values())
    config.learners(num_learners=settings.num_learners)
    config.training(
        lr=settings.learning_rate,
        gamma=settings.discount,
        use_gae=True,
        lambda_=settings.gae_lambda,
        train_batch_size_per_learner=agent_steps,
        num_epochs=settings.epochs,
        minibatch_size=min(math.ceil(rows / settings.minibatches), agent_steps),
        shuffle_batch_per_epoch=True,
        clip_param=settings.clip,
        use_critic=True,
        vf_loss_coeff=settings.value_weight,
        # RLlib clips the squared error itself, and beyond it critics stand still.
        vf_clip_param=math.inf,
        entropy_coeff=settings.entropy_bonus,
        use_kl_loss=False,
        kl_coeff=0.0,
        # The norm of one module, policy and critic together.
        grad_clip=settings.grad_clip,
        grad_clip_by="global_norm",
    )


def _modules(settings: PPOSettings, names: list[str]) -> MultiRLModuleSpec:
    model: dict[str, Any] = {
        "hidden": list(settings.hidden),
        "critic_hidden": list(settings.critic_hidden),
        "log_std_initial": settings.log_std_initial,
    }
    return MultiRLModuleSpec(
        rl_module_specs={
            name: RLModuleSpec(module_class=AgentPPOModule, model_config=dict(model))
            for name in names
        }
    )


def _reward(settings: PPOSettings, num_agents: int) -> RewardConfig:
    """The price as a part of the reward, where the environment of many agents has it."""
    price, share = settings.price, settings.network_weight / num_agents
    if price.kind == "none":
        return RewardConfig(0.0, 0.0, share)
    return RewardConfig(price.voltage_usd_per_pu, price.overload_usd, share)


def _refuse_unsupported(settings: PPOSettings, layout: str) -> None:
    faults = []
    if layout not in get_args(Layout):
        faults.append(f"layout is {layout!r}, expected one of {', '.join(get_args(Layout))}")
    for name, value in FIXED.items():
        if (found := getattr(settings, name)) != value:
            faults.append(f"{name} is {found!r}, expected {value!r}")
    if settings.price.kind == "dual":
        faults.append("price.kind is 'dual', expected 'fixed' or 'none'")
    if settings.price.margin_pu:
        faults.append(f"price.margin_pu is {settings.price.margin_pu}, expected 0")
    if faults:
        faults.append("begin from STOCK_SETTINGS, or use the stacked layout")
    raise_faults("stock layout", faults)

"""From a trained RLlib algorithm to the policy that evaluation knows."""

from __future__ import annotations

from typing import Any

import torch

from gradmap.algorithms.networks import Actors
from gradmap.envs.core import Core
from gradmap.envs.policy import Policy
from gradmap.feeders.errors import GradmapError


def export_policy(algorithm: Any, core: Core) -> Policy:
    """Takes the policies of an RLlib algorithm over as actors of ours.

    They act by the centre of what they have learnt, without exploration.

        config = ippo_config().environment("gradmap/ieee123-mixed-joint-v1")
        algorithm = config.build_algo()
        algorithm.train()
        found = evaluate(core, export_policy(algorithm, core), core.days("test"))

    Args:
        algorithm: An algorithm of the stacked layout, or of the stock layout
            with a module for each agent or device type.
        core: The environment that the policies are for.

    Returns:
        The policies, on the core's device.

    Raises:
        GradmapError: If the algorithm has other modules, or policies for
            other agents.
    """
    runner = algorithm.env_runner
    joint = algorithm.get_module()
    if joint is not None and hasattr(joint, "actors"):
        weights = {name: value.detach() for name, value in joint.actors.state_dict().items()}
    else:
        mapping = algorithm.config.policy_mapping_fn
        modules = runner.module
        own = [_one(modules, mapping(name, None)) for name in core.agent_names]
        weights = {name: torch.cat([each[name] for each in own]) for name in own[0]}
    first = weights["net.0.weight"]
    *hidden, num_actions = [v.shape[-1] for name, v in weights.items() if name.endswith("weight")]
    found = (*first.shape[:2], num_actions)
    expected = (core.num_agents, core.num_features, core.num_actions)
    if found != expected:
        raise GradmapError(
            f"the algorithm's policies are for {found[0]} agents with {found[1]} features and "
            f"actions of {found[2]}, expected {expected[0]} with {expected[1]} and {expected[2]}; "
            "make both from one task"
        )
    generator = torch.Generator().manual_seed(0)
    sizes = (core.num_agents, core.num_features)
    actors = Actors(*sizes, tuple(hidden), generator, num_actions)
    actors.load_state_dict(weights)
    return actors.to(core.device).requires_grad_(False)


def _one(modules: Any, name: str) -> dict[str, torch.Tensor]:
    """Weights of one agent's actor in the stock layout."""
    module = modules.get(name)
    if not hasattr(module, "actor"):
        raise GradmapError(
            f"the algorithm's module {name} has no actor of ours; "
            "build it with stacked_config or stock_config"
        )
    found: dict[str, torch.Tensor] = module.actor.state_dict()
    return found

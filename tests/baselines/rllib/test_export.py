"""A trained RLlib algorithm becomes actors of ours, in both layouts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

pytest.importorskip("ray")

import gradmap.envs.rllib
from gradmap.algorithms.networks import Actors
from gradmap.baselines.rllib.config import PPOSettings
from gradmap.baselines.rllib.export import export_policy
from gradmap.baselines.rllib.mappo import mappo_config
from gradmap.baselines.rllib.stock import STOCK_SETTINGS, stock_config
from gradmap.envs.core import Core
from gradmap.feeders.errors import GradmapError

SMALL = {"days_per_batch": 1, "epochs": 1, "minibatches": 1, "hidden": (8, 4)}


def test_stacked_policies_are_taken_over(make_core: Callable[..., Core], ray_session: None) -> None:
    gradmap.envs.rllib.register()
    config = mappo_config(PPOSettings(**SMALL))  # type: ignore[arg-type]
    config.environment("gradmap/ieee123-mixed-joint-v1", env_config={"num_agents": 3})
    algorithm = config.build_algo()
    try:
        core = make_core(3)
        policy = export_policy(algorithm, core)
        assert isinstance(policy, Actors)
        seen = core.observe(core.reset(core.days("train")[:2]))
        expected = algorithm.get_module().actors.act(seen)
        assert torch.equal(policy.act(seen), expected)
        with pytest.raises(GradmapError, match=r"for 3 agents .* expected 4"):
            export_policy(algorithm, make_core(4))
    finally:
        algorithm.stop()


@pytest.mark.parametrize("layout", ["agent", "type"])
def test_stock_policies_are_taken_over(
    layout: str, make_core: Callable[..., Core], ray_session: None
) -> None:
    settings = dataclasses.replace(STOCK_SETTINGS, **SMALL)
    algorithm = stock_config(settings, num_agents=5, layout=layout).build_algo()
    try:
        core = make_core(5)
        policy = export_policy(algorithm, core)
        seen = core.observe(core.reset(core.days("train")[:2]))
        action = policy.act(seen)
        modules = algorithm.env_runner.module
        mapping = algorithm.config.policy_mapping_fn
        for agent, name in enumerate(core.agent_names):
            own = modules[mapping(name, None)].actor(seen[:, agent].unsqueeze(0))[0]
            torch.testing.assert_close(action[:, agent], own)
    finally:
        algorithm.stop()

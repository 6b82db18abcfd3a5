"""PPO on RLlib where an action is two numbers: both layouts, and the policy that comes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

pytest.importorskip("ray")

import gradmap.envs.rllib
from gradmap.algorithms.networks import Actors
from gradmap.baselines.rllib.config import MAPPO_SETTINGS, PPOSettings
from gradmap.baselines.rllib.export import export_policy
from gradmap.baselines.rllib.ippo import ippo_config
from gradmap.baselines.rllib.stock import STOCK_SETTINGS, stock_layout
from gradmap.baselines.rllib.trainer import RLlibTrainer
from gradmap.envs.config import TaskConfig
from gradmap.envs.core import Core
from gradmap.feeders.errors import GradmapError

SMALL = {"days_per_batch": 2, "epochs": 1, "minibatches": 2, "hidden": (8,)}
LOCAL = PPOSettings(critic_hidden=(8,), **SMALL)  # type: ignore[arg-type]
CENTRAL = dataclasses.replace(MAPPO_SETTINGS, critic_hidden=(8, 8), **SMALL)  # type: ignore[arg-type]
TASK = dataclasses.replace(TaskConfig(), reactive="free", num_agents=3)


@pytest.mark.parametrize("settings", [LOCAL, CENTRAL], ids=["ippo", "mappo"])
def test_an_iteration_learns_both_numbers_and_resumes(
    settings: PPOSettings, make_core: Callable[..., Core], ray_session: None
) -> None:
    core = make_core(10, steps=4, reactive="free")
    trainers = [RLlibTrainer(core, settings, seed) for seed in (0, 1)]
    try:
        before = trainers[0].state_dict()
        assert before["module.log_std"].shape == (10, 2)
        trainers[0].iterate(0.0)
        after = trainers[0].state_dict()
        last = "module.actors.net.2.weight"
        assert (before[last] != after[last]).any(1)[:, 1].all()
        one = trainers[0].iterate(0.1)
        # RLlib draws from global generators, which a state takes along.
        trainers[1].load_state_dict(after)
        assert one == trainers[1].iterate(0.1)
        policy = trainers[0].policy()
        assert policy.act(core.observe(core.reset(core.days("train")[:2]))).shape == (2, 10, 2)
    finally:
        for trainer in trainers:
            trainer.close()


def test_policies_of_both_layouts_are_taken_over(
    make_core: Callable[..., Core], ray_session: None
) -> None:
    gradmap.envs.rllib.register()
    core = make_core(3, reactive="free")
    small = {**SMALL, "days_per_batch": 1}
    joint = ippo_config(PPOSettings(**small))  # type: ignore[arg-type]
    joint.environment(gradmap.envs.rllib.JOINT, env_config={"task": TASK})
    many = stock_layout(dataclasses.replace(STOCK_SETTINGS, **small), core.agent_names)
    many.environment(gradmap.envs.rllib.MULTI_AGENT, env_config={"task": TASK})
    for config in (joint, many):
        algorithm = config.build_algo()
        try:
            policy = export_policy(algorithm, core)
            assert isinstance(policy, Actors)
            seen = core.observe(core.reset(core.days("train")[:2]))
            assert policy.act(seen).shape == (2, 3, 2)
            if config is joint:
                assert torch.equal(policy.act(seen), algorithm.get_module().actors.act(seen))
                with pytest.raises(GradmapError, match="actions of 2, expected 3 with 15 and 1"):
                    export_policy(algorithm, make_core(3))
        finally:
            algorithm.stop()

"""Makes the Gymnasium environments of a task, one episode or a batch.

    envs = make_joint_vector_env(8, "ieee123-mixed-v1", num_agents=100)
    observations, infos = envs.reset(seed=0)
    observations, rewards, ended, _, infos = envs.step(envs.action_space.sample())

`observations["agents"]` is what every agent sees, `[batch, agent, feature]`;
`observations["state"]` is what a central critic may see in training.
Importing this module also registers the published task with Gymnasium, see
`gradmap.envs.registration`.
"""

from __future__ import annotations

import pathlib

import torch

import gradmap.envs.registration  # noqa: F401  (registers)
from gradmap.envs.catalog import make
from gradmap.envs.config import TaskConfig
from gradmap.envs.joint import JointEnv
from gradmap.envs.joint_batch import JointVectorEnv
from gradmap.envs.reward import RewardConfig

__all__ = ["JointEnv", "JointVectorEnv", "make_joint_env", "make_joint_vector_env"]


def make_joint_env(
    task: str | TaskConfig = "ieee123-mixed-v1",
    *,
    num_agents: int | None = None,
    device: torch.device | str = "cpu",
    seed: int | None = None,
    reward: RewardConfig | None = None,
    per_agent: bool = False,
    render_mode: str | None = None,
    feeder_file: str | pathlib.Path | None = None,
    scenario_file: str | pathlib.Path | None = None,
) -> JointEnv:
    """Makes the Gymnasium environment of a task: all agents as one, one day at a time.

    Args:
        task: Name of a published task, or a configuration of one's own.
        num_agents: Number of agents, in place of the task's.
        device: Torch device of the core.
        seed: Seed of the fleet, in place of the task's; that of the days is
            given to `reset`.
        reward: How violations are priced in the reward.
        per_agent: Whether the reward is an array over the agents.
        render_mode: `rgb_array` or None.
        feeder_file: A saved feeder, to do without OpenDSS.
        scenario_file: Saved scenarios, to do without the profile package.

    Returns:
        The environment.

    Raises:
        GradmapError: If the task is unknown or a file does not fit it.
    """
    core = make(
        task,
        num_agents=num_agents,
        batch_size=1,
        device=device,
        seed=seed,
        feeder_file=feeder_file,
        scenario_file=scenario_file,
    )
    return JointEnv(core, reward, per_agent, render_mode)


def make_joint_vector_env(
    num_envs: int,
    task: str | TaskConfig = "ieee123-mixed-v1",
    *,
    num_agents: int | None = None,
    device: torch.device | str = "cpu",
    seed: int | None = None,
    reward: RewardConfig | None = None,
    per_agent: bool = False,
    render_mode: str | None = None,
    feeder_file: str | pathlib.Path | None = None,
    scenario_file: str | pathlib.Path | None = None,
) -> JointVectorEnv:
    """Makes a batch of Gymnasium environments that share every power flow.

    Args:
        num_envs: Episodes in the batch.
        task: Name of a published task, or a configuration of one's own.
        num_agents: Number of agents, in place of the task's.
        device: Torch device of the core.
        seed: Seed of the fleet, in place of the task's; that of the days is
            given to `reset`.
        reward: How violations are priced in the reward.
        per_agent: Whether rewards are those of the agents, not their sum.
        render_mode: `rgb_array` or None.
        feeder_file: A saved feeder, to do without OpenDSS.
        scenario_file: Saved scenarios, to do without the profile package.

    Returns:
        The environment.

    Raises:
        GradmapError: If the task is unknown or a file does not fit it.
    """
    core = make(
        task,
        num_agents=num_agents,
        batch_size=num_envs,
        device=device,
        seed=seed,
        feeder_file=feeder_file,
        scenario_file=scenario_file,
    )
    return JointVectorEnv(core, num_envs, reward, per_agent, render_mode)

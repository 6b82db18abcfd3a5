"""Starting Ray: a private instance of this machine, or a cluster that is there."""

from __future__ import annotations

import logging
import os

import ray
import torch

from gradmap.baselines.rllib.config import PPOSettings


def start_ray(settings: PPOSettings, device: torch.device) -> None:
    """Starts or joins Ray, unless this process has done so before.

    RLlib needs Ray also where everything runs in one process. The private
    instance is as small as the settings allow, has no dashboard,
    sends no usage statistics and ends with this process.

    Args:
        settings: Number of processes, and the cluster to join.
        device: Torch device of the run.
    """
    if ray.is_initialized():
        return
    # RLlib advises on its command line interfaces and new defaults; errors still show.
    for name in ("ray", "ray.rllib"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if settings.ray_address is not None:
        ray.init(address=settings.ray_address, logging_level=logging.ERROR)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        num_cpus=1 + settings.num_env_runners + settings.num_learners,
        num_gpus=torch.cuda.device_count() if device.type == "cuda" else 0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=256 * 2**20,
    )

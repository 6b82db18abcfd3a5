"""Starting Ray: a private instance of this machine, or a cluster that is there."""

from __future__ import annotations

import logging
import os

import ray
import torch

from gradmap.baselines.rllib.config import PPOSettings


def start_ray(settings: PPOSettings, device: torch.device) -> None:
    """Starts or joins Ray for RLlib, which needs it also where all runs in one process.

    Args:
        settings: Number of processes, and the cluster to join.
        device: Torch device of the run.
    """
    num_cpus = 1 + settings.num_env_runners + settings.num_learners
    num_gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    init_ray(settings.ray_address, num_cpus, num_gpus)


def init_ray(address: str | None, num_cpus: int, num_gpus: int = 0) -> None:
    """Starts or joins Ray, unless this process has done so before.

    The private instance is as small as it may be, has no dashboard, sends no
    usage statistics and ends with this process.

    Args:
        address: Cluster to join, such as `auto`; None for a private instance.
        num_cpus: Processors of the private instance.
        num_gpus: Its GPUs.
    """
    if ray.is_initialized():
        return
    # RLlib advises on its command line interfaces and new defaults; errors still show.
    for name in ("ray", "ray.rllib"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if address is not None:
        ray.init(address=address, logging_level=logging.ERROR)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        # Else a cluster of this machine would be joined where one runs.
        address="local",
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=256 * 2**20,
    )

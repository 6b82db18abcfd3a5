"""The feeder of a task, made fit for one."""

from __future__ import annotations

import dataclasses

import numpy as np

from gradmap.envs.config import TaskConfig
from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.model import Feeder


def load_task_feeder(config: TaskConfig) -> Feeder:
    """Loads the feeder of a task at the task's taps.

    Args:
        config: The task.

    Raises:
        GradmapError: If there is no such feeder, or its taps do not fit.
    """
    return without_missing_ratings(load_feeder(config.feeder, config.taps))


def without_missing_ratings(feeder: Feeder) -> Feeder:
    """Gives branches without a rating one without end: they have no limit.

    Args:
        feeder: The feeder.

    Returns:
        The same feeder, if every branch has a rating.
    """
    rating = feeder.branches.rating_a
    is_rated = rating > 0  # false for NaN, too
    if is_rated.all():
        return feeder
    branches = dataclasses.replace(feeder.branches, rating_a=np.where(is_rated, rating, np.inf))
    return dataclasses.replace(feeder, branches=branches)

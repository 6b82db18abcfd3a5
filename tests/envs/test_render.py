"""The picture of the feeder."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest

from gradmap.envs.parallel import ParallelFeederEnv
from gradmap.envs.render import draw_feeder
from gradmap.feeders.errors import GradmapError

LIMITS = (0.95, 1.05)


@pytest.fixture
def env(short_core):
    return ParallelFeederEnv(short_core, render_mode="rgb_array")


def coloured(picture):
    """Pixels that are not grey, the colour bar at the right left out."""
    map_part = picture[:, : int(0.8 * picture.shape[1])].astype(int)
    return (np.ptp(map_part, axis=-1) > 40).sum()


def test_a_day_is_drawn_before_and_after_its_first_step(env):
    env.reset(options={"day": 0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = env.render()
        env.step({name: np.ones(1, np.float32) for name in env.agents})
        after = env.render()
    assert before.shape == after.shape
    assert before.shape[-1] == 3
    assert before.dtype == after.dtype == np.uint8
    assert coloured(before) == 0
    assert coloured(after) > 1000


def test_the_picture_is_of_the_last_step(env):
    env.reset(options={"day": 0})
    env.step({name: np.ones(1, np.float32) for name in env.agents})
    first = env.render()
    assert np.array_equal(env.render(), first)
    env.step({name: -np.ones(1, np.float32) for name in env.agents})
    assert not np.array_equal(env.render(), first)


def test_without_a_render_mode_nothing_is_drawn(short_core):
    env = ParallelFeederEnv(short_core)
    env.reset()
    assert env.render() is None


def test_rendering_needs_a_day(env):
    with pytest.raises(GradmapError, match="nothing to draw yet; call reset first"):
        env.render()


def test_high_and_low_voltage_look_different(task_feeder):
    pictures = [
        draw_feeder(task_feeder, np.full(task_feeder.num_nodes, v), LIMITS, "test")
        for v in (0.94, 1.0, 1.06)
    ]
    means = [picture.reshape(-1, 3).mean(0) for picture in pictures]
    assert means[0][0] > means[0][2]  # red for low
    assert means[2][2] > means[2][0]  # blue for high


def test_a_failed_power_flow_is_drawn_without_colour(task_feeder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = draw_feeder(task_feeder, np.full(task_feeder.num_nodes, np.nan), LIMITS, "failed")
    assert coloured(picture) == 0


def test_a_feeder_without_coordinates_still_gives_a_picture(task_feeder):
    nowhere = dataclasses.replace(task_feeder, bus_xy=np.full_like(task_feeder.bus_xy, np.nan))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = draw_feeder(nowhere, np.ones(task_feeder.num_nodes), LIMITS, "nowhere")
    assert picture.shape[-1] == 3

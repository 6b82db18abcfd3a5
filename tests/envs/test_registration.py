"""Gymnasium's registry: found by id, checked by Gymnasium, light until made."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import gradmap
from gradmap.envs.joint import JointEnv
from gradmap.envs.registration import GYMNASIUM_ID
from gradmap.envs.vector import JointVectorEnv

# Ours have no bound that would hold in every state: a voltage or a room's
# temperature may go anywhere. Gymnasium asks whether that is meant.
UNBOUNDED = r".*A Box observation space m(in|ax)imum value is -?infinity"


def strictly():
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", UNBOUNDED)


def test_gymnasiums_own_check_passes():
    with warnings.catch_warnings():
        strictly()
        env = gymnasium.make(GYMNASIUM_ID, num_agents=20)
        assert isinstance(env.unwrapped, JointEnv)
        check_env(env.unwrapped)


def test_a_day_runs_through_gymnasiums_wrappers():
    with warnings.catch_warnings():
        strictly()
        env = gymnasium.make(GYMNASIUM_ID, num_agents=20)
        env = gymnasium.wrappers.RecordEpisodeStatistics(env)
        env.reset(seed=0)
        ended = False
        while not ended:
            _, _, ended, truncated, info = env.step(env.action_space.sample())
            assert not truncated
        assert info["episode"]["l"] == 48


@pytest.mark.parametrize("mode", [None, "vector_entry_point"])
def test_a_batch_is_one_core(mode):
    with warnings.catch_warnings():
        strictly()
        envs = gymnasium.make_vec(
            GYMNASIUM_ID, num_envs=3, vectorization_mode=mode, num_agents=20, per_agent=True
        )
    assert isinstance(envs, JointVectorEnv)
    assert envs.num_envs == 3
    assert envs.per_agent
    assert envs.spec.id == GYMNASIUM_ID


def test_a_batch_follows_gymnasiums_convention():
    """The same shapes, dtypes and order of ends as its loop over single environments."""
    with warnings.catch_warnings():
        strictly()
        loop = gymnasium.make_vec(
            GYMNASIUM_ID, num_envs=2, vectorization_mode="sync", num_agents=20
        )
        batch = gymnasium.make_vec(GYMNASIUM_ID, num_envs=2, num_agents=20)
        assert batch.metadata["autoreset_mode"] is loop.metadata["autoreset_mode"]
        assert batch.observation_space == loop.observation_space
        assert batch.action_space == loop.action_space
        days = {"day": 17}
        assert_alike(batch.reset(options=days), loop.reset(options=days))
        for _ in range(48):
            actions = batch.action_space.sample()
            assert_alike(batch.step(actions), loop.step(actions))
        *found, infos = batch.step(actions)
        *expected, others = loop.step(actions)
        assert_alike(found[1:], expected[1:])  # zeros and False: days of their own begin
        assert set(infos) == set(others) == {"date", "_date"}


def assert_alike(found, expected):
    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        for key in found:
            assert_alike(found[key], expected[key])
    elif isinstance(found, list | tuple):
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif found.dtype.kind == "f":
        assert found.dtype == expected.dtype
        # A batch of two rounds otherwise than one, and the solver stops within 1e-8 p.u.
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(found, expected)


def run(code, folder):
    """Runs Python in an empty folder, so that the package under test is the one found."""
    above = pathlib.Path(gradmap.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(above)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_registering_is_light(tmp_path):
    code = "import sys, gradmap.envs.registration, gymnasium\nprint(*sys.modules)"
    loaded = set(run(code, tmp_path).split())
    assert "gradmap.envs.registration" in loaded
    # numpy comes with Gymnasium.
    heavy = {"torch", "ray", "pandas", "scipy", "matplotlib", "dss", "gradmap.envs.vector"}
    assert not heavy & loaded


def test_an_id_with_its_module_needs_no_import(tmp_path):
    code = (
        "import gymnasium\n"
        f"env = gymnasium.make('gradmap.envs.registration:{GYMNASIUM_ID}', num_agents=3)\n"
        "print(env.unwrapped.core.num_agents)"
    )
    assert run(code, tmp_path).strip() == "3"


def test_importing_the_environments_registers_them(tmp_path):
    code = f"import gymnasium, gradmap.envs.vector\nprint(gymnasium.spec('{GYMNASIUM_ID}').id)"
    assert run(code, tmp_path).strip() == GYMNASIUM_ID

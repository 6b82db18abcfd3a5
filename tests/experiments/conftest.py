"""What the harness's tests share."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys
import types

import pytest

import gradmap

FAKE_RUN = pathlib.Path(__file__).with_name("fake_run.py")


@pytest.fixture(scope="session")
def fake_run() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("fake_run", FAKE_RUN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_run"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def child_environment() -> dict[str, str]:
    """For a child process that has to find the package where this one has it."""
    root = str(pathlib.Path(gradmap.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

"""What the harness's tests share."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys
import types

import pytest

import gradmap

HERE = pathlib.Path(__file__).parent
FAKE_RUN = HERE / "fake_run.py"


def load(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fake_run() -> types.ModuleType:
    return load("fake_run")


@pytest.fixture(scope="session")
def fake_comparison() -> types.ModuleType:
    return load("fake_comparison")


@pytest.fixture(scope="session")
def fake_results() -> types.ModuleType:
    return load("fake_results")


@pytest.fixture
def child_environment() -> dict[str, str]:
    """For a child process that has to find the package where this one has it."""
    root = str(pathlib.Path(gradmap.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

"""What tests of every layer share."""

from __future__ import annotations

import importlib.util
import pathlib

import hypothesis
import pytest

# A busy machine must not fail a test, and a failure must come back on the next run.
hypothesis.settings.register_profile("gradmap", deadline=None, derandomize=True)
hypothesis.settings.load_profile("gradmap")

SUB_PACKAGES = ("feeders", "envs", "algorithms", "baselines", "experiments")


def _folder(package: str) -> pathlib.Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None, f"{package} has no __init__.py"
    return pathlib.Path(spec.origin).parent


@pytest.fixture(scope="session")
def modules() -> dict[str, pathlib.Path]:
    """The file of every module of the package under test: checkout or installed wheel."""
    found = {"gradmap": _folder("gradmap") / "__init__.py"}
    for name in SUB_PACKAGES:
        top = _folder(f"gradmap.{name}")
        for path in sorted(top.rglob("*.py")):
            parts = path.relative_to(top).with_suffix("").parts
            tail = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join(("gradmap", name, *tail))] = path
    return found

"""Every script of `examples/` keeps to what examples/README.md says, and runs."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import pytest

import gradmap

ROOT = pathlib.Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
BRINGS = {"rllib": "ray", "torchrl": "torchrl", "benchmarl": "benchmarl"}
"""A package that an extra brings, by the extra."""


def extra_of(path: pathlib.Path) -> str | None:
    """The extra that an example's docstring names, None if it needs none."""
    first = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]
    match = re.search(r"Needs: gradmap(?:\[(\w+)\])?\.$", first)
    assert match, f"{path.name}: the docstring's first line must end with 'Needs: gradmap[extra].'"
    return match[1]


def test_there_are_examples() -> None:
    assert EXAMPLES


def test_extras_exist() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    named = {extra for path in EXAMPLES if (extra := extra_of(path)) is not None}
    assert named <= set(parser["options.extras_require"])
    assert named <= BRINGS.keys()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_readme_lists_it(path: pathlib.Path) -> None:
    rows = (ROOT / "examples" / "README.md").read_text("utf-8").splitlines()
    extra = extra_of(path)
    needs = f"`gradmap[{extra}]` |" if extra else "`gradmap` |"
    assert [row for row in rows if row.startswith(f"| `{path.name}` |") and row.endswith(needs)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    extra = extra_of(path)
    if extra is not None and importlib.util.find_spec(BRINGS[extra]) is None:
        pytest.skip(f"gradmap[{extra}] is not installed")
    # Not below tmp_path: its name is too long for the sockets that Ray puts there.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        done = subprocess.run(
            [sys.executable, str(path), "--agents", "10"],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(pathlib.Path(gradmap.__file__).parents[1]),
                "OMP_NUM_THREADS": "1",
                "TMPDIR": scratch,
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, f"{path.name}\n{done.stdout}\n{done.stderr}"
    assert done.stdout.strip()
    assert not list(tmp_path.iterdir()), f"{path.name} writes to the folder it is started in"

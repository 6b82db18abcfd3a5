"""The public names: importable, light to reach, documented, annotated, in short files.

Runs against the installed wheel as well as against a checkout.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

import gradmap

HEAVY = ("torch", "ray", "matplotlib", "opendssdirect", "dss", "pandas", "scipy", "gymnasium")
MAX_LINES = 500
# Modules behind an extra, by the package that the extra brings.
OPTIONAL = {
    "gradmap.envs.rllib": "ray",
    "gradmap.baselines.rllib": "ray",
    "gradmap.envs.torchrl": "torchrl",
    "gradmap.envs.benchmarl": "benchmarl",
    "gradmap.experiments.bench_marl": "ray",
    "gradmap.experiments.bench_marl_env": "ray",
}

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@pytest.mark.parametrize("name", sorted(gradmap._PUBLIC))
def test_public_name_is_importable(name: str) -> None:
    assert getattr(gradmap, name) is not None
    assert name in dir(gradmap)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        gradmap.no_such_name  # noqa: B018


def test_every_module_imports(modules: dict[str, pathlib.Path]) -> None:
    for name in modules:
        need = next((p for top, p in OPTIONAL.items() if f"{name}.".startswith(f"{top}.")), None)
        if need is None or importlib.util.find_spec(need) is not None:
            importlib.import_module(name)


def test_import_is_light(tmp_path: pathlib.Path) -> None:
    # From an empty folder, so that the package under test is the one found.
    above = pathlib.Path(gradmap.__file__).parents[1]
    found = subprocess.run(
        [sys.executable, "-c", "import sys, gradmap; print(*sys.modules)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(above)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "gradmap" in found
    assert not set(HEAVY) & set(found)


def public_definitions(body: list[ast.stmt], inside: str) -> Iterator[tuple[str, Definition]]:
    """Public functions, classes and methods, each with its dotted name."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield f"{inside}.{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{inside}.{node.name}")


def decorators(node: Definition) -> set[str]:
    names = (ast.unparse(decorator) for decorator in node.decorator_list)
    return {name.rpartition(".")[2] for name in names}


def unannotated(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Arguments without a type; `self` and `cls` need none."""
    plain = [*node.args.posonlyargs, *node.args.args]
    if plain and plain[0].arg in ("self", "cls"):
        plain = plain[1:]
    starred = [arg for arg in (node.args.vararg, node.args.kwarg) if arg is not None]
    return [arg.arg for arg in (*plain, *node.args.kwonlyargs, *starred) if arg.annotation is None]


def test_public_names_are_documented_and_annotated(modules: dict[str, pathlib.Path]) -> None:
    faults = []
    for module, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not ast.get_docstring(tree):
            faults.append(f"{module}: no docstring")
        for name, node in public_definitions(tree.body, module):
            # An override says what its base says; a setter, what its getter says.
            if not ast.get_docstring(node) and not decorators(node) & {"override", "setter"}:
                faults.append(f"{name}: no docstring")
            if not isinstance(node, ast.ClassDef):
                faults += [f"{name}: argument {arg} has no type" for arg in unannotated(node)]
                if node.returns is None:
                    faults.append(f"{name}: no return type")
    assert not faults, "\n".join(faults)


def test_files_are_short(modules: dict[str, pathlib.Path]) -> None:
    tests = pathlib.Path(__file__).parent.rglob("*.py")
    lengths = {
        str(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in (*modules.values(), *tests)
    }
    assert not {path: length for path, length in lengths.items() if length > MAX_LINES}

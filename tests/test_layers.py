"""Data runs one way through the layers: every import is held to this table.

The files are read with `ast`, so an import inside a function counts too, and
so does one of a package that is not installed here.
"""

from __future__ import annotations

import ast
import fnmatch
import pathlib
import sys
from collections.abc import Iterator
from typing import NamedTuple

import gradmap


class Layer(NamedTuple):
    ours: str  # layers that it may import besides itself, less the leading `gradmap.`
    third_party: str


# The longest name that a module starts with is its layer.
LAYERS = {
    "feeders.errors": Layer("", ""),
    "feeders.compiled": Layer("", "numba"),
    "feeders": Layer("feeders.errors", "numpy scipy"),
    "feeders.powerflow": Layer("feeders feeders.errors", "numpy torch"),
    "envs.devices": Layer("feeders.errors feeders.compiled", "numpy torch"),
    "envs.scenarios": Layer("feeders feeders.errors", "numpy pandas torch"),
    "envs": Layer(
        "feeders feeders.errors feeders.powerflow envs.devices envs.scenarios",
        "numpy torch gymnasium pettingzoo",
    ),
    # The same actors, prices and rollouts serve GradMAP and what it is compared with.
    "algorithms.stacked_kernels": Layer("feeders.compiled", "numpy"),
    "algorithms.fused_layers": Layer("algorithms.stacked_kernels", "numpy torch"),
    "algorithms.networks": Layer("envs feeders.errors algorithms.fused_layers", "torch"),
    "algorithms.config": Layer("feeders.errors", ""),
    "algorithms.schedule": Layer("", ""),
    "algorithms.multipliers": Layer("envs feeders.errors algorithms.config", "torch"),
    "algorithms.moments": Layer("", "torch"),
    "algorithms.rollout": Layer("envs", "torch"),
    "algorithms.learner": Layer(
        "envs algorithms.networks algorithms.config algorithms.schedule algorithms.multipliers "
        "algorithms.moments algorithms.rollout",
        "torch",
    ),
    "algorithms": Layer(
        "feeders feeders.errors feeders.powerflow envs.devices envs.scenarios envs "
        "algorithms.networks algorithms.config algorithms.schedule "
        "algorithms.multipliers algorithms.moments algorithms.rollout algorithms.learner",
        "numpy torch",
    ),
    "baselines": Layer(
        "feeders feeders.errors feeders.powerflow envs.devices envs.scenarios envs "
        "algorithms.networks algorithms.config algorithms.schedule "
        "algorithms.multipliers algorithms.moments algorithms.rollout algorithms.learner",
        "numpy torch scipy",
    ),
    "experiments": Layer(
        "feeders feeders.errors feeders.powerflow envs.devices envs.scenarios envs "
        "algorithms.networks algorithms.config algorithms.schedule "
        "algorithms.multipliers algorithms.moments algorithms.rollout algorithms.learner "
        "algorithms baselines",
        "numpy torch scipy gymnasium pettingzoo pydantic yaml tyro rich pandas matplotlib "
        "tensorboardX",
    ),
}

# What single files may import on top of their layer.
EXCEPTIONS = {
    "feeders.dss*": Layer("", "dss opendssdirect"),  # the files that speak with OpenDSS
    "feeders.powerflow.*_build": Layer("", "scipy"),  # read the feeder's sparse matrices
    "feeders.powerflow.incidence": Layer("", "scipy"),
    "feeders.powerflow.sparse*": Layer("", "scipy"),
    "feeders.validate": Layer("feeders.powerflow", "torch"),  # compares the two
    "envs.render": Layer("", "matplotlib"),  # draws PettingZoo's rgb_array
    "envs.rllib": Layer("", "ray"),
    "envs.torchrl": Layer("", "torchrl tensordict"),
    "envs.benchmarl": Layer("", "benchmarl torchrl"),
    "baselines.rllib": Layer("", "ray gymnasium"),
    "baselines.rllib.*": Layer("", "ray gymnasium"),
    "experiments.bench_marl*": Layer("", "ray"),
    "experiments.ray_engine": Layer("", "ray"),
    "experiments.tune*": Layer("", "ray"),
}

FACE = {name: target.removeprefix("gradmap.") for name, target in gradmap._PUBLIC.items()}


def imported(tree: ast.AST) -> Iterator[str]:
    """Full name of every module that a file imports, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield "." * node.level + (node.module or "")
            else:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = node.args[0]
            if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield str(first.value)


def layer_of(module: str) -> str | None:
    """Layer that holds a module named without its leading `gradmap.`."""
    holders = [name for name in LAYERS if f"{module}.".startswith(f"{name}.")]
    return max(holders, key=len, default=None)


def fault(module: str, target: str) -> str | None:
    """What is wrong with one import, or None."""
    own = layer_of(module)
    assert own is not None, f"{module} belongs to no layer: add it to LAYERS"
    extra = [more for glob, more in EXCEPTIONS.items() if fnmatch.fnmatchcase(module, glob)]
    grants = [LAYERS[own], *extra]
    top = target.partition(".")[0]
    if target.startswith("."):
        return f"{module}: relative import {target}; write it out from gradmap on"
    if top in {name.partition(".")[0] for name in LAYERS}:
        return f"{module}: imports {target} from the checkout; write gradmap.{target}"
    if top == "gradmap":
        name = target.removeprefix("gradmap").removeprefix(".")
        if name in ("", "__version__"):
            return None
        layer = layer_of(FACE.get(name, name))
        allowed = {own, *(part for grant in grants for part in grant.ours.split())}
        return None if layer in allowed else f"{module}: layer {own} may not import {target}"
    if top in sys.stdlib_module_names:
        return None
    allowed = {part for grant in grants for part in grant.third_party.split()}
    return None if top in allowed else f"{module}: layer {own} may not import {top}"


def test_imports_follow_the_layers(modules: dict[str, pathlib.Path]) -> None:
    faults = [
        problem
        for name, path in modules.items()
        if name != "gradmap"
        for target in imported(ast.parse(path.read_text(encoding="utf-8")))
        if (problem := fault(name.removeprefix("gradmap."), target))
    ]
    assert not faults, "\n".join(faults)


def test_tests_do_not_import_from_the_checkout() -> None:
    tops = {name.partition(".")[0] for name in LAYERS}
    faults = [
        f"{path.name}: imports {target}; write gradmap.{target}"
        for path in sorted(pathlib.Path(__file__).parent.rglob("*.py"))
        for target in imported(ast.parse(path.read_text(encoding="utf-8")))
        if target.partition(".")[0] in tops
    ]
    assert not faults, "\n".join(faults)


def test_the_face_imports_nothing_at_run_time(modules: dict[str, pathlib.Path]) -> None:
    tree = ast.parse(modules["gradmap"].read_text(encoding="utf-8"))
    found = set(imported(tree))
    for_type_checkers = {f"{module}.{name}" for name, module in gradmap._PUBLIC.items()}
    assert for_type_checkers <= found
    assert {name.partition(".")[0] for name in found - for_type_checkers} <= sys.stdlib_module_names


def test_a_wrong_import_is_found() -> None:
    found = imported(ast.parse("def late():\n    import ray.rllib\n    from envs import core\n"))
    assert [fault("algorithms.gradmap", target) for target in found] == [
        "algorithms.gradmap: layer algorithms may not import ray",
        "algorithms.gradmap: imports envs.core from the checkout; write gradmap.envs.core",
    ]
    assert fault("feeders.model", "gradmap.feeders.powerflow.solve.PowerFlow")
    assert fault("feeders.catalog", "gradmap.make")
    assert fault("baselines.foresight", "gradmap.algorithms.trainer.train")
    assert fault("feeders.catalog", "dss.DSS")
    assert fault("feeders.dss_replay", "dss.DSS") is None
    assert fault("baselines.foresight", "gradmap.algorithms.networks.Actors") is None

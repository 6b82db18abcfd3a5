"""gradmap: train and compare methods for many devices on a three-phase feeder."""

from __future__ import annotations

import importlib
import pathlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_here = pathlib.Path(__file__).parent
if not (_here / "envs").is_dir():
    __path__.append(str(_here.parent))  # a checkout: the sub-packages lie beside this folder

# Public names and the module that holds each: loaded on first use, so that
# `import gradmap` costs neither torch nor OpenDSS.
_PUBLIC = {
    "Feeder": "gradmap.feeders.model",
    "GradmapError": "gradmap.feeders.errors",
    "load_feeder": "gradmap.feeders.catalog",
    "Network": "gradmap.feeders.powerflow.network",
    "PowerFlow": "gradmap.feeders.powerflow.solve",
    "solve_power_flow": "gradmap.feeders.powerflow.solve",
    "make": "gradmap.envs.catalog",
    "own_task": "gradmap.envs.own_task",
    "TaskConfig": "gradmap.envs.config",
    "AgentMix": "gradmap.envs.config",
    "Placement": "gradmap.envs.placement",
    "parallel_env": "gradmap.envs.parallel",
}

if TYPE_CHECKING:  # the same names for editors and type checkers
    from gradmap.envs.catalog import make as make
    from gradmap.envs.config import AgentMix as AgentMix
    from gradmap.envs.config import TaskConfig as TaskConfig
    from gradmap.envs.own_task import own_task as own_task
    from gradmap.envs.parallel import parallel_env as parallel_env
    from gradmap.envs.placement import Placement as Placement
    from gradmap.feeders.catalog import load_feeder as load_feeder
    from gradmap.feeders.errors import GradmapError as GradmapError
    from gradmap.feeders.model import Feeder as Feeder
    from gradmap.feeders.powerflow.network import Network as Network
    from gradmap.feeders.powerflow.solve import PowerFlow as PowerFlow
    from gradmap.feeders.powerflow.solve import solve_power_flow as solve_power_flow

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'gradmap' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

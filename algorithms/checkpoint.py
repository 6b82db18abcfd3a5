"""Checkpoints: tensors and a JSON text in one file, never a pickled object."""

from __future__ import annotations

import json
import pathlib
import warnings
from typing import Any

import torch
from torch import Tensor

from gradmap.feeders.errors import GradmapError
from gradmap.feeders.files import replacing

FORMAT = "gradmap-checkpoint-1"


def save_checkpoint(
    path: str | pathlib.Path, tensors: dict[str, Tensor], meta: dict[str, Any]
) -> None:
    """Writes a checkpoint, whole or not at all.

    Args:
        path: The file.
        tensors: Tensors by name.
        meta: What JSON can hold; `task` names the task that it belongs to.

    Raises:
        GradmapError: If the file cannot be written.
    """
    on_cpu = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    # An open file: given a path, torch takes the file's name into the archive.
    with replacing(pathlib.Path(path)) as aside, aside.open("wb") as file:
        torch.save({"format": FORMAT, "meta": json.dumps(meta), "tensors": on_cpu}, file)


def load_checkpoint(
    path: str | pathlib.Path, expected_task: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads a checkpoint; nothing in the file is executed.

    Args:
        path: The file.
        expected_task: The task it must belong to; None takes any.

    Returns:
        The tensors and the meta data.

    Raises:
        GradmapError: If the file is missing, damaged, no checkpoint, or one
            of another task.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise GradmapError(f"no checkpoint at {path}; name a run directory that has been trained")
    try:
        with warnings.catch_warnings():
            # Torch warns of pickles of another make, then refuses them: one line is enough.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
        found = content["format"]
        tensors, meta = dict(content["tensors"]), dict(json.loads(content["meta"]))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise GradmapError(
            f"{path} is damaged or no checkpoint ({reason[:120]}); "
            "use another checkpoint of the run, or train again"
        ) from error
    if found != FORMAT:
        raise GradmapError(f"{path} has format {found!r}, expected {FORMAT!r}; train again")
    if expected_task is not None and meta.get("task") != expected_task:
        raise GradmapError(
            f"{path} was trained for task {meta.get('task')!r}, expected {expected_task!r}; "
            "evaluate it with the configuration of its own run"
        )
    return tensors, meta

"""The metrics for TensorBoard."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping

from tensorboardX import SummaryWriter


class Board:
    """A writer of TensorBoard's files.

    Args:
        path: Their folder.
        iteration: Iteration that the run goes on from; what lies after it in
            earlier files is hidden.
    """

    def __init__(self, path: pathlib.Path, iteration: int) -> None:
        self._writer = SummaryWriter(str(path), purge_step=iteration + 1 if iteration else None)

    def add(self, kind: str, metrics: Mapping[str, float], iteration: int) -> None:
        """Adds metrics; those that are not finite are left out.

        Args:
            kind: Their group, `train` or `validation`.
            metrics: Values by name.
            iteration: Their iteration.
        """
        for name, value in metrics.items():
            if math.isfinite(value):
                self._writer.add_scalar(f"{kind}/{name}", value, iteration)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

"""Buffers kept from one solve to the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

_Workspace = TypeVar("_Workspace")

_MAX_KEPT = 8


class Pool:
    """Workspaces that wait for the next solve of their size.

    At small batch, making the buffers and the views of them takes longer than
    an iteration. A workspace is out of the pool while it is used, so threads
    (autograd runs backward passes in its own) never share one. Copies and
    pickles of a pool are empty.
    """

    def __init__(self) -> None:
        self._idle: OrderedDict[Any, Any] = OrderedDict()

    def __reduce__(self) -> tuple[type[Pool], tuple[()]]:
        return Pool, ()

    @contextmanager
    def borrow(self, key: Any, make: Callable[[], _Workspace]) -> Iterator[_Workspace]:
        """Lends a workspace.

        Args:
            key: What the workspace is for, its sizes included.
            make: Makes one, if none of that key waits.

        Yields:
            The workspace, until the context is left.
        """
        workspace = self._idle.pop(key, None)
        if workspace is None:
            # Buffers made in inference mode could not be used outside it.
            with torch.inference_mode(False):
                workspace = make()
        yield workspace
        # Not after an error, which may have left anything in it.
        self._idle[key] = workspace
        while len(self._idle) > _MAX_KEPT:
            self._idle.popitem(last=False)

"""Functions compiled by Numba, where loops over small arrays decide the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a function that is compiled when it is first called.

    The machine code is kept beside the source file, or in the user's cache if
    that cannot be written; where neither can, every process compiles anew.

    Args:
        **options: Options of `numba.njit`.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        always: dict[str, Any] = {"nogil": True, "error_model": "numpy", **options}
        try:
            made: Callable[..., Any] = njit(cache=True, **always)(function)
        except RuntimeError:  # no folder to keep it in
            made = njit(**always)(function)
        return made

    return decorate

"""Ctrl-C and SIGTERM as a request that the loop looks at between iterations."""

from __future__ import annotations

import signal
import threading
import types
from typing import Any

EXIT_CODE = 130
"""What a process that was asked to stop exits with."""


class StopRequest:
    """While entered, the first signal sets `is_set`, and a second one interrupts.

    Outside the main thread, where Python delivers no signals, it stays unset.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: types.FrameType | None) -> None:
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True

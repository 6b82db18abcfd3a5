"""Where text goes."""

from __future__ import annotations

import sys

from rich.console import Console

PLAIN_WIDTH = 130
"""Columns of a table that goes to a file or another program."""


def console() -> Console:
    """Standard output; wide where no terminal says how wide it is."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)

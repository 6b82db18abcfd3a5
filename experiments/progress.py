"""How far a training run is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_SECONDS = 10.0
"""Seconds between two plain lines."""

_SHOWN = {
    "cost_usd_per_day": ("cost", "$ {:,.0f}/d"),
    "node_step_violation_pct": ("violation", "{:.3g} %"),
}


class Reporter(Protocol):
    """Shows progress."""

    def update(self, iteration: int, seconds: float, fraction: float) -> None:
        """Shows where the run is.

        Args:
            iteration: Iterations made.
            seconds: Training seconds used.
            fraction: Share of the budget used, 0 to 1.
        """

    def validated(self, iteration: int, metrics: Mapping[str, float | None]) -> None:
        """Shows a judgement on validation days.

        Args:
            iteration: Iterations made.
            metrics: What was found.
        """

    def say(self, text: str) -> None:
        """Shows a line."""

    def close(self) -> None:
        """Leaves the terminal as it was."""


def reporter(name: str, console: Console | None = None) -> Reporter:
    """Gives the reporter that fits the place where the output goes.

    Args:
        name: What is trained.
        console: Where to show it; standard output if None.
    """
    console = console or Console()
    return TerminalReporter(name, console) if console.is_terminal else PlainReporter(name)


def describe(metrics: Mapping[str, float | None]) -> str:
    """A judgement in a few words."""
    parts = []
    for key, (word, form) in _SHOWN.items():
        value = metrics.get(key)
        parts.append(f"{word} {'–' if value is None else form.format(value)}")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """A time as `m:ss`, or `h:mm:ss` from an hour up."""
    whole = max(int(seconds + 0.5), 0)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def time_left(seconds: float, fraction: float) -> str:
    """Time left by the budget used so far, `?` before anything is known."""
    return duration(seconds * (1 - fraction) / fraction) if fraction > 0 and seconds > 0 else "?"


class TerminalReporter:
    """A bar with rate and time left.

    Args:
        name: What is trained.
        console: The terminal.
    """

    def __init__(self, name: str, console: Console) -> None:
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[state]}"),
            console=console,
        )
        self._last = "not judged yet"
        self._task = self._bar.add_task(name, total=1.0, state="starting")
        self._bar.start()

    def update(self, iteration: int, seconds: float, fraction: float) -> None:
        """Moves the bar; see `Reporter.update`."""
        rate = f"{iteration / seconds:.2f}/s" if seconds > 0 else "–"
        state = f"{iteration} it, {rate}, {time_left(seconds, fraction)} left · {self._last}"
        self._bar.update(self._task, completed=min(fraction, 1.0), state=state)

    def validated(self, iteration: int, metrics: Mapping[str, float | None]) -> None:
        """Keeps the judgement for the bar; see `Reporter.validated`."""
        self._last = describe(metrics)

    def say(self, text: str) -> None:
        """Prints above the bar; see `Reporter.say`."""
        self._bar.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Stops drawing; see `Reporter.close`."""
        self._bar.stop()


class PlainReporter:
    """A line at the start, every few seconds, and after the first and last judgement.

    Args:
        name: What is trained.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = ""
        self._next = 0.0

    def update(self, iteration: int, seconds: float, fraction: float) -> None:
        """Prints a line if the last one is old; see `Reporter.update`."""
        if time.monotonic() < self._next and fraction < 1.0:
            return
        self._next = time.monotonic() + PLAIN_SECONDS
        rate = f"{iteration / seconds:.2f}/s" if seconds > 0 else "–"
        self.say(
            f"iteration {iteration}, {duration(seconds)} ({rate}), "
            f"{time_left(seconds, fraction)} left{self._last}"
        )

    def validated(self, iteration: int, metrics: Mapping[str, float | None]) -> None:
        """Keeps the judgement for the next line; see `Reporter.validated`."""
        self._last = f"; validation at {iteration}: {describe(metrics)}"

    def say(self, text: str) -> None:
        """Prints a line; see `Reporter.say`."""
        print(f"[{self._name}] {text}", flush=True)

    def close(self) -> None:
        """Does nothing; see `Reporter.close`."""

"""Fair timing on a machine that others use too."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

Contender = tuple[Callable[[], Any], int]
"""What to run, and how much one call does, such as its number of scenarios."""

_ROUND_S = 0.03  # a contender's turn, at least


class Rates:
    """Rates of several contenders, taken in turn, round after round.

    Other work on the machine slows all contenders of a round alike, so ratios
    are taken within rounds, and the median is over rounds.

    Args:
        contenders: Contenders by name.
        num_rounds: Number of rounds.

    Attributes:
        rates: Rate of each contender in each round, per second.
    """

    def __init__(
        self,
        contenders: Mapping[str, Contender],
        num_rounds: int,
    ) -> None:
        repeats = {name: _repeats(call) for name, (call, _) in contenders.items()}
        self.rates: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(num_rounds):
            for name, (call, amount) in contenders.items():
                begin = time.perf_counter()
                for _ in range(repeats[name]):
                    call()
                seconds = time.perf_counter() - begin
                self.rates[name].append(amount * repeats[name] / seconds)

    def median(self, name: str) -> float:
        """Median rate, per second."""
        return statistics.median(self.rates[name])

    def ratio(self, name: str, other: str) -> float:
        """Median over rounds of one contender's rate over another's."""
        pairs = zip(self.rates[name], self.rates[other], strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)


def _repeats(call: Callable[[], Any]) -> int:
    """Calls that fill a turn; warms up on the way."""
    call()
    begin = time.perf_counter()
    call()
    return max(1, round(_ROUND_S / max(time.perf_counter() - begin, 1e-9)))

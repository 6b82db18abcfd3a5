"""Which days are for training, which for validation, which for test.

The rule is part of the task's version: it depends on the dates and counts
only, not on a seed or on numpy's generators, so that every result is on the
same days. Within each month the days are put in the order of a hash of their
date; the first are for test, the next for validation, the rest for training.
Every month gives as many days, so all seasons are in each split.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

SALT = "gradmap-1"
"""Version of the draw: a new one makes results incomparable."""


def split_days(
    dates: Sequence[str], test_per_month: int, validation_per_month: int
) -> tuple[str, ...]:
    """Returns the split of every day. `[day]`

    Args:
        dates: ISO dates. `[day]`
        test_per_month: Days of each month for test.
        validation_per_month: Days of each month for validation.
    """
    months: defaultdict[str, list[str]] = defaultdict(list)
    for date in dates:
        months[date[:7]].append(date)
    split = {}
    for month in months.values():
        held = test_per_month + validation_per_month
        for rank, date in enumerate(sorted(month, key=_draw)):
            split[date] = (
                "test" if rank < test_per_month else "validation" if rank < held else "train"
            )
    return tuple(split[date] for date in dates)


def _draw(date: str) -> str:
    return hashlib.sha256(f"{SALT} {date}".encode()).hexdigest()

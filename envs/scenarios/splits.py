"""Which days are for training, which for validation, which for test.

The rule is part of the task's version: it depends on the dates and counts
only, not on a seed or on numpy's generators, so that every result is on the
same days. Every month gives the same number of days to test and to
validation, so all seasons are in each split, and two of seven of those days
are weekend days. Which day it is, the hash of its date decides.
"""

from __future__ import annotations

import datetime
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
    for date in sorted(dates):
        months[date[:7]].append(date)
    drawn = {month: sorted(days, key=_draw) for month, days in months.items()}
    split = dict.fromkeys(dates, "train")
    for name, per_month in (("test", test_per_month), ("validation", validation_per_month)):
        places = [month for month in drawn for _ in range(per_month)]
        for place, month in enumerate(places):
            if not drawn[month]:
                continue
            # Counts 2/7 of the places, evenly spread over the year.
            want = (place + 1) * 2 // 7 > place * 2 // 7
            suited = [date for date in drawn[month] if is_weekend(date) == want]
            date = (suited or drawn[month])[0]
            drawn[month].remove(date)
            split[date] = name
    return tuple(split[date] for date in dates)


def is_weekend(date: str) -> bool:
    """Says whether an ISO date is a Saturday or Sunday.

    Args:
        date: The date, such as `2016-01-31`.
    """
    return datetime.date.fromisoformat(date).weekday() >= 5


def _draw(date: str) -> str:
    return hashlib.sha256(f"{SALT} {date}".encode()).hexdigest()

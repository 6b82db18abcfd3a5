from __future__ import annotations

from collections import Counter

import pytest

from gradmap.envs.scenarios.model import ScenarioSet
from gradmap.envs.scenarios.profiles import load_year
from gradmap.envs.scenarios.splits import is_weekend, split_days

# Frozen: a change here makes every published figure incomparable.
TEST = """
2016-01-01 2016-01-29 2016-02-27 2016-02-29 2016-03-01 2016-03-08 2016-04-09 2016-04-14
2016-05-05 2016-05-25 2016-06-16 2016-06-19 2016-07-20 2016-07-31 2016-08-01 2016-08-04
2016-09-04 2016-09-28 2016-10-26 2016-10-31 2016-11-02 2016-11-26 2016-12-19 2016-12-28
"""
VALIDATION = """
2016-01-05 2016-02-04 2016-03-07 2016-04-10 2016-05-04 2016-06-13
2016-07-16 2016-08-22 2016-09-08 2016-10-25 2016-11-05 2016-12-15
"""


def test_the_frozen_days(scenarios: ScenarioSet) -> None:
    assert [scenarios.date[i] for i in scenarios.days("test")] == TEST.split()
    assert [scenarios.date[i] for i in scenarios.days("validation")] == VALIDATION.split()
    assert len(scenarios.days("train")) == 364 - 24 - 12


def test_weekends_have_their_share() -> None:
    assert sum(is_weekend(day) for day in TEST.split()) == 6
    assert sum(is_weekend(day) for day in VALIDATION.split()) == 3


@pytest.mark.parametrize(("test", "validation"), [(0, 0), (1, 0), (5, 5), (14, 14), (0, 28)])
def test_each_month_gives_its_number(test: int, validation: int) -> None:
    dates = load_year().date
    split = split_days(dates, test, validation)
    counts = Counter((date[:7], name) for date, name in zip(dates, split, strict=True))
    for month in {date[:7] for date in dates}:
        assert counts[month, "test"] == test
        assert counts[month, "validation"] == validation
        assert counts[month, "train"] > 0


def test_order_of_the_dates_does_not_matter() -> None:
    dates = load_year().date
    backwards = split_days(dates[::-1], 2, 1)
    assert backwards[::-1] == split_days(dates, 2, 1)

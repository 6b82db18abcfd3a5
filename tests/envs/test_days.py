"""Which days come next: fair, seeded, continued exactly, or those asked for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradmap.envs.days import Calendar, DaySampler, season_parts
from gradmap.feeders.errors import GradmapError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 5))
def test_every_day_is_drawn_about_equally_often(num_days, batch, seed):
    days = torch.arange(num_days) * 3
    sampler = DaySampler(days, batch, generator(seed))
    rounds = -(-num_days // batch)
    drawn = Counter()
    for _ in range(rounds):
        some = sampler.draw()
        assert some.shape == (batch,)
        assert some.dtype == torch.int64
        drawn.update(some.tolist())
    assert set(drawn) == set(days.tolist())
    assert max(drawn.values()) - min(drawn.values()) <= 1


def test_a_batch_spreads_over_the_calendar():
    sampler = DaySampler(torch.arange(80), 8, generator())
    batches = [sampler.draw() for _ in range(20)]
    for some in batches:
        assert (some // 10).tolist() == list(range(8))
    assert len({tuple(some.tolist()) for some in batches}) > 15


def test_a_seed_fixes_the_days():
    first, second = (DaySampler(torch.arange(30), 4, generator(9)) for _ in range(2))
    for _ in range(20):
        assert torch.equal(first.draw(), second.draw())


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 5))
def test_parts_of_a_batch_hold_every_day_once_and_are_spread_over_it(num_days, num_parts, seed):
    parts = season_parts(num_days, num_parts, generator(seed))
    num = min(num_parts, num_days)
    assert len(parts) == num
    assert sorted(torch.cat(parts).tolist()) == list(range(num_days))
    whole = num_days // num
    for part in parts:
        assert part.dtype == torch.int64
        assert (part[:whole] // num).tolist() == list(range(whole))


def drawn(calendar, num, **options):
    return [calendar.choose(options).tolist() for _ in range(num)]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_day_of_a_split_comes_once_before_any_comes_again(core, split):
    days = core.days(split).tolist()
    calendar = Calendar(core, 1)
    for _ in range(3):
        assert sorted(day for (day,) in drawn(calendar, len(days), split=split)) == days


def test_training_days_are_the_default_and_other_options_are_left_alone(core):
    calendar = Calendar(core, 2)
    for options in (None, {}, {"reset_mask": [True]}, {"day": None}):
        days = calendar.choose(options)
        assert set(days.tolist()) <= set(core.days("train").tolist())
        assert days.shape == (2,)
        assert days.dtype == torch.int64


def test_a_seed_fixes_the_days_of_every_split(core):
    def some(seed):
        calendar = Calendar(core, 1)
        calendar.seed(seed)
        return drawn(calendar, 7) + drawn(calendar, 5, split="test") + drawn(calendar, 7)

    assert some(3) == some(3)
    assert some(np.int64(3)) == some(3)
    assert len({str(some(seed)) for seed in range(4)}) > 1


def test_without_a_seed_the_days_differ(core):
    assert len({str(drawn(Calendar(core, 1), 12)) for _ in range(8)}) > 1


def test_seeding_begins_anew(core):
    calendar = Calendar(core, 1)
    calendar.seed(5)
    first = drawn(calendar, 6)
    calendar.seed(5)
    assert drawn(calendar, 6) == first


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("before", [0, 1, 6])
def test_a_saved_calendar_goes_on_exactly(core, batch, before):
    calendar, other = Calendar(core, batch), Calendar(core, batch)
    drawn(calendar, before)
    drawn(calendar, before, split="validation")
    drawn(other, 2, split="test")
    state = {key: value.clone() for key, value in calendar.state_dict().items()}
    expected = drawn(calendar, 9) + drawn(calendar, 5, split="validation")
    assert not torch.equal(state["random"], calendar.state_dict()["random"])
    for _ in range(2):  # loading changes nothing of what was saved
        other.load_state_dict(state)
        assert drawn(other, 9) + drawn(other, 5, split="validation") == expected


def test_a_calendar_of_another_batch_is_refused(core):
    calendar = Calendar(core, 2)
    calendar.choose()
    with pytest.raises(GradmapError, match=r"train.order has shape \(2, 2\), expected .*\(3, 2\)"):
        Calendar(core, 3).load_state_dict(calendar.state_dict())


def test_a_day_is_named_by_date_or_index_for_all_or_each(core):
    calendar, date = Calendar(core, 3), core.scenarios.date
    for day in (4, np.int64(4), torch.tensor(4), date[4]):
        assert calendar.choose({"day": day}).tolist() == [4, 4, 4]
    for days in ([1, date[7], 0], (1, 7, 0), np.array([1, 7, 0]), torch.tensor([1, 7, 0])):
        assert calendar.choose({"day": days}).tolist() == [1, 7, 0]


def test_a_named_day_uses_up_no_draw(core):
    calendar, other = Calendar(core, 1), Calendar(core, 1)
    for one in (calendar, other):
        one.seed(2)
    calendar.choose({"day": 3})
    assert drawn(calendar, 4) == drawn(other, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tset"}, "unknown split 'tset'; expected one of train, validation, test"),
        ({"split": "tset", "day": 0}, "unknown split 'tset'"),
        ({"day": [0, 8]}, "no day 8; expected an index from 0 to 7"),
        ({"day": -1}, "no day -1; expected an index from 0 to 7"),
        ({"day": 1.5}, "no day 1.5; expected an index from 0 to 7"),
        ({"day": ["2030-01-01", 0]}, "no day '2030-01-01'; expected an ISO date from"),
        ({"day": [0, 1, 2]}, "option day names 3 days, expected one for each of 2 episodes"),
    ],
)
def test_days_that_are_not_there_are_refused(core, options, message):
    calendar = Calendar(core, 2)
    with pytest.raises(GradmapError, match=message):
        calendar.choose(options)


def test_an_empty_split_and_an_empty_batch_are_refused(make_core, few_days):
    core = make_core(2, scenarios=few_days.subset([0, 1]), steps=2)
    with pytest.raises(GradmapError, match="no days of split 'test' in these scenarios"):
        Calendar(core, 1).choose({"split": "test"})
    with pytest.raises(GradmapError, match="a batch of 0 episodes; expected 1 or more"):
        Calendar(core, 0)

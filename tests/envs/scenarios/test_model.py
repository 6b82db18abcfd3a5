from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from gradmap.envs.scenarios.config import ScenarioConfig
from gradmap.envs.scenarios.model import PER_STEP, PER_TERMINAL, ScenarioSet
from gradmap.feeders.errors import GradmapError


def test_arrays_are_float32_read_only_and_own(small: dict[str, Any]) -> None:
    given = small["base_p_kw"]
    scenarios = ScenarioSet(**small)
    for one in (scenarios, pickle.loads(pickle.dumps(scenarios))):
        for name in PER_TERMINAL + PER_STEP:
            array = getattr(one, name)
            assert array.dtype == np.float32
            assert not array.flags.writeable
    given[0] = 99.0
    assert scenarios.base_p_kw[0, 0, 0] == 0.0
    assert (scenarios.num_days, scenarios.num_steps, scenarios.num_terminals) == (3, 4, 2)


def test_days_of_a_split(small: dict[str, Any]) -> None:
    scenarios = ScenarioSet(**small)
    assert scenarios.days("train").tolist() == [0, 2]
    assert scenarios.days("validation").tolist() == []
    assert scenarios.days("validation").dtype == np.int64
    with pytest.raises(GradmapError, match=r"unknown split 'all'; expected one of train"):
        scenarios.days("all")


def test_subset_keeps_the_order_given(small: dict[str, Any]) -> None:
    scenarios = ScenarioSet(**small)
    part = scenarios.subset([2, 0])
    assert part.date == ("2016-01-04", "2016-01-01")
    assert part.split == ("train", "train")
    np.testing.assert_array_equal(part.base_p_kw, scenarios.base_p_kw[[2, 0]])
    assert scenarios.subset(scenarios.days("validation")).num_days == 0


@pytest.mark.parametrize(
    ("days", "message"),
    [([3], "no day 3; the set has days 0 to 2"), ([-1], "no day -1"), ([1, 1], "occurs 2 times")],
)
def test_subset_refuses_days_it_has_not(
    small: dict[str, Any], days: list[int], message: str
) -> None:
    with pytest.raises(GradmapError, match=message):
        ScenarioSet(**small).subset(days)


def test_subset_refuses_a_mask(small: dict[str, Any]) -> None:
    with pytest.raises(GradmapError, match="whole numbers"):
        ScenarioSet(**small).subset(np.array([True, False, True]))


def test_all_faults_are_named_at_once(small: dict[str, Any]) -> None:
    small["base_p_kw"][1, 2, 0] = np.nan
    small["base_p_kw"][2, 0, 0] = np.inf
    small["pv_kw"][0, 3, 1] = -1.0
    small["base_q_kvar"] = np.ones((3, 4, 3))
    small["split"] = ("train", "testing", "train")
    small["date"] = ("2016-01-01", "2016-01-02", "2016-02-30")
    small["dt_hours"] = 7.0
    with pytest.raises(GradmapError) as caught:
        ScenarioSet(**small)
    message = str(caught.value)
    assert "base_p_kw is NaN or infinite at day 2016-01-02, step 2, terminal s1 and 1 more" in (
        message
    )
    assert "pv_kw is negative at day 2016-01-01, step 3, terminal s2" in message
    assert "base_q_kvar has shape [3, 4, 3]; expected [day 3, time 4, terminal 2]" in message
    assert "unknown split testing; expected train, validation, test" in message
    assert "'2016-02-30' is not a date such as 2016-01-31" in message
    assert "4 steps of 7 h are longer than a day" in message
    assert "\n" not in message


def test_a_day_in_two_splits_is_refused(small: dict[str, Any]) -> None:
    small["date"] = ("2016-01-01", "2016-01-01", "2016-01-04")
    with pytest.raises(GradmapError, match="2016-01-01 occurs 2 times and lies in test and train"):
        ScenarioSet(**small)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temp_outdoor_degc", np.zeros(3), r"temp_outdoor_degc has shape \[3\]; expected \[day 3"),
        ("temp_outdoor_degc", np.zeros((3, 0)), r"temp_outdoor_degc has shape \[3, 0\]"),
        ("tariff_usd_per_kwh", np.full((3, 4), np.nan), "at day 2016-01-01, step 0 and 11 more"),
        ("terminal_names", ("s1", "s1"), "terminal s1 occurs 2 times"),
        ("split", ("train",), "3 dates but 1 splits"),
        ("dt_hours", float("nan"), "dt_hours is nan"),
        ("dt_hours", 0.0, "dt_hours is 0"),
    ],
)
def test_one_fault(small: dict[str, Any], name: str, value: Any, message: str) -> None:
    with pytest.raises(GradmapError, match=message):
        ScenarioSet(**{**small, name: value})


def test_config_names_all_faults() -> None:
    with pytest.raises(GradmapError) as caught:
        ScenarioConfig(
            seed=-1,
            steps_per_day=36,
            base_load_scale=float("nan"),
            household_share=1.2,
            households_per_terminal=0,
            pv_penetration=-0.1,
            pv_size=-1.0,
            test_days_per_month=27,
            validation_days_per_month=2,
        )
    message = str(caught.value)
    assert message.startswith("scenario config: seed is -1")
    for words in (
        "steps_per_day is 36; expected one of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 96",
        "base_load_scale is nan",
        "household_share is 1.2",
        "share add up to 1.5, not 1",
        "households_per_terminal is 0",
        "pv_penetration is -0.1",
        "pv_size is -1.0",
        "27 and 2; expected 0 or more, 28 at most together",
    ):
        assert words in message
    assert ScenarioConfig().dt_hours == 0.5

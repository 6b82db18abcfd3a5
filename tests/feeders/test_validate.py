"""The validation passes on IEEE 123, and would not pass a wrong power flow."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from gradmap.feeders import validate
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.validate import validate_feeder


@pytest.fixture(scope="module")
def report():
    return validate_feeder("ieee123")


def test_every_case_passes(report):
    assert report.passed, report.to_dict()
    assert [row.case for row in report.rows] == [
        *("nominal", "light", "heavy", "reverse", "reverse twice", "random"),
        *("low voltage", "high voltage"),
    ]
    for row in report.rows:
        assert row.converged
        assert row.max_error_pu < 1e-7
        assert row.max_current_error_a < 1e-4
        assert row.max_loss_error_kw < 1e-3
    assert sum(row.num_scenarios for row in report.rows) == 57


def test_the_cases_leave_the_loads_thresholds(report):
    outside = {row.case: row.num_outside for row in report.rows}
    assert outside["nominal"] == 0
    assert outside["low voltage"] > 50
    assert outside["high voltage"] > 50


def test_the_report_is_plain(report):
    again = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert again["passed"] is True
    assert again["feeder"] == "ieee123"
    assert again["rows"][0]["case"] == "nominal"


def test_a_wrong_model_fails(ieee123, monkeypatch):
    # Our side sees all loads as constant power; nominal values stay the same.
    right = validate.Network.from_feeder

    def wrong(feeder, **kwargs):
        t = feeder.terminals
        model = np.ones_like(t.model)
        return right(
            dataclasses.replace(feeder, terminals=dataclasses.replace(t, model=model)), **kwargs
        )

    monkeypatch.setattr(validate.Network, "from_feeder", wrong)
    report = validate_feeder(ieee123, num_random=2)
    assert not report.passed
    assert max(row.max_error_pu for row in report.rows) > 1e-3


def test_what_does_not_converge_fails(monkeypatch):
    monkeypatch.setattr(validate, "_MAX_ITERATIONS", 3)
    report = validate_feeder("ieee123", num_random=0)
    assert not report.passed
    rows = {row["case"]: row for row in report.to_dict()["rows"]}
    assert rows["heavy"]["converged"] is False
    assert rows["heavy"]["max_error_pu"] is None


def test_arguments():
    with pytest.raises(GradmapError, match="num_random is -1"):
        validate_feeder("ieee123", num_random=-1)
    with pytest.raises(GradmapError, match="tolerance_pu is 0"):
        validate_feeder("ieee123", tolerance_pu=0)
    with pytest.raises(GradmapError, match="no feeder"):
        validate_feeder("ieee")


def test_a_seed_gives_the_same_report(report):
    assert validate_feeder("ieee123").rows[5] == report.rows[5]
    assert validate_feeder("ieee123", seed=1).rows[5] != report.rows[5]

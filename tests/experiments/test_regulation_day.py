"""Taps over a day beside OpenDSS's: the table, the file, and what counts as explained."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest

from gradmap.experiments.regulation_day import (
    _explained,
    day_powers,
    side_by_side,
    table_of,
    write_day,
)
from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.errors import GradmapError


@pytest.fixture(scope="module")
def evening():
    feeder = load_feeder("ieee13")
    p_kw, q_kvar = day_powers(feeder, "2016-01-06")
    return side_by_side(feeder, p_kw[30:40], q_kvar[30:40])


def test_both_stand_at_the_same_positions(evening):
    assert evening.num_different == 0
    assert evening.ours.shape == evening.relay_v.shape == (10, 3)
    assert evening.operations.sum() > 0
    assert evening.v_gap_pu.max() < 1e-6


def test_the_table_has_a_row_for_each_regulator(evening):
    table = table_of(evening)
    assert table.row_count == 3
    assert list(table.columns[0].cells) == list(evening.feeder.regulators.control)


def test_the_file_has_every_step(evening, tmp_path):
    moved = evening.theirs + (np.arange(10) == 4)[:, None]
    write_day(dataclasses.replace(evening, theirs=moved), tmp_path / "new" / "day.csv")
    with (tmp_path / "new" / "day.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert [row["explained"] for row in rows if row["step"] == "4"] == ["False"] * 3
    assert {row["explained"] for row in rows if row["step"] != "4"} == {""}
    assert int(rows[0]["tap"]) == evening.ours[0, 0]


def test_what_follows_from_an_edge_is_explained_with_it():
    differs = np.zeros((8, 2), bool)
    differs[1:4, 0] = differs[2:4, 1] = differs[6:, 1] = True
    is_edge = np.zeros(8, bool)
    is_edge[[1, 7]] = True
    found = _explained(differs, is_edge)
    assert (found[1:4] == differs[1:4]).all()
    assert not found[4:].any()


def test_a_day_that_is_not_there_is_refused():
    with pytest.raises(GradmapError, match="no day 2031-01-01: expected one of 2016-"):
        day_powers(load_feeder("ieee13"), "2031-01-01")

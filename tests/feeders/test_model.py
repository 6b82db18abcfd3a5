"""A feeder is a value: read-only, and the same after a pickle."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest


@pytest.mark.parametrize(
    "again", [lambda f: f, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))]
)
def test_a_feeder_cannot_be_changed(ieee123, again):
    feeder = again(ieee123)
    with pytest.raises(dataclasses.FrozenInstanceError):
        feeder.name = "other"
    for array in (feeder.source_current_a, feeder.terminals.q_kvar, feeder.regulators.tap):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    for matrix in (feeder.y_siemens, feeder.branches.series_siemens):
        with pytest.raises(ValueError, match="read-only"):
            matrix.data[0] = 0


def test_a_pickle_holds_the_same_feeder(ieee123):
    again = pickle.loads(pickle.dumps(ieee123))
    assert again.node_names == ieee123.node_names
    assert (again.y_siemens != ieee123.y_siemens).nnz == 0
    np.testing.assert_array_equal(again.terminals.p_kw, ieee123.terminals.p_kw)


def test_node_bus_and_phase(ieee123):
    i = ieee123.node_names.index("25r.3")
    assert ieee123.node_bus[i] == "25r"
    assert ieee123.node_phase[i] == 3

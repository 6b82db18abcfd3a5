"""What is particular to IEEE 37: a network without earth, regulators in open delta."""

from __future__ import annotations

import numpy as np
import pytest

from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.model import GROUND


@pytest.fixture(scope="module")
def feeder():
    return load_feeder("ieee37")


def test_every_load_is_delta(feeder):
    t = feeder.terminals
    assert t.is_delta.all()
    assert (t.node_to != GROUND).all()
    assert set(t.kv_rated) == {4.8}


def test_the_regulators_raise_two_line_voltages_by_their_taps(feeder):
    t = feeder.terminals
    with OpenDSSReplay(feeder, devices=False) as replay:
        solution = replay.solve(t.p_kw, t.q_kvar)
    v = dict(zip(feeder.node_names, solution.v_pu, strict=True))

    def line_voltage(bus, one, other):
        return abs(v[f"{bus}.{one}"] - v[f"{bus}.{other}"])

    # Less the drop in the regulators: 1.08 % of impedance at nearly full load.
    taps = dict(zip(feeder.regulators.control, feeder.regulators.tap, strict=True))
    for control, phases in {"creg1a": (1, 2), "creg1c": (3, 2)}.items():
        raised = line_voltage("799r", *phases) / line_voltage("799", *phases)
        assert raised == pytest.approx(1 + 0.00625 * taps[control], abs=0.015)
    # The jumper carries phase 2 past them: a milliohm.
    assert abs(v["799.2"] - v["799r.2"]) < 1e-3


def test_nothing_but_the_source_is_earthed(feeder):
    # The 4.8 and 480 V nodes together draw next to nothing to ground when all
    # are lifted alike: the cables' capacitance and a millionth of the transformers.
    lifted = (feeder.node_kv_base < 100).astype(float) * feeder.node_kv_base * 1e3
    current = np.asarray(abs(feeder.y_siemens @ lifted)).ravel()
    assert current[feeder.node_kv_base < 100].max() < 1.0

"""What is particular to IEEE 34: loads on lines, CVR loads, thresholds of their own."""

from __future__ import annotations

import numpy as np
import pytest

from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.model import GROUND, LoadModel


@pytest.fixture(scope="module")
def feeder():
    return load_feeder("ieee34")


def test_loads_on_a_line_are_halved_to_its_ends(feeder):
    t = feeder.terminals
    power = dict(zip(t.name, t.p_kw, strict=True))
    ends = [name for name in power if name.startswith("d")]
    assert len(ends) == 60
    for name in ends:
        head, tail = name.rpartition("_")[0], name.rpartition("_")[2]
        other = "r" if tail[-2] == "s" else "s"
        assert power[f"{head}_{tail[:-2]}{other}{tail[-1]}"] == power[name]


def test_laws(feeder):
    t = feeder.terminals
    assert set(t.vmin_pu) == {0.85}
    models = dict(zip(t.name, t.model, strict=True))
    assert models["d808_810sb"] == LoadModel.CVR
    assert models["s890.1"] == LoadModel.CONSTANT_CURRENT
    assert {t.cvr_p[t.model == LoadModel.CVR][0], t.cvr_q[t.model == LoadModel.CVR][0]} == {1, 2}


def test_loads_of_832_858_lie_between_a_phase_and_ground(feeder):
    # As in the public circuit; the README says what the published data say.
    t = feeder.terminals
    odd = [i for i, name in enumerate(t.name) if name.startswith("d832_858")]
    assert len(odd) == 6
    assert set(t.node_to[odd]) == {GROUND}
    assert set(t.kv_rated[odd]) == {24.9}
    assert not t.is_delta[odd].any()


def test_the_taps_lift_the_far_end(feeder):
    assert list(feeder.regulators.tap) == [14, 4, 5, 13, 13, 13]
    assert set(feeder.regulators.bus) == {"814r", "852r"}
    assert feeder.regulators.tap_step_pu == pytest.approx(np.full(6, 0.00625))

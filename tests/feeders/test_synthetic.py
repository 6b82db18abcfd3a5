"""Synthetic feeders: sound at every size, the same for a seed, and OpenDSS's to 1e-6."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gradmap.feeders
from gradmap.feeders.catalog import load_feeder, locate, reload_feeder
from gradmap.feeders.dss import read_feeder
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import LoadModel
from gradmap.feeders.synthetic_codes import ALL_CODES, choose_code
from gradmap.feeders.synthetic_feeder import parse_name, synthetic, write_synthetic
from gradmap.feeders.validate import validate_feeder


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(num_buses=st.integers(4, 80), seed=st.integers(0, 10**6))
def test_any_feeder_is_opendss_s(num_buses, seed):
    feeder = synthetic(num_buses, seed)
    assert len(feeder.bus_names) == num_buses
    report = validate_feeder(feeder, num_random=2)
    assert report.passed, report.to_dict()
    assert len(report.rows) == 8


@pytest.mark.parametrize(("num_buses", "seed"), [(10, 0), (30, 1), (100, 2), (300, 3), (1600, 4)])
def test_voltages_and_loading_are_those_of_a_planned_feeder(num_buses, seed):
    feeder = synthetic(num_buses, seed)
    t, branches = feeder.terminals, feeder.branches
    with OpenDSSReplay(feeder, devices=False) as replay:
        solution = replay.solve(t.p_kw, t.q_kvar)
    v_pu = np.abs(solution.v_pu)
    assert ((v_pu > 0.95) & (v_pu < 1.05)).mean() > 0.97
    assert 0.92 < v_pu.min() < v_pu.max() < 1.06
    loading = np.abs(solution.branch_current_a) / branches.rating_a[branches.conductor_branch]
    assert loading.max() < 1.0
    assert solution.losses_kw < 0.06 * solution.source_kw


def test_a_feeder_of_many_buses_has_everything():
    feeder = synthetic(1600, 4)
    t = feeder.terminals
    assert set(t.model) == {LoadModel(model) for model in (1, 2, 5)}
    assert 0.05 < t.is_delta.mean() < 0.5
    assert sorted({round(float(kv), 3) for kv in t.kv_rated}) == [0.277, 7.2, 12.47]
    phases = [
        sum(name.startswith(f"{bus}.") for name in feeder.node_names)
        for bus in feeder.bus_names[::20]
    ]
    assert set(phases) == {1, 2, 3}
    # Two feeders off one substation, the tap changer and regulators on the way.
    assert {bus.partition("_")[0] for bus in feeder.bus_names} == {"source", "sub", "f1", "f2"}
    assert len(feeder.regulators) >= 4
    assert (np.abs(feeder.regulators.tap) < 16).all()
    assert np.isfinite(feeder.bus_xy).all()
    # Radial: as many pairs of neighbours as buses, less one.
    pairs = {
        frozenset(ends)
        for ends in zip(feeder.branches.bus_from, feeder.branches.bus_to, strict=True)
    }
    assert len(pairs) == len(feeder.bus_names) - 1


def test_the_same_seed_gives_the_same_feeder():
    one, again, other = synthetic(120, 5), synthetic(120, 5), synthetic(120, 6)
    assert one.name == "synthetic-120-5"
    assert one.origin == "synthetic:num_buses=120,seed=5"
    assert one.node_names == again.node_names
    assert (one.terminals.p_kw == again.terminals.p_kw).all()
    assert abs(one.y_siemens - again.y_siemens).max() == 0
    assert one.terminals.p_kw.sum() != other.terminals.p_kw.sum()


def test_a_seed_means_the_same_feeder_from_one_release_to_the_next(tmp_path):
    # A change of the generator is a change of published figures: say so in CHANGELOG.md.
    write_synthetic(tmp_path, 60, 7)
    digest = hashlib.sha256()
    for path in sorted(tmp_path.iterdir()):
        digest.update(path.read_bytes())
    assert digest.hexdigest()[:16] == "745122ed1f75ae4a"


def test_it_is_found_again_by_its_origin(tmp_path):
    assert gradmap.feeders.synthetic is synthetic
    feeder = load_feeder("synthetic:num_buses=150,seed=1")
    assert len(feeder.bus_names) == 150
    moved = reload_feeder(feeder, 0)
    assert (moved.regulators.tap == 0).all()
    assert (feeder.regulators.tap != 0).any()
    with locate(feeder.origin) as path:
        assert path.is_file()
    assert not path.exists()
    written = read_feeder(write_synthetic(tmp_path / "mine", 150, 1))
    assert written.name == "synthetic_150_1"
    assert written.node_names == feeder.node_names
    assert parse_name("synthetic:num_buses=12") == (12, 0)


def test_arguments_that_cannot_be_used():
    with pytest.raises(GradmapError, match=r"num_buses is 3, expected .* 4 or more; seed is -1"):
        synthetic(3, -1)
    with pytest.raises(GradmapError, match=r"num_buses is 10\.0"):
        synthetic(10.0)
    for name in ("synthetic:", "synthetic:num_buses=ten", "synthetic:seed=1,num_buses=9"):
        with pytest.raises(GradmapError, match="expected the form synthetic:num_buses=1000,seed=0"):
            load_feeder(name)
    with pytest.raises(AttributeError, match="no attribute 'real'"):
        gradmap.feeders.real  # noqa: B018


def test_line_codes():
    for code in ALL_CODES:
        z = code.ohm_per_m * 1000
        assert z.shape == (code.num_phases, code.num_phases)
        assert (z == z.T).all()
        # From 1,000,000 to #4: some hundredths to two ohm a kilometre.
        assert (np.diagonal(z).real > 0.05).all()
        assert (np.abs(np.diagonal(z)) < 2.1).all()
    assert len({code.name for code in ALL_CODES}) == len(ALL_CODES)
    assert choose_code(3, False, 10.0).name == "oh_2_3ph"
    assert choose_code(3, False, 1e4).name == "oh_556_3ph"
    assert choose_code(2, True, 10.0).name == "oh_1_0_2ph"  # there is no such cable
    # A conductor has room to spare.
    assert choose_code(1, False, 0.66 * 140).name == "oh_2_1ph"


def test_ten_thousand_buses_load_in_less_than_a_minute():
    started = time.monotonic()
    feeder = synthetic(10_000, 0)
    assert time.monotonic() - started < 60  # some seconds when nobody else is at work
    assert len(feeder.bus_names) == 10_000
    assert len(feeder.terminals) > 5_000

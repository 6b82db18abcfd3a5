"""The replay: powers per terminal, devices, failures, and no memory of the last solve."""

from __future__ import annotations

import dataclasses
import gc

import numpy as np
import pytest

from gradmap.feeders import dss_engine
from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.errors import GradmapError


@pytest.fixture(scope="module")
def replay(ieee123):
    with OpenDSSReplay(ieee123) as made:
        yield made


def powers(feeder, seed):
    rng = np.random.default_rng(seed)
    t = feeder.terminals
    p = np.concatenate([t.p_kw * rng.uniform(0, 2, len(t)), rng.uniform(-40, 40, len(t))])
    q = np.concatenate([t.q_kvar * rng.uniform(0, 2, len(t)), rng.uniform(-20, 20, len(t))])
    return p, q


def test_an_answer_does_not_depend_on_what_was_solved_before(ieee123, replay):
    for seed in range(3):
        p, q = powers(ieee123, seed)
        replay.solve(3 * p, q)
        warm = replay.solve(p, q)
        with OpenDSSReplay(ieee123) as fresh:
            cold = fresh.solve(p, q)
        assert np.abs(warm.v_pu - cold.v_pu).max() < 1e-9
        assert warm.source_kw == pytest.approx(cold.source_kw, abs=1e-5)


def test_power_balances(ieee123, replay):
    p, q = powers(ieee123, 5)
    t = ieee123.terminals
    # All but the devices off: they draw what they are told inside their band.
    p[: len(t)] = q[: len(t)] = 0.0
    solution = replay.solve(p, q)
    assert solution.converged
    assert solution.source_kw == pytest.approx(p.sum() + solution.losses_kw, abs=1e-3)


def test_a_device_is_across_the_nodes_of_its_load(ieee123, replay):
    # On a constant-power load a device of the same power is a second load.
    t = ieee123.terminals
    i = int(np.flatnonzero((t.model == 1) & t.is_delta)[0])
    p, q = np.zeros(2 * len(t)), np.zeros(2 * len(t))
    p[i], q[i] = 30.0, -10.0
    by_load = replay.solve(p, q)
    by_device = replay.solve(np.roll(p, len(t)), np.roll(q, len(t)))
    u = by_load.v_pu * ieee123.node_kv_base
    u = abs(u[t.node_from[i]] - u[t.node_to[i]]) / t.kv_rated[i]
    assert t.vmin_pu[i] < u < t.vmax_pu[i]
    assert np.abs(by_load.v_pu - by_device.v_pu).max() < 1e-9


def test_taps_are_the_feeder_s():
    for taps in (0, 5):
        feeder = load_feeder("ieee123", taps=taps)
        idle = np.zeros(len(feeder.terminals))
        with OpenDSSReplay(feeder, devices=False) as replay:
            v_pu = np.abs(replay.solve(idle, idle).v_pu)
        i, j = feeder.node_names.index("150.1"), feeder.node_names.index("150r.1")
        assert v_pu[j] / v_pu[i] == pytest.approx(1 + taps * 0.00625, abs=1e-5)


def test_what_does_not_converge_is_nan_and_does_not_stay(ieee123, golden):
    t = ieee123.terminals
    with OpenDSSReplay(ieee123, devices=False, max_iterations=5) as replay:
        failed = replay.solve(20 * t.p_kw, 20 * t.q_kvar)
        assert not failed.converged
        assert np.isnan(failed.v_pu).all()
        assert np.isnan(failed.branch_current_a).all()
        assert np.isnan(failed.losses_kw)
    with OpenDSSReplay(ieee123, devices=False) as replay:
        replay.solve(20 * t.p_kw, 20 * t.q_kvar)
        solution = replay.solve(t.p_kw, t.q_kvar)
    expected = np.array([golden.v_pu[name] for name in ieee123.node_names])
    assert np.abs(solution.v_pu - expected).max() < 1e-9


def test_wrong_powers(ieee123, replay):
    right = np.zeros(replay.num_terminals)
    with pytest.raises(GradmapError, match=r"p_kw has shape \(95,\), expected \(190,\)"):
        replay.solve(np.zeros(95), right)
    with pytest.raises(GradmapError, match="q_kvar holds a value that is not finite"):
        replay.solve(right, np.full(replay.num_terminals, np.nan))


def test_a_feeder_that_is_not_its_circuit(ieee123):
    other = dataclasses.replace(
        ieee123, node_names=("150.7", *ieee123.node_names[1:]), name="changed"
    )
    with pytest.raises(GradmapError, match="not those of feeder 'changed'"):
        OpenDSSReplay(other)
    with pytest.raises(GradmapError, match="no such file"):
        OpenDSSReplay(dataclasses.replace(ieee123, origin="/absent/Master.dss"))


def test_a_replay_gives_its_context_back(ieee123):
    load_feeder("ieee123")
    idle = len(dss_engine._idle)
    replay = OpenDSSReplay(ieee123)
    assert len(dss_engine._idle) == idle - 1
    del replay
    gc.collect()
    assert len(dss_engine._idle) == idle

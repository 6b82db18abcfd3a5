"""IEEE 123 as read: held to OpenDSS's own solution of the public circuit."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg

from gradmap.feeders.catalog import load_feeder, locate
from gradmap.feeders.dss_engine import borrow_engine, compile_circuit, return_engine
from gradmap.feeders.dss_linear import read_elements, sum_admittances
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.model import GROUND, Feeder, LoadModel


def incidence(feeder: Feeder) -> sp.csr_matrix:
    t = feeder.terminals
    rows = np.arange(len(t))
    live = t.node_to != GROUND
    return sp.csr_matrix(
        (
            np.concatenate([np.ones(len(t)), -np.ones(live.sum())]),
            (
                np.concatenate([rows, rows[live]]),
                np.concatenate([t.node_from, t.node_to[live]]),
            ),
        ),
        shape=(len(t), feeder.num_nodes),
    )


@pytest.fixture(scope="module")
def v_volt(ieee123, golden):
    v_pu = np.array([golden.v_pu[name] for name in ieee123.node_names])
    return v_pu * ieee123.node_kv_base * 1e3


def test_counts_and_totals(ieee123, golden):
    summary = golden.summary
    assert len(ieee123.bus_names) == summary["buses"]
    assert ieee123.num_nodes == summary["nodes"]
    assert set(ieee123.node_names) == set(golden.v_pu)
    assert len(set(ieee123.terminals.load)) == summary["loads"]
    assert len(ieee123.terminals) == 95
    assert len(ieee123.branches) == 134
    assert ieee123.terminals.p_kw.sum() == pytest.approx(3490.0, abs=1e-9)
    assert ieee123.terminals.q_kvar.sum() == pytest.approx(1920.0, abs=1e-9)
    regulators = ieee123.regulators
    assert dict(zip(regulators.control, regulators.tap, strict=True)) == summary["taps"]
    assert set(regulators.tap_min) == {-16}
    assert set(regulators.tap_max) == {16}
    assert regulators.tap_step_pu == pytest.approx(0.00625)


def test_the_replay_solves_to_the_golden_voltages(ieee123, golden):
    with OpenDSSReplay(ieee123, devices=False) as replay:
        solution = replay.solve(ieee123.terminals.p_kw, ieee123.terminals.q_kvar)
    expected = np.array([golden.v_pu[name] for name in ieee123.node_names])
    assert solution.converged
    assert np.abs(solution.v_pu - expected).max() < 1e-9
    assert solution.losses_kw == pytest.approx(golden.summary["losses_kw"], rel=1e-9)
    assert solution.source_kw == pytest.approx(golden.summary["source_kw"], rel=1e-9)
    assert np.abs(solution.v_pu).min() == pytest.approx(golden.summary["v_min_pu"], abs=1e-9)
    assert np.abs(solution.v_pu).max() == pytest.approx(golden.summary["v_max_pu"], abs=1e-9)


def test_the_golden_voltages_balance_every_current(ieee123, v_volt):
    # All terminals are inside their law's thresholds here.
    t, a = ieee123.terminals, incidence(ieee123)
    u = a @ v_volt
    rated = t.kv_rated * 1e3
    assert ((np.abs(u) / rated > t.vmin_pu) & (np.abs(u) / rated < t.vmax_pu)).all()
    s = (t.p_kw + 1j * t.q_kvar) * 1e3
    exponent = np.select(
        [t.model == LoadModel.CONSTANT_POWER, t.model == LoadModel.CONSTANT_CURRENT], [2, 1], 0
    )
    i = np.conj(s) / rated**2 * (np.abs(u) / rated) ** (-exponent.astype(float)) * u
    mismatch = ieee123.source_current_a - ieee123.y_siemens @ v_volt - a.T @ i
    v_error = scipy.sparse.linalg.spsolve(ieee123.y_siemens, mismatch)
    # Rounding of regulators and of the floating delta at bus 610 comes through here.
    assert np.abs(v_error / ieee123.node_kv_base / 1e3).max() < 1e-7


def test_losses_and_source_power_from_the_matrices(ieee123, golden, v_volt):
    loss = v_volt @ np.conj(ieee123.branches.series_siemens @ v_volt) / 1e3
    assert loss.real == pytest.approx(golden.summary["losses_kw"], abs=1e-3)
    current = ieee123.source_current_a - ieee123.y_source_siemens @ v_volt
    source = v_volt @ np.conj(current) / 1e3
    assert source.real == pytest.approx(golden.summary["source_kw"], abs=5e-3)
    assert source.imag == pytest.approx(golden.summary["source_kvar"], abs=5e-3)
    assert not current[~ieee123.is_source_node].any()
    assert [ieee123.node_names[i] for i in np.flatnonzero(ieee123.is_source_node)] == [
        "150.1",
        "150.2",
        "150.3",
    ]


def test_branch_currents_are_opendss_s(ieee123):
    with OpenDSSReplay(ieee123, devices=False) as replay:
        solution = replay.solve(ieee123.terminals.p_kw, ieee123.terminals.q_kvar)
    v_volt = solution.v_pu * ieee123.node_kv_base * 1e3
    ours = ieee123.branches.current_siemens @ v_volt
    assert np.abs(ours - solution.branch_current_a).max() < 1e-5


def test_the_admittance_is_symmetric_and_free_of_loads(ieee123):
    y = ieee123.y_siemens
    assert abs(y - y.T).max() < 1e-9 * abs(y).max()
    # OpenDSS's system matrix, less the loads in it, from the same files.
    with locate("ieee123") as path:
        engine = borrow_engine()
        compile_circuit(engine, path)
    circuit = engine.ActiveCircuit
    circuit.Solution.BuildYMatrix(2, 1)
    system = sp.csc_matrix(engine.YMatrix.GetCompressedYMatrix())
    loads = sum_admittances(
        [e for e in read_elements(circuit) if e.kind == "load"], ieee123.num_nodes
    )
    assert tuple(name.lower() for name in circuit.YNodeOrder) == ieee123.node_names
    return_engine(engine)
    assert abs(loads).max() > 0.01
    assert abs(system - loads - y).max() < 1e-9 * abs(y).max()


def test_ratings(ieee123):
    branches = ieee123.branches
    rating = dict(zip(branches.name, branches.rating_a, strict=True))
    assert rating["line.l115"] == 530.0  # 336,400 26/7 ACSR
    assert rating["line.l1"] == 230.0  # 1/0 ACSR
    assert rating["line.l61"] == 175.0  # 1/0 AA cable
    assert rating["line.sw1"] == 600.0
    assert rating["transformer.reg1a"] == pytest.approx(5000 / (3**0.5 * 4.16))
    assert rating["transformer.reg2a"] == pytest.approx(2000 / 2.402)
    assert rating["transformer.xfm1"] == pytest.approx(150 / (3**0.5 * 4.16))
    assert branches.kind.count("switch") == 8
    assert branches.kind.count("transformer") == 8
    assert branches.kind.count("line") == 118


def test_coordinates(ieee123):
    bare = [
        bus
        for bus, xy in zip(ieee123.bus_names, ieee123.bus_xy, strict=True)
        if not np.isfinite(xy).all()
    ]
    assert sorted(bare) == ["300_open", "94_open"]
    assert ieee123.bus_xy[ieee123.bus_names.index("149")].tolist() == [300.0, 1500.0]


def test_taps_change_the_admittance_as_turns_ratios_do(ieee123):
    moved = load_feeder("ieee123", taps={"creg2a": -5})
    assert moved.regulators.tap[1] == -5
    assert (moved.regulators.tap == ieee123.regulators.tap).sum() == 6
    i, j = ieee123.node_names.index("9.1"), ieee123.node_names.index("9r.1")
    ratio = 1 - 5 * 0.00625
    assert moved.y_siemens[i, j] == pytest.approx(ieee123.y_siemens[i, j] / ratio, rel=1e-9)
    assert (load_feeder("ieee123", taps=0).regulators.tap == 0).all()

"""Loads of every connection read from small circuits, against OpenDSS itself."""

from __future__ import annotations

import numpy as np
import pytest

from gradmap.feeders.dss import read_feeder
from gradmap.feeders.dss_engine import borrow_engine, compile_circuit, return_engine
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.model import GROUND, LoadModel
from gradmap.feeders.validate import validate_feeder

KV_LN = 0.4 / 3**0.5

# body of the circuit, then expected terminals as (from, to, kV, kW, kvar)
LOADS = {
    "wye, one phase": (
        "New Load.x Bus1=b.2 Phases=1 kV=0.23 kW=10 kvar=4 Model=1",
        [("b.2", None, 0.23, 10.0, 4.0)],
    ),
    "wye, one phase, to the neutral": (
        "New Load.x Bus1=b.3.4 Phases=1 kV=0.23 kW=10 kvar=4 Model=5",
        [("b.3", "b.4", 0.23, 10.0, 4.0)],
    ),
    "delta, one phase": (
        "New Load.x Bus1=b.3.1 Phases=1 Conn=Delta kV=0.4 kW=10 kvar=4 Model=1",
        [("b.3", "b.1", 0.4, 10.0, 4.0)],
    ),
    "wye, three phases": (
        "New Load.x Bus1=b.1.2.3 Phases=3 kV=0.4 kW=30 kvar=12 Model=5",
        [(f"b.{k}", None, KV_LN, 10.0, 4.0) for k in (1, 2, 3)],
    ),
    "wye, three phases, to the neutral": (
        "New Load.x Bus1=b.1.2.3.4 Phases=3 kV=0.4 kW=30 kvar=12 Model=1",
        [(f"b.{k}", "b.4", KV_LN, 10.0, 4.0) for k in (1, 2, 3)],
    ),
    "delta, three phases": (
        "New Load.x Bus1=b.1.2.3 Phases=3 Conn=Delta kV=0.4 kW=30 kvar=-12 Model=2",
        [
            ("b.1", "b.2", 0.4, 10.0, -4.0),
            ("b.2", "b.3", 0.4, 10.0, -4.0),
            ("b.3", "b.1", 0.4, 10.0, -4.0),
        ],
    ),
    "wye, two phases": (
        "New Load.x Bus1=b.3.1 Phases=2 kV=0.4 kW=20 kvar=8 Model=1",
        [("b.3", None, KV_LN, 10.0, 4.0), ("b.1", None, KV_LN, 10.0, 4.0)],
    ),
    "delta, two phases": (
        "New Load.x Bus1=b.1.2.3 Phases=2 Conn=Delta kV=0.4 kW=20 kvar=8 Model=1",
        [("b.1", "b.2", 0.4, 10.0, 4.0), ("b.2", "b.3", 0.4, 10.0, 4.0)],
    ),
    "CVR": (
        "New Load.x Bus1=b.1 Phases=1 kV=0.23 kW=10 kvar=4 Model=4 CVRwatts=0.8 CVRvars=2.5",
        [("b.1", None, 0.23, 10.0, 4.0)],
    ),
    "load multiplier": (
        "New Load.x Bus1=b.1 Phases=1 kV=0.23 kW=10 kvar=4\n"
        "New Load.y Bus1=b.2 Phases=1 kV=0.23 kW=10 kvar=4 Status=Fixed\n"
        "Set LoadMult=0.5",
        [("b.1", None, 0.23, 5.0, 2.0), ("b.2", None, 0.23, 10.0, 4.0)],
    ),
    "power factor": (
        "New Load.x Bus1=b.1 Phases=1 kV=0.23 kW=8 PF=0.8",
        [("b.1", None, 0.23, 8.0, 6.0)],
    ),
}


def opendss_voltages(path, feeder):
    """OpenDSS's own solution of the circuit with its own loads."""
    engine = borrow_engine()
    try:
        compile_circuit(engine, path)
        engine.Text.Command = "Set Tolerance=1e-12 MaxIterations=2000"
        circuit = engine.ActiveCircuit
        circuit.Solution.Solve()
        assert circuit.Solution.Converged
        assert tuple(name.lower() for name in circuit.YNodeOrder) == feeder.node_names
        return np.asarray(circuit.YNodeVarray).view(np.complex128) / feeder.node_kv_base / 1e3
    finally:
        return_engine(engine)


@pytest.mark.parametrize("case", LOADS)
@pytest.mark.parametrize("pu", [1.0, 0.86, 1.12])
def test_terminals(case, pu, write_circuit):
    body, expected = LOADS[case]
    path = write_circuit(body, pu=pu)
    feeder = read_feeder(path)
    t = feeder.terminals
    nodes = (*feeder.node_names, None)
    found = [
        (nodes[a], nodes[b], kv, p, q)
        for a, b, kv, p, q in zip(t.node_from, t.node_to, t.kv_rated, t.p_kw, t.q_kvar, strict=True)
    ]
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert [row[2:] for row in found] == [pytest.approx(row[2:], rel=1e-12) for row in expected]
    # A terminal each, in place of the load, makes no difference to OpenDSS.
    with OpenDSSReplay(feeder) as replay:
        idle = np.zeros(len(t))
        solution = replay.solve(np.r_[t.p_kw, idle], np.r_[t.q_kvar, idle])
    assert np.abs(solution.v_pu - opendss_voltages(path, feeder)).max() < 1e-8
    report = validate_feeder(feeder, num_random=5)
    assert report.passed, report.to_dict()


def test_law_and_names(write_circuit):
    feeder = read_feeder(
        write_circuit(
            "New Load.One Bus1=b.1 Phases=1 kV=0.23 kW=1 Model=4 CVRwatts=0.8 CVRvars=2.5\n"
            "New Load.Two Bus1=b.1.2.3 Phases=3 Conn=Delta kV=0.4 kW=3 Model=2 "
            "Vminpu=0.9 Vmaxpu=1.1 Vlowpu=0.6\n"
            "New Load.Off Bus1=b.1 Phases=1 kV=0.23 kW=1 Enabled=No"
        )
    )
    t = feeder.terminals
    assert feeder.name == "small"
    assert t.name == ("one", "two.1", "two.2", "two.3")
    assert t.load == ("one", "two", "two", "two")
    assert t.model.tolist() == [LoadModel.CVR] + [LoadModel.CONSTANT_IMPEDANCE] * 3
    assert t.is_delta.tolist() == [False, True, True, True]
    assert (t.cvr_p[0], t.cvr_q[0]) == (0.8, 2.5)
    assert t.vmin_pu.tolist() == [0.95, 0.9, 0.9, 0.9]
    assert t.vmax_pu.tolist() == [1.05, 1.1, 1.1, 1.1]
    assert t.vlow_pu.tolist() == [0.5, 0.6, 0.6, 0.6]
    assert t.node_to[0] == GROUND


def test_branches_of_a_small_circuit(write_circuit):
    feeder = read_feeder(
        write_circuit(
            "New Load.x Bus1=c.1 Phases=1 kV=0.23 kW=1\n"
            "New Line.sw Phases=4 Bus1=b.1.2.3.4 Bus2=c.1.2.3.4 Switch=Yes NormAmps=321\n"
            "New Reactor.series Phases=1 Bus1=c.1 Bus2=d.1 R=0.01 X=0.1 NormAmps=55\n"
            "New Capacitor.shunt Bus1=b.1.2.3 kV=0.4 kvar=10\n"
        )
    )
    branches = feeder.branches
    # The neutral's reactor and the capacitor go to ground: no branches.
    assert branches.name == ("transformer.t1", "line.l1", "line.sw", "reactor.series")
    assert branches.kind == ("transformer", "line", "switch", "reactor")
    assert branches.bus_from == ("head", "a", "b", "c")
    assert branches.bus_to == ("a", "b", "c", "d")
    assert branches.rating_a == pytest.approx([500 / (3**0.5 * 12.47), 200, 321, 55])
    assert branches.conductor_branch.tolist() == [0] * 3 + [1] * 4 + [2] * 4 + [3]
    names = [feeder.node_names[i] for i in branches.conductor_node]
    assert names[:4] == ["head.1", "head.2", "head.3", "a.1"]


def test_a_circuit_without_loads_or_regulators(write_circuit):
    feeder = read_feeder(write_circuit(""))
    assert len(feeder.terminals) == 0
    assert len(feeder.regulators) == 0
    assert np.isnan(feeder.bus_xy).all()

"""Generators, PV systems and storage as terminals, each held to OpenDSS."""

from __future__ import annotations

import numpy as np
import pytest

from gradmap import Feeder
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.model import LoadModel
from gradmap.feeders.storage import load_feeder_file, save_feeder
from gradmap.feeders.validate import validate_feeder

LOAD = "New Load.l Phases=3 Bus1=b.1.2.3 kV=0.4 kW=20 kvar=5\n"
# Both sides of 0.9 and 1.1, and the range.
SOURCES = [0.8, 0.88, 1.0, 1.08, 1.15]

# elements, then kW and kvar drawn by each of their terminals
CASES = {
    "generator": ("New Generator.x Bus1=b.1.2.3 kV=0.4 kW=30 kvar=-12", (-10.0, 4.0)),
    "generator, impedance": (
        "New Generator.x Bus1=b.1.2.3 kV=0.4 kW=30 kvar=12 Model=2",
        (-10.0, -4.0),
    ),
    "generator to the neutral": (
        "New Generator.x Bus1=b.1.2.3.4 kV=0.4 kW=15 kvar=3 Vminpu=0.95 Vmaxpu=1.02",
        (-5.0, -1.0),
    ),
    "generator in delta": (
        "New Generator.x Bus1=b.1.2.3 kV=0.4 kW=30 kvar=12 Conn=Delta",
        (-10.0, -4.0),
    ),
    "generator in open delta": (
        "New Generator.x Phases=2 Bus1=b.1.2.3 kV=0.4 kW=20 kvar=8 Conn=Delta",
        (-10.0, -4.0),
    ),
    "generator across two phases": (
        "New Generator.x Phases=1 Bus1=b.1.2 kV=0.4 kW=10 kvar=4 Conn=Delta",
        (-10.0, -4.0),
    ),
    "generator of one phase": (
        "New Generator.x Phases=1 Bus1=b.2 kV=0.2309 kW=10 PF=0.8",
        (-10.0, -7.5),
    ),
    "generator, impedance across two phases": (
        "New Generator.x Phases=1 Bus1=b.1.2 kV=0.4 kW=30 kvar=12 Conn=Delta Model=2",
        (-10.0, -4.0),
    ),
    "generator that limits its current": (
        "New Generator.x Bus1=b.1.2.3 kV=0.4 kW=30 kvar=6 Model=7",
        (-10.0, -2.0),
    ),
    "the same in delta": (
        "New Generator.x Bus1=b.1.2.3 kV=0.4 kW=30 kvar=6 Model=7 Conn=Delta",
        (-10.0, -2.0),
    ),
    "generator's multiplier": (
        "New Generator.x Bus1=b.1.2.3 kV=0.4 kW=60 kvar=12\nSet GenMult=0.5",
        (-10.0, -2.0),
    ),
    "PV system": (
        "New PVSystem.x Bus1=b.1.2.3 kV=0.4 kVA=40 Pmpp=60 Irradiance=0.5 kvar=-6",
        (-10.0, 2.0),
    ),
    "PV system above its rating": (
        "New PVSystem.x Bus1=b.1.2.3 kV=0.4 kVA=30 Pmpp=60 Irradiance=1 kvar=18",
        (-8.0, -6.0),
    ),
    "PV system across two phases": (
        "New PVSystem.x Phases=1 Bus1=b.3.1 kV=0.4 Conn=Delta kVA=20 Pmpp=10 PF=1",
        (-10.0, 0.0),
    ),
    "PV system, impedance": (
        "New PVSystem.x Phases=1 Bus1=b.3 kV=0.2309 kVA=20 Pmpp=10 PF=1 Model=2",
        (-10.0, 0.0),
    ),
    "storage, discharging": (
        "New Storage.x Bus1=b.1.2.3 kV=0.4 kWrated=30 kVA=40 kWhrated=50 State=Discharging kvar=6",
        (-10.0, -2.0),
    ),
    "storage, charging": (
        "New Storage.x Bus1=b.1.2.3 kV=0.4 kWrated=60 kWhrated=50 %stored=20 State=Charging "
        "%Charge=50",
        (10.0, 0.0),
    ),
    "storage, idle": (
        "New Storage.x Bus1=b.1.2.3 kV=0.4 kWrated=60 kWhrated=50 Conn=Delta %IdlingkW=5",
        (1.0, 0.0),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("pu", SOURCES)
def test_each_kind_at_every_voltage(case, pu, write_circuit, read_and_compare):
    text, (p_kw, q_kvar) = CASES[case]
    feeder = read_and_compare(write_circuit(f"{LOAD}{text}\n", pu=pu))
    terminals = feeder.terminals
    own = [kind != "load" for kind in terminals.kind]
    assert terminals.kind[:3] == ("load",) * 3
    assert terminals.load[3] == f"{terminals.kind[3]}.x"
    np.testing.assert_allclose(terminals.p_kw[own], p_kw, rtol=1e-7)
    np.testing.assert_allclose(terminals.q_kvar[own], q_kvar, rtol=1e-7, atol=1e-7)


def test_all_of_them_in_replay_and_validation(write_circuit):
    lines = []
    for k, (text, _) in enumerate(CASES.values()):
        lines.append(text.splitlines()[0].replace(".x ", f".x{k} "))
    feeder = Feeder.from_dss(write_circuit(LOAD + "\n".join(lines) + "\n"))
    models = {LoadModel(model) for model in feeder.terminals.model}
    assert models >= {
        LoadModel.GENERATOR,
        LoadModel.GENERATOR_ACROSS,
        LoadModel.GENERATOR_LIMITED,
        LoadModel.CONSTANT_IMPEDANCE,
    }
    report = validate_feeder(feeder, num_random=0)
    rows = {row.case: row for row in report.rows}
    assert rows["nominal"].max_error_pu < 1e-8
    assert rows["light"].max_error_pu < 1e-8
    assert rows["reverse"].max_error_pu < 1e-6


def test_a_generator_s_power_is_set_terminal_by_terminal(write_circuit):
    feeder = Feeder.from_dss(write_circuit(f"{LOAD}{CASES['generator'][0]}\n", pu=0.99))
    with OpenDSSReplay(feeder, devices=False) as replay:
        p_kw = np.array([1.0, 2.0, 3.0, -9.0, -7.0, -4.0])
        solution = replay.solve(p_kw, np.zeros(6))
    # The neutral's reactor to ground takes 7 W that OpenDSS does not count as a loss.
    assert solution.source_kw == pytest.approx(p_kw.sum() + solution.losses_kw, abs=0.01)


def test_a_feeder_with_generators_is_stored(write_circuit, tmp_path):
    feeder = Feeder.from_dss(write_circuit(f"{LOAD}{CASES['PV system'][0]}\n"))
    save_feeder(feeder, tmp_path / "feeder.npz")
    again = load_feeder_file(tmp_path / "feeder.npz")
    assert again.terminals.kind == feeder.terminals.kind
    np.testing.assert_array_equal(again.terminals.zipv, feeder.terminals.zipv)
    assert (again.notes, again.frozen) == (feeder.notes, feeder.frozen)


def test_a_generator_that_is_switched_off_draws_next_to_nothing(write_circuit, read_and_compare):
    # OpenDSS leaves a tenth of a watt per rated kW as a load where dispatch has it off.
    feeder = read_and_compare(
        write_circuit(
            f"{LOAD}New Generator.x Bus1=b.1.2.3 kV=0.4 kW=30 kvar=3 DispMode=Price DispValue=90\n"
        )
    )
    np.testing.assert_allclose(feeder.terminals.p_kw[3:], 1e-3, rtol=1e-6)

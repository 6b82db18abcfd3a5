"""What a feeder cannot hold, frozen at the current that OpenDSS's solution gives it."""

from __future__ import annotations

import numpy as np
import pytest

from gradmap import Feeder
from gradmap.feeders.catalog import reload_feeder
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.storage import load_feeder_file, save_feeder
from gradmap.feeders.validate import validate_feeder

LOAD = "New Load.l Phases=3 Bus1=b.1.2.3 kV=0.4 kW=20 kvar=5\n"
# name, elements
CASES = {
    "load.x": "New Load.x Phases=1 Bus1=b.1.1 kV=0.2309 kW=9 kvar=3",
    "generator.x": "New Generator.x Bus1=b kV=0.4 kW=20 Model=3 Vpu=1.0 Maxkvar=15 Minkvar=-15",
    "pvsystem.x": "New PVSystem.x Bus1=b kV=0.4 kVA=20 Pmpp=15 Irradiance=1 Balanced=Yes",
    "storage.x": "New Storage.x Phases=1 Bus1=b.2 kV=0.2309 kWrated=9 kWhrated=9 "
    "State=Discharging LimitCurrent=Yes",
    "indmach012.x": "New IndMach012.x Bus1=b kV=0.4 kW=5 kVA=8 Conn=Delta",
}
ALL = "\n".join(CASES.values()) + "\n"


@pytest.mark.parametrize("name", CASES)
def test_each_kind_alone(name, write_circuit, read_and_compare):
    path = write_circuit(f"{LOAD}{CASES[name]}\n")
    with pytest.raises(GradmapError, match=f"{name} "):
        Feeder.from_dss(path)
    feeder = read_and_compare(path, on_unsupported="freeze")
    assert feeder.frozen == (name,)
    assert len(feeder.notes) == 1
    assert feeder.notes[0].startswith(f"{name} ")
    assert feeder.notes[0].endswith(": frozen")
    assert feeder.terminals.name == ("l.1", "l.2", "l.3")


def test_the_error_names_all(write_circuit):
    with pytest.raises(GradmapError) as error:
        Feeder.from_dss(write_circuit(LOAD + ALL))
    for name in CASES:
        assert f"{name} " in str(error.value)
    assert "on_unsupported='freeze'" in str(error.value)
    with pytest.raises(GradmapError, match="expected 'raise' or 'freeze'"):
        Feeder.from_dss(write_circuit(LOAD), on_unsupported="ignore")


def test_all_together_in_replay_and_storage(write_circuit, read_and_compare, tmp_path):
    feeder = read_and_compare(write_circuit(LOAD + ALL), on_unsupported="freeze")
    assert feeder.frozen == tuple(CASES)
    # At other loads the currents stay: ours and OpenDSS's with current sources agree.
    report = validate_feeder(feeder, num_random=5)
    assert report.passed, report.to_dict()
    t = feeder.terminals
    with OpenDSSReplay(feeder, devices=False) as replay:
        solution = replay.solve(t.p_kw, t.q_kvar)
    injected = solution.v_pu * feeder.node_kv_base * feeder.frozen_current_a.conj()
    assert solution.source_kw == pytest.approx(
        t.p_kw.sum() + solution.losses_kw - injected.real.sum(), abs=0.02
    )
    save_feeder(feeder, tmp_path / "feeder.npz")
    again = load_feeder_file(tmp_path / "feeder.npz")
    np.testing.assert_array_equal(again.frozen_current_a, feeder.frozen_current_a)
    assert (again.frozen, again.notes) == (feeder.frozen, feeder.notes)
    once_more = reload_feeder(feeder, None)
    np.testing.assert_allclose(once_more.frozen_current_a, feeder.frozen_current_a, rtol=1e-9)


# Each alone, beside a PV system `pv` and a storage `st`: name, elements, reason.
OTHERS = {
    "generator.v": (
        "New Generator.v Bus1=b kV=0.4 kW=9 Model=3",
        "holds the magnitude of its volt",
    ),
    "generator.q": (
        "New Generator.q Bus1=b kV=0.4 kW=9 kvar=3 Model=4",
        "has model 4, expected one",
    ),
    "generator.z": (
        "New Generator.z Bus1=b kV=0.4 kW=9 kvar=3 Model=5",
        "has model 5, expected one",
    ),
    "invcontrol.ic": (
        "New XYcurve.c NPts=4 XArray=[0.5 0.9 1.1 1.5] YArray=[1 1 -1 -1]\n"
        "New InvControl.ic DERList=[PVSystem.pv] Mode=VoltVar VVC_Curve1=c",
        "sets a power by the voltage, which is not supported",
    ),
    "expcontrol.ec": (
        "New ExpControl.ec PVSystemList=[pv]",
        "sets a power by the voltage, which is not supported",
    ),
    "storagecontroller.sc": (
        "New StorageController.sc Element=Line.l1 Terminal=1 ElementList=[st] kWTarget=20 "
        "ModeDischarge=PeakShave",
        "sets a power by the voltage, which is not supported",
    ),
    "gendispatcher.gd": (
        "New Generator.g Bus1=b kV=0.4 kW=5\n"
        "New GenDispatcher.gd Element=Line.l1 Terminal=1 kWLimit=10 GenList=[g]",
        "sets a power by the voltage, which is not supported",
    ),
}
BESIDE = (
    f"{LOAD}New PVSystem.pv Bus1=b kV=0.4 kVA=40 Pmpp=25 Irradiance=1\n"
    "New Storage.st Bus1=b kV=0.4 kWrated=9 kWhrated=20 State=Discharging\n"
)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("pu", [0.96, 1.04])
def test_what_sets_its_own_power(name, pu, write_circuit, read_and_compare):
    text, reason = OTHERS[name]
    path = write_circuit(f"{BESIDE}{text}\n", pu=pu)
    with pytest.raises(GradmapError) as error:
        Feeder.from_dss(path)
    assert f"{name} {reason}" in str(error.value)
    assert "on_unsupported='freeze'" in str(error.value)
    feeder = read_and_compare(path, on_unsupported="freeze")
    assert feeder.frozen == (name,)
    assert feeder.notes[0].startswith(f"{name} {reason}")
    assert validate_feeder(feeder, num_random=2).passed


def test_all_that_set_their_own_power_are_named_at_once(write_circuit, read_and_compare):
    path = write_circuit(BESIDE + "\n".join(text for text, _ in OTHERS.values()) + "\n")
    with pytest.raises(GradmapError) as error:
        Feeder.from_dss(path)
    for name, (_, reason) in OTHERS.items():
        assert f"{name} {reason}" in str(error.value)
    assert str(error.value).count("on_unsupported='freeze'") == 1
    assert set(read_and_compare(path, on_unsupported="freeze").frozen) == set(OTHERS)


def test_a_load_with_an_open_conductor_cannot_be_frozen(write_circuit):
    """What OpenDSS has it draw differs from run to run, up to no solution at all."""
    path = write_circuit(f"{LOAD}New Load.x Bus1=b.1.2.3.4 kV=0.4 kW=9\nOpen Load.x 1 2\n")
    for how in ("raise", "freeze"):
        with pytest.raises(GradmapError, match=r"load\.x has an open conductor"):
            Feeder.from_dss(path, on_unsupported=how)


def test_a_generator_with_an_open_conductor_is_frozen(write_circuit, read_and_compare):
    body = f"{LOAD}New Generator.x Bus1=b.1.2.3.4 kV=0.4 kW=9\nOpen Generator.x 1 2\n"
    path = write_circuit(body)
    with pytest.raises(GradmapError, match=r"generator\.x has an open conductor"):
        Feeder.from_dss(path)
    assert read_and_compare(path, on_unsupported="freeze").frozen == ("generator.x",)


def test_a_generator_of_a_library_has_no_solution(write_circuit):
    path = write_circuit(f"{LOAD}New Generator.u Bus1=b kV=0.4 kW=9 Model=6\n")
    for how in ("raise", "freeze"):
        with pytest.raises(GradmapError) as error:
            Feeder.from_dss(path, on_unsupported=how)
        assert "user-written model is not defined" in str(error.value)  # OpenDSS's own words
        assert "generator.u has model 6, expected one of 1, 2, 7" in str(error.value)


def test_an_inverter_control_rests_where_the_files_leave_it(write_circuit, read_and_compare):
    body = (
        f"{LOAD}New PVSystem.pv Bus1=b kV=0.4 kVA=40 Pmpp=25 Irradiance=1\n"
        "New XYcurve.c NPts=4 XArray=[0.5 0.9 1.1 1.5] YArray=[1 1 -1 -1]\n"
        "New InvControl.ic DERList=[PVSystem.pv] Mode=VoltVar VVC_Curve1=c\n"
    )
    tail = "Set VoltageBases=[12.47 0.4]\nCalcVoltageBases\nSet MaxControlIter=100\nSolve\n"
    path = write_circuit(body, pu=0.96, tail=tail)
    feeder = read_and_compare(path, on_unsupported="freeze")
    assert feeder.frozen == ("invcontrol.ic",)
    assert not feeder.frozen_current_a.any()
    # The PV system is a terminal, at what its control asked of it.
    q = feeder.terminals.q_kvar[[kind == "pvsystem" for kind in feeder.terminals.kind]]
    assert (q < -0.5).all()


def test_a_regulator_between_two_taps_rests_there(write_circuit, read_and_compare):
    path = write_circuit(
        "New Transformer.r Phases=1 Windings=2 Buses=[b.1 c.1] kVs=[0.23 0.23] kVAs=[50 50] "
        "XHL=1 Taps=[1 1.004]\n"
        "New RegControl.cr Transformer=r Winding=2 VReg=120 Band=2 PTRatio=2\n"
        "New Load.l Phases=1 Bus1=c.1 kV=0.23 kW=10 kvar=4\n"
    )
    feeder = read_and_compare(path, on_unsupported="freeze")
    assert feeder.frozen == ("regcontrol.cr",)
    assert len(feeder.regulators) == 0
    assert validate_feeder(feeder, num_random=2).passed

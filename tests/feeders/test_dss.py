"""What reading a circuit may not do, and what it says when it cannot."""

from __future__ import annotations

import os

import pytest
from dss import dss as prime

from gradmap.feeders.catalog import list_feeders, load_feeder, reload_feeder
from gradmap.feeders.dss import read_feeder
from gradmap.feeders.errors import GradmapError

SETTINGS = ("AllowForms", "AllowEditor", "AllowDOScmd", "AllowChangeDir")


def test_working_directory_settings_and_other_circuits_stay(tmp_path, monkeypatch):
    before = {name: getattr(prime, name) for name in SETTINGS}
    other = prime.NewContext()
    for engine, name in ((prime, "mine"), (other, "his")):
        engine.Text.Command = "Clear"
        engine.Text.Command = f"New Circuit.{name} Bus1=x BasekV=1"
    # As in a fresh process, where no context is there to take.
    monkeypatch.setattr("gradmap.feeders.dss_engine._idle", [])
    monkeypatch.chdir(tmp_path)
    load_feeder("ieee123")
    with pytest.raises(GradmapError):
        read_feeder(tmp_path / "none.dss")
    assert os.getcwd() == str(tmp_path)
    assert {name: getattr(prime, name) for name in SETTINGS} == before
    assert prime.ActiveCircuit.Name == "mine"
    assert other.ActiveCircuit.Name == "his"
    assert list(tmp_path.iterdir()) == []
    prime.Text.Command = "Clear"


def test_reading_often_does_not_grow_the_process():
    # dss_python keeps every context for good: a second load must take the first's.
    from gradmap.feeders import dss_engine

    load_feeder("ieee123")
    idle = len(dss_engine._idle)
    for _ in range(3):
        load_feeder("ieee123")
    assert len(dss_engine._idle) == idle


def test_settings_of_one_file_do_not_reach_the_next(write_circuit):
    body = "New Load.x Bus1=b.1 Phases=1 kV=0.23 kW=1"
    first = read_feeder(write_circuit(body)).y_siemens
    path = write_circuit(body)
    path.write_text("Set DefaultBaseFrequency=50\n" + path.read_text())
    assert abs(read_feeder(path).y_siemens - first).max() > 0
    assert abs(read_feeder(write_circuit(body)).y_siemens - first).max() == 0


def test_a_feeder_without_a_name_lists_those_there_are():
    assert "ieee123" in list_feeders()
    with pytest.raises(GradmapError, match=r"no feeder 'iee123' \(did you mean 'ieee123'\?\)"):
        load_feeder("iee123")
    with pytest.raises(GradmapError, match=r"known feeders: .*ieee123"):
        load_feeder("something else")


def test_every_wrong_tap_is_named():
    with pytest.raises(GradmapError) as error:
        load_feeder("ieee123", taps={"creg9": 1, "creg1a": 17, "creg2a": 0.5, "creg3a": -16})
    text = str(error.value)
    assert "no regulator control 'creg9' (known: creg1a, creg2a," in text
    assert "tap of creg1a is 17, expected -16 to 16" in text
    assert "tap of creg2a is 0.5, expected a whole number" in text
    assert "creg3a is" not in text
    with pytest.raises(GradmapError, match="tap of creg4c is -17"):
        load_feeder("ieee123", taps=-17)


def test_reload_moves_taps_and_keeps_the_rest(ieee123):
    moved = reload_feeder(ieee123, 3)
    assert set(moved.regulators.tap) == {3}
    assert (moved.name, moved.origin) == (ieee123.name, ieee123.origin)


def test_unsupported_elements_are_all_named(write_circuit):
    path = write_circuit(
        "New Load.good Bus1=b.1 Phases=1 kV=0.23 kW=1\n"
        "New Generator.g1 Bus1=b.1.2.3 kV=0.4 kW=5 Model=3\n"
        "New Generator.g4 Bus1=b.1.2.3 kV=0.4 kW=5 Model=4\n"
        "New PVSystem.pv1 Bus1=b.1.2.3 kV=0.4 kVA=5 Balanced=Yes\n"
        "New PVSystem.pv2 Bus1=b.1.2.3 kV=0.4 kVA=5 LimitCurrent=Yes\n"
        "New Storage.s1 Bus1=b.1.2.3 kV=0.4 kWrated=5 Model=2 Balanced=Yes\n"
        "New IndMach012.m1 Bus1=b.1.2.3 kV=0.4 kW=1 kVA=2\n"
        "New XYcurve.c NPts=2 XArray=[0.9 1.1] YArray=[1 -1]\n"
        "New InvControl.ic1 PVSystemList=[pv1] Mode=VoltVar vvc_curve1=c\n"
        "New Generator.off Bus1=b.1.2.3 kV=0.4 kW=5 Model=3 Enabled=No\n"
    )
    with pytest.raises(GradmapError) as error:
        read_feeder(path)
    text = str(error.value)
    assert "generator.g1 holds the magnitude of its voltage (model 3)" in text
    assert "generator.g4 has model 4, expected one of 1, 2, 7" in text
    assert "pvsystem.pv1 balances its phases" in text
    assert "pvsystem.pv2 limits its current" in text
    assert "storage.s1 balances its phases" in text
    assert "indmach012.m1 is of a class that is not supported" in text
    assert "invcontrol.ic1 sets a power by the voltage" in text
    assert "good" not in text
    assert "off" not in text
    assert "\n" not in text


def test_buses_without_a_base_voltage_are_named(write_circuit):
    path = write_circuit("", tail="")
    with pytest.raises(GradmapError, match=r"no base voltage at bus head, a, b: add `Set Voltage"):
        read_feeder(path)


def test_a_node_that_only_loads_reach_is_named(write_circuit):
    path = write_circuit("New Load.x Bus1=b.1.9 Phases=1 kV=0.23 kW=1")
    with pytest.raises(GradmapError, match=r"nothing but loads connects node b\.9"):
        read_feeder(path)


def test_a_tap_between_two_positions_is_named(write_circuit):
    path = write_circuit(
        "New Transformer.r Phases=1 Windings=2 Buses=[b.1 c.1] kVs=[0.23 0.23] kVAs=[50 50] "
        "XHL=1 Taps=[1 1.004]\n"
        "New RegControl.cr Transformer=r Winding=2 VReg=120 Band=2 PTRatio=2\n"
    )
    with pytest.raises(GradmapError, match=r"regcontrol.cr has its tap at 1.004, between two"):
        read_feeder(path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("New Line.x Bus1=a Bus2=b LineCode=none", "none"),
        ("New Nonsense.x", "nonsense"),
    ],
)
def test_opendss_errors_name_the_file(body, message, write_circuit):
    path = write_circuit(body)
    with pytest.raises(GradmapError) as error:
        read_feeder(path)
    text = str(error.value)
    assert text.startswith(f"{path}: OpenDSS reports: ")
    assert message in text.lower()
    assert text.endswith("(Small.dss, line 13)")
    assert "\n" not in text


def test_a_missing_file_and_an_empty_one(tmp_path):
    with pytest.raises(GradmapError, match="no such file"):
        read_feeder(tmp_path / "absent.dss")
    (tmp_path / "empty.dss").write_text("! nothing\n")
    with pytest.raises(GradmapError, match="defines no circuit"):
        read_feeder(tmp_path / "empty.dss")


def test_redirects_are_read_from_the_file_s_own_folder(tmp_path, write_circuit):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "loads.dss").write_text("New Load.x Bus1=b.1 Phases=1 kV=0.23 kW=1\n")
    feeder = read_feeder(write_circuit("Redirect parts/loads.dss"))
    assert feeder.terminals.name == ("x",)

"""Circuits without a solution, or with one that double precision cannot find."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from gradmap import Feeder
from gradmap.feeders.conditioning import check_linear_part, condition_number
from gradmap.feeders.errors import GradmapError

LOAD = "New Load.x Bus1=b.1.2.3 Phases=3 kV=0.4 kW=10\n"


def test_no_solution(write_circuit):
    # Constant power far beyond what the line can carry, down to no voltage at all.
    body = "New Load.x Bus1=b.1.2.3 Phases=3 kV=0.4 kW=9000 kvar=9000 Vminpu=0 Vlowpu=0\n"
    with pytest.raises(GradmapError, match=r"Small.dss: OpenDSS finds no solution .* 500 iter"):
        Feeder.from_dss(write_circuit(body))


def test_opendss_s_own_message_and_line(write_circuit):
    body = f"{LOAD}New Load.z Bus1=b.1 Phases=1 kV=0.23 kW=ten\n"
    with pytest.raises(GradmapError) as error:
        Feeder.from_dss(write_circuit(body))
    assert "OpenDSS reports: " in str(error.value)
    assert "ten" in str(error.value)
    assert str(error.value).endswith("(Small.dss, line 14)")


def test_an_error_in_a_file_further_down(write_circuit, tmp_path):
    (tmp_path / "lines.dss").write_text("\n\nNew Line.z Bus1=b Bus2=c LineCode=absent\n")
    with pytest.raises(GradmapError, match=r"absent.*\(lines.dss, line 3\)$"):
        Feeder.from_dss(write_circuit("Redirect lines.dss\n"))


def test_a_zip_load_without_its_numbers(write_circuit):
    with pytest.raises(GradmapError, match=r"ZIPV is not set.*; load.x has model 8 without its"):
        Feeder.from_dss(write_circuit("New Load.x Bus1=b.1 Phases=1 kV=0.23 kW=1 Model=8\n"))


def test_growth_and_admittance_loads_are_refused(write_circuit):
    tail = "Set VoltageBases=[12.47 0.4]\nCalcVoltageBases\n"
    with pytest.raises(GradmapError, match="year is 3: growth is not supported"):
        Feeder.from_dss(write_circuit(LOAD, tail=tail + "Set Year=3\n"))
    with pytest.raises(GradmapError, match="loads are admittances"):
        Feeder.from_dss(write_circuit(LOAD, tail=tail + "Set LoadModel=Admittance\n"))
    with pytest.raises(GradmapError, match="frequency is 120 Hz, at which no source feeds"):
        Feeder.from_dss(write_circuit(LOAD, tail=tail + "Set Frequency=120\n"))


def test_another_mode_is_read_as_a_snapshot(write_circuit, read_and_compare):
    tail = "Set VoltageBases=[12.47 0.4]\nCalcVoltageBases\nSet Mode=Daily Number=3\nSolve\n"
    shape = "New Loadshape.s NPts=4 Interval=1 Mult=[0.1 0.2 0.3 0.4]\n"
    feeder = read_and_compare(
        write_circuit(shape + LOAD.replace("kW=10", "kW=9 Daily=s"), tail=tail)
    )
    np.testing.assert_allclose(feeder.terminals.p_kw, 3.0)


def test_an_island_is_named(write_circuit):
    body = (
        f"{LOAD}New Line.far Phases=1 Bus1=y.1 Bus2=z.1 R1=1 X1=1 C1=0\n"
        "New Load.far Bus1=z.1 Phases=1 kV=0.23 kW=1\n"
    )
    tail = "Set VoltageBases=[12.47 0.4]\nCalcVoltageBases\nSetkVBase Bus=y kVLN=0.23\n"
    with pytest.raises(GradmapError) as error:
        Feeder.from_dss(write_circuit(body, tail=tail + "SetkVBase Bus=z kVLN=0.23\n"))
    assert "no source feeds bus y, z" in str(error.value)


def test_an_island_that_opendss_cannot_solve_is_named(write_circuit):
    body = f"{LOAD}New Line.far Phases=1 Bus1=y.1 Bus2=z.1 R1=1 X1=1 C1=0\n"
    with pytest.raises(GradmapError, match=r"finds no solution.*; no source feeds bus y, z$"):
        Feeder.from_dss(write_circuit(body))


def test_condition_number(ieee123, write_circuit):
    exact = np.linalg.cond(ieee123.y_siemens.toarray(), 1)
    assert condition_number(ieee123) == pytest.approx(exact, rel=1e-2)
    assert [note for note in ieee123.notes if "condition number of about 9e+12" in note]
    feeder = Feeder.from_dss(write_circuit(LOAD))
    assert condition_number(feeder) < 1e9
    assert feeder.notes == ()


def test_what_cannot_be_solved_is_a_fault(write_circuit):
    import dataclasses

    feeder = Feeder.from_dss(write_circuit(LOAD))
    y = feeder.y_siemens.tolil()
    y[0] = 0.0
    singular = dataclasses.replace(feeder, y_siemens=sp.csc_matrix(y))
    assert condition_number(singular) == np.inf
    assert "singular" in check_linear_part(singular)[0][0]

"""Load models in small circuits, each held to OpenDSS at both sides of its thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from gradmap import Feeder
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import GROUND, LoadModel
from gradmap.feeders.validate import validate_feeder

# From far below vlow to far above vmax of ordinary loads.
SOURCES = [0.4, 0.7, 0.93, 1.0, 1.04, 1.12]
SCALES = [0.3, 1.0, 2.0, -1.0]

ONE = "Phases=1 Bus1=b.2 kV=0.2309 kW={p} kvar={q}"
THREE = "Phases=3 Bus1=b.1.2.3 kV=0.4 kW={p3} kvar={q3}"
LAWS = {
    "motor": "Model=3",
    "motor, wide": "Model=3 Vminpu=0.7 Vmaxpu=1.2",
    "CVR, odd thresholds": "Model=4 CVRwatts=0.7 CVRvars=3 Vminpu=0.3 Vmaxpu=1.3",
    "ZIP": "Model=8 ZIPV=[0.3 0.2 0.5 0.6 0.3 0.1 0]",
    "ZIP, sums other than 1": "Model=8 ZIPV=[0.5 -0.2 0.9 1.5 -0.8 0.4 0] Vminpu=0.85 Vmaxpu=1.1",
    "ZIP, drops out": "Model=8 ZIPV=[0.3 0.2 0.5 0.6 0.3 0.1 0.8]",
    "fixed kvar": "Model=6",
    "fixed kvar, wide": "Model=6 Vminpu=0.6 Vmaxpu=1.2",
    "fixed reactance": "Model=7",
    "fixed reactance, odd thresholds": "Model=7 Vminpu=0.3 Vmaxpu=1.3 Vlowpu=0.6",
    "power, vmin below vlow": "Model=1 Vminpu=0.2",
    "power, vmin above 1": "Model=1 Vminpu=1.02 Vmaxpu=1.06",
    "current, no vlow": "Model=5 Vlowpu=0",
    "power, no vmax": "Model=1 Vmaxpu=0",
    "impedance, odd thresholds": "Model=2 Vminpu=0.2",
}
CONNECTIONS = {
    "one phase": f"New Load.x {ONE}",
    "one phase to the neutral": "New Load.x Phases=1 Bus1=b.3.4 kV=0.2309 kW={p} kvar={q}",
    "across two phases": "New Load.x Phases=1 Conn=Delta Bus1=b.3.1 kV=0.4 kW={p} kvar={q}",
    "wye": f"New Load.x {THREE}",
    "wye to the neutral": "New Load.x Phases=3 Bus1=b.1.2.3.4 kV=0.4 kW={p3} kvar={q3}",
    "delta": f"New Load.x {THREE} Conn=Delta",
    "open delta": "New Load.x Phases=2 Conn=Delta Bus1=b.1.2.3 kV=0.4 kW={p} kvar={q}",
}


def body(connection, law, scale):
    powers = {"p": 12 * scale, "q": 5 * scale, "p3": 30 * scale, "q3": 12 * scale}
    return f"{CONNECTIONS[connection].format(**powers)} {LAWS[law]}\n"


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("pu", SOURCES)
def test_every_law_at_every_voltage(law, pu, write_circuit, read_and_compare):
    for scale in SCALES:
        read_and_compare(write_circuit(body("wye", law, scale), pu=pu))


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("law", ["motor", "ZIP", "ZIP, drops out", "fixed kvar"])
def test_every_connection(connection, law, write_circuit, read_and_compare):
    for pu in (0.86, 1.0, 1.1):
        feeder = read_and_compare(write_circuit(body(connection, law, 1.0), pu=pu))
    models = {"motor": LoadModel.MOTOR, "fixed kvar": LoadModel.FIXED_KVAR}
    assert set(feeder.terminals.model) == {models.get(law, LoadModel.ZIP)}
    assert (feeder.terminals.node_to == GROUND).all() == (connection in ("one phase", "wye"))


def test_the_replay_knows_every_law(write_circuit):
    lines = [body("wye", law, 0.2).replace(".x ", f".x{k} ") for k, law in enumerate(LAWS)]
    path = write_circuit("".join(lines))
    feeder = Feeder.from_dss(path)
    assert feeder.terminals.kind == ("load",) * 3 * len(LAWS)
    report = validate_feeder(feeder, num_random=10)
    assert report.passed, report.to_dict()


def test_what_is_read_of_a_zip_load(write_circuit, read_and_compare):
    path = write_circuit(body("one phase", "ZIP, drops out", 1.0))
    terminals = read_and_compare(path).terminals
    np.testing.assert_array_equal(terminals.zipv, [[0.3, 0.2, 0.5, 0.6, 0.3, 0.1, 0.8]])


def test_a_neutral_impedance_of_the_load_changes_nothing(write_circuit, read_and_compare):
    # OpenDSS compensates it away: the load's current is that of its law alone.
    for impedance in ("", "Rneut=0.5 Xneut=0.1"):
        extra = f"New Load.x Phases=3 Bus1=b.1.2.3.4 kV=0.4 kW=30 kvar=5 Model=5 {impedance}\n"
        read_and_compare(
            write_circuit(extra + body("one phase", "motor", 1.0).replace(".x ", ".y "))
        )


def test_a_fixed_q_under_a_load_multiplier(write_circuit, read_and_compare):
    text = body("one phase", "power, vmin above 1", 1.0).replace(".x ", ".y ")
    text += body("wye", "fixed kvar", 1.0).rstrip()
    path = write_circuit(f"{text}\nSet LoadMult=0.8\n", pu=0.9)
    with pytest.raises(GradmapError, match=r"load.x has model 6, whose Q the load multiplier"):
        Feeder.from_dss(path)
    assert read_and_compare(path, on_unsupported="freeze").frozen == ("load.x",)
    # One that does not follow it is as any other.
    fixed = read_and_compare(write_circuit(f"{text} Status=Fixed\nSet LoadMult=0.8\n", pu=0.9))
    np.testing.assert_allclose(fixed.terminals.q_kvar, [4.0, 4.0, 4.0, 4.0])

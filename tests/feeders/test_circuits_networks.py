"""Transformers of every kind, neutrals, meshes, switches and sources, held to OpenDSS."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from gradmap.feeders.dss_engine import borrow_engine, compile_circuit, return_engine
from gradmap.feeders.validate import validate_feeder

HEAD = """
Clear
New Circuit.small Bus1=head.1.2.3 BasekV=12.47 pu={pu} R1=0.5 X1=2 R0=0.4 X0=1.5
New LineCode.three NPhases=3 Units=km NormAmps=200 BaseFreq=60
~ RMatrix=[0.3 | 0.1 0.3 | 0.1 0.1 0.3] XMatrix=[0.6 | 0.2 0.6 | 0.2 0.2 0.6]
~ CMatrix=[10 | -2 10 | -2 -2 10]
New Line.feed Bus1=head Bus2=a LineCode=three Length=2 Units=km
"""

WYE_LOADS = """
New Load.l1 Phases=1 Bus1=c.1 kV={ln} kW={p} kvar={q}
New Load.l2 Phases=1 Bus1=c.2 kV={ln} kW={p} kvar={q} Model=5
New Load.l3 Phases=1 Bus1=c.3 kV={ln} kW={p} kvar={q} Model=2
"""
DELTA_LOADS = """
New Load.l1 Phases=1 Conn=Delta Bus1=c.1.2 kV={ll} kW={p} kvar={q}
New Load.l2 Phases=1 Conn=Delta Bus1=c.2.3 kV={ll} kW={p} kvar={q} Model=5
New Load.l3 Phases=3 Conn=Delta Bus1=c.1.2.3 kV={ll} kW={p} kvar={q} Model=2
"""
SPLIT_LOADS = """
New Load.l1 Phases=1 Bus1=c.1.0 kV=0.12 kW={p} kvar={q}
New Load.l2 Phases=1 Bus1=c.2.0 kV=0.12 kW={half} kvar={q}
New Load.l3 Phases=1 Bus1=c.1.2 kV=0.24 kW={p} kvar={q} Model=3
"""


def three_phase(first, second, kv=0.48):
    return (
        "New Transformer.t Phases=3 Windings=2 XHL=4 %LoadLoss=1.2\n"
        f"~ Wdg=1 Bus=a.1.2.3 Conn={first} kV=12.47 kVA=300\n"
        f"~ Wdg=2 Bus=c.1.2.3 Conn={second} kV={kv} kVA=300\n"
    )


def bank(*windings, kva=100):
    """Single-phase transformers, each given as (bus, kV) of its two windings."""
    return "".join(
        f"New Transformer.t{k} Phases=1 Windings=2 XHL=3 %Rs=[0.6 0.6] kVAs=[{kva} {kva}] "
        f"Buses=[{one} {other}] kVs=[{kv_one} {kv_other}] Conns=[{conns}]\n"
        for k, (one, kv_one, other, kv_other, conns) in enumerate(windings)
    )


SPLIT = (
    "New Transformer.t Phases=1 Windings=3 XHL=2.04 XHT=2.04 XLT=1.36 %NoLoadLoss=0.2\n"
    "~ Wdg=1 Bus=a.1.0 kV=7.2 kVA=50 %R=0.6\n"
    "~ Wdg=2 Bus=c.1.0 kV=0.12 kVA=50 %R=1.2\n"
    "~ Wdg=3 Bus=c.0.2 kV=0.12 kVA=50 %R=1.2\n"
)
# what is behind bus a, its loads, the base voltages, kV line to line
NETWORKS = {
    "wye-wye": (three_phase("Wye", "Wye"), WYE_LOADS, "12.47 0.48"),
    "delta-wye": (three_phase("Delta", "Wye"), WYE_LOADS, "12.47 0.48"),
    "wye-delta": (three_phase("Wye", "Delta"), DELTA_LOADS, "12.47 0.48"),
    "delta-delta": (three_phase("Delta", "Delta"), DELTA_LOADS, "12.47 0.48"),
    "delta-wye that leads": (
        three_phase("Delta", "Wye") + "~ LeadLag=Lead\n",
        WYE_LOADS,
        "12.47 0.48",
    ),
    "open wye - open delta": (
        bank(
            ("a.1.0", 7.2, "c.1.2", 0.48, "Wye Delta"), ("a.2.0", 7.2, "c.2.3", 0.48, "Wye Delta")
        ),
        DELTA_LOADS,
        "12.47 0.48",
    ),
    "open delta": (
        bank(
            ("a.1.2", 12.47, "c.1.2", 0.48, "Delta Delta"),
            ("a.2.3", 12.47, "c.2.3", 0.48, "Delta Delta"),
        ),
        DELTA_LOADS,
        "12.47 0.48",
    ),
    "open wye - open wye": (
        bank(("a.1.0", 7.2, "c.1.0", 0.277, "Wye Wye"), ("a.2.0", 7.2, "c.2.0", 0.277, "Wye Wye")),
        "New Load.l1 Phases=1 Bus1=c.1 kV={ln} kW={p} kvar={q}\n"
        "New Load.l2 Phases=1 Bus1=c.1.2 kV={ll} kW={p} kvar={q} Model=8 "
        "ZIPV=[0.5 0.3 0.2 0.4 0.4 0.2 0]\n",
        "12.47 0.48",
    ),
    "centre tap": (SPLIT, SPLIT_LOADS, "12.47 0.208"),
    "centre tap across two phases": (
        SPLIT.replace("a.1.0 kV=7.2", "a.1.2 kV=12.47"),
        SPLIT_LOADS,
        "12.47 0.208",
    ),
    "three windings": (
        "New Transformer.t Phases=3 Windings=3 XHL=4 XHT=5 XLT=3\n"
        "~ Wdg=1 Bus=a Conn=Delta kV=12.47 kVA=500\n"
        "~ Wdg=2 Bus=c Conn=Wye kV=0.48 kVA=300\n"
        "~ Wdg=3 Bus=d Conn=Delta kV=4.16 kVA=200\n"
        "New Load.l4 Phases=3 Conn=Delta Bus1=d kV=4.16 kW={p} kvar={q}\n",
        WYE_LOADS,
        "12.47 4.16 0.48",
    ),
    "autotransformer": (
        "New AutoTrans.t Phases=3 Windings=2 XHX=5 Buses=[a c] kVs=[12.47 4.16] kVAs=[900 900] "
        "Conns=[Series Wye]\n",
        WYE_LOADS,
        "12.47 4.16",
    ),
    "three levels": (
        "New Transformer.up Phases=3 XHL=6 Buses=[a m] kVs=[12.47 4.16] kVAs=[900 900] "
        "Conns=[Delta Wye]\nNew Line.m Bus1=m Bus2=n LineCode=three Length=0.5 Units=km\n"
        "New Transformer.t Phases=3 XHL=4 Buses=[n c] kVs=[4.16 0.48] kVAs=[300 300] "
        "Conns=[Delta Wye]\n",
        WYE_LOADS,
        "12.47 4.16 0.48",
    ),
    "explicit neutrals": (
        "New Transformer.t Phases=3 XHL=4 Buses=[a m.1.2.3.4] kVs=[12.47 0.48] kVAs=[300 300] "
        "Conns=[Delta Wye]\n"
        "New Reactor.g1 Phases=1 Bus1=m.4 Bus2=m.0 R=5 X=0\n"
        "New Reactor.g2 Phases=1 Bus1=c.4 Bus2=c.0 R=25 X=0\n"
        "New LineCode.four NPhases=4 Units=km\n"
        "~ RMatrix=[0.3 | 0.05 0.3 | 0.05 0.05 0.3 | 0.05 0.05 0.05 0.3]\n"
        "~ XMatrix=[0.5 | 0.2 0.5 | 0.2 0.2 0.5 | 0.2 0.2 0.2 0.5]\n"
        "New Line.lv Phases=4 Bus1=m.1.2.3.4 Bus2=c.1.2.3.4 LineCode=four Length=0.1 Units=km\n"
        "New Load.n1 Phases=1 Bus1=c.1.4 kV={ln} kW={p} kvar={q}\n"
        "New Load.n3 Phases=3 Bus1=c.1.2.3.4 kV={ll} kW={p} kvar={q} Model=8 "
        "ZIPV=[0.5 0.3 0.2 0.4 0.4 0.2 0]\n",
        "",
        "12.47 0.48",
    ),
    "mesh": (
        "New Line.x Bus1=a Bus2=c LineCode=three Length=3 Units=km\n"
        "New Line.y Bus1=a Bus2=d LineCode=three Length=2 Units=km\n"
        "New Line.z Bus1=d Bus2=c LineCode=three Length=2.5 Units=km\n"
        "New Load.d Bus1=d kV=12.47 kW={p} kvar={q}\n",
        WYE_LOADS,
        "12.47",
    ),
    "switches": (
        "New Line.s1 Bus1=a Bus2=b Switch=Yes\nNew Line.s2 Bus1=b Bus2=c Switch=Yes\n"
        "New Line.s3 Bus1=a Bus2=c Switch=Yes\nOpen Line.s3 1\n"
        "New Line.s4 Bus1=b Bus2=d Switch=Yes\nOpen Line.s4 1\n"
        "New Line.s5 Bus1=b Bus2=e Switch=Yes\nOpen Line.s5 1 2\n"
        "New Load.e Phases=3 Bus1=e kV=12.47 kW={p} kvar={q}\n",
        WYE_LOADS,
        "12.47",
    ),
    "switch of one phase": (
        "New Line.s Phases=1 Bus1=a.2 Bus2=c.2 Switch=Yes\n"
        "New Line.r Phases=2 Bus1=a.1.3 Bus2=c.1.3 R1=0.2 X1=0.3 Length=1\n",
        WYE_LOADS,
        "12.47",
    ),
    "capacitors and reactors": (
        "New Reactor.series Phases=3 Bus1=a Bus2=c R=0.5 X=3\n"
        "New Capacitor.wye Bus1=c kV=12.47 kvar=300\n"
        "New Capacitor.delta Bus1=c Conn=Delta kV=12.47 kvar=150 NumSteps=3 States=[1 0 1]\n"
        "New Reactor.shunt Bus1=c kV=12.47 kvar=60 R=2\n"
        "New Capacitor.one Phases=1 Bus1=c.2 kV=7.2 kvar=50\n"
        "New Capacitor.series Phases=3 Bus1=c Bus2=d kvar=9000 kV=12.47\n"
        "New Load.d Bus1=d kV=12.47 kW={p} kvar={q}\n",
        WYE_LOADS,
        "12.47",
    ),
    "controlled capacitor": (
        "New Line.x Bus1=a Bus2=c LineCode=three Length=3 Units=km\n"
        "New Capacitor.c1 Bus1=c kV=12.47 kvar=300\n"
        "New CapControl.cc Element=Line.x Terminal=2 Capacitor=c1 Type=Voltage PTRatio=60 "
        "ONsetting=125 OFFsetting=130\n",
        WYE_LOADS,
        "12.47",
    ),
    "several sources": (
        "New Line.x Bus1=a Bus2=c LineCode=three Length=3 Units=km\n"
        "New Vsource.second Bus1=d BasekV=12.47 pu=0.99 Angle=-1 R1=0.4 X1=1.5 R0=0.4 X0=1\n"
        "New Line.y Bus1=d Bus2=c LineCode=three Length=1 Units=km\n"
        "New Vsource.third Phases=1 Bus1=c.2 BasekV=7.2 pu=1.01 Angle=-122 R1=20 X1=20\n"
        "New Isource.fourth Phases=1 Bus1=c.3 Amps=4 Angle=80\n",
        WYE_LOADS,
        "12.47",
    ),
    "a source in series": (
        "New Vsource.boost Bus1=c Bus2=a BasekV=0.4 pu=1 Angle=10 R1=0.01 X1=0.1 R0=0.01 X0=0.1\n",
        WYE_LOADS,
        "12.47",
    ),
    "a fault": (
        "New Line.x Bus1=a Bus2=c LineCode=three Length=3 Units=km\n"
        "New Fault.f Phases=1 Bus1=c.1 Bus2=c.2 R=2000\n",
        WYE_LOADS,
        "12.47",
    ),
    "regulators in open delta": (
        bank(
            ("a.1.2", 12.47, "c.1.2", 12.47, "Delta Delta"),
            ("a.3.2", 12.47, "c.3.2", 12.47, "Delta Delta"),
            kva=2000,
        )
        + "New Line.jumper Phases=1 Bus1=a.2 Bus2=c.2 Switch=Yes\n"
        "~ R1=0.001 X1=0.001 C1=0\n"
        "New RegControl.r0 Transformer=t0 Winding=2 VReg=122 Band=2 PTRatio=104\n"
        "New RegControl.r1 Transformer=t1 Winding=2 VReg=122 Band=2 PTRatio=104\n"
        "Transformer.t0.Wdg=2\nTransformer.t0.Tap=1.0375\nTransformer.t1.Taps=[1 0.98125]\n",
        DELTA_LOADS,
        "12.47",
    ),
}


def write(tmp_path: pathlib.Path, case: str, scale: float = 1.0, pu: float = 1.0) -> pathlib.Path:
    network, loads, bases = NETWORKS[case]
    kv = {"4.16": 4.16, "12.47": 12.47, "0.48": 0.48, "0.208": 0.208}[bases.split()[-1]]
    p = scale * (2000.0 / 3 if kv > 1 else 30.0)
    p = 10.0 * scale if "centre tap" in case else p
    values = {"p": p, "q": 0.4 * p, "half": p / 2, "ll": kv, "ln": kv / 3**0.5}
    path = tmp_path / "Master.dss"
    text = HEAD.format(pu=pu) + (network + loads).format(**values)
    text += f"Set VoltageBases=[{bases}]\nCalcVoltageBases\n"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("case", NETWORKS)
def test_each_kind_at_every_load(case, tmp_path, read_and_compare):
    for pu in (0.9, 1.0, 1.08):
        for scale in (0.3, 1.0, 2.0, -1.0):
            feeder = read_and_compare(write(tmp_path, case, scale, pu))
    assert len(feeder.terminals)
    assert np.isfinite(feeder.branches.rating_a).all()
    assert (feeder.branches.rating_a > 0).all()
    # Every branch has conductors, so that its loading means something.
    assert set(feeder.branches.conductor_branch) == set(range(len(feeder.branches)))


@pytest.mark.parametrize("case", NETWORKS)
def test_currents_and_losses_too(case, tmp_path, read_and_compare):
    feeder = read_and_compare(write(tmp_path, case))
    report = validate_feeder(feeder, num_random=3)
    nominal = report.rows[0]
    assert nominal.case == "nominal"
    assert nominal.max_error_pu < 1e-8
    assert nominal.max_current_error_a < 1e-4
    assert nominal.max_loss_error_kw < 1e-4


def test_a_branch_of_three_terminals(tmp_path, read_and_compare):
    branches = read_and_compare(write(tmp_path, "three windings")).branches
    i = branches.name.index("transformer.t")
    assert (branches.bus_from[i], branches.bus_to[i]) == ("a", "c")
    assert branches.rating_a[i] == pytest.approx(500 / (3**0.5 * 12.47))
    branches = read_and_compare(write(tmp_path, "centre tap")).branches
    i = branches.name.index("transformer.t")
    assert (branches.bus_from[i], branches.bus_to[i]) == ("a", "c")
    assert branches.rating_a[i] == pytest.approx(50 / 7.2)


def test_sources_are_where_they_are(tmp_path, read_and_compare):
    feeder = read_and_compare(write(tmp_path, "several sources"))
    at = {feeder.node_names[k] for k in np.flatnonzero(feeder.is_source_node)}
    assert at == {f"{bus}.{k}" for bus in ("head", "d") for k in (1, 2, 3)} | {"c.2", "c.3"}


def test_taps_of_open_delta_regulators(tmp_path, read_and_compare):
    feeder = read_and_compare(write(tmp_path, "regulators in open delta"))
    assert feeder.regulators.tap.tolist() == [6, -3]
    feeder = read_and_compare(write(tmp_path, "regulators in open delta"), taps={"r0": 6})
    assert feeder.regulators.bus == ("c", "c")


@pytest.mark.parametrize(
    ("told", "is_open"),
    [
        ("", False),
        ("Action=Open", True),
        ("Normal=Open", True),
        ("State=Open", True),
        ("Action=Open Lock=Yes", False),
        ("Action=Open\nEdit SwtControl.sc Action=Close", False),
    ],
)
def test_switch_controls_do_what_they_were_told(
    told, is_open, write_circuit, read_and_compare, solve_ours
):
    body = (
        "New Line.sw Bus1=b.1.2.3 Bus2=c.1.2.3 Phases=3 Switch=Yes\n"
        "New Line.long Bus1=b.1.2.3 Bus2=c.1.2.3 Phases=3 R1=1 X1=1 R0=1 X0=1 C1=0 C0=0\n"
        f"New SwtControl.sc SwitchedObj=Line.sw SwitchedTerm=1 {told}\n"
        "New Load.x Bus1=c.1.2.3 Phases=3 kV=0.4 kW=10\n"
    )
    feeder = read_and_compare(write_circuit(body))
    # OpenDSS itself, controls on.
    engine = borrow_engine()
    try:
        compile_circuit(engine, write_circuit(body))
        engine.Text.Command = "Set ControlMode=Static Tolerance=1e-10"
        engine.ActiveCircuit.Solution.Solve()
        volts = np.asarray(engine.ActiveCircuit.YNodeVarray).view(np.complex128)
    finally:
        return_engine(engine)
    expected = np.abs(volts) / feeder.node_kv_base / 1e3
    np.testing.assert_allclose(np.abs(solve_ours(feeder)), expected, atol=1e-6)
    low = expected[feeder.node_names.index("c.1")] < 0.95
    assert low == is_open

"""What users write without meaning harm: odd nodes, units, ratings, taps, switches."""

from __future__ import annotations

import pytest

from gradmap import Feeder, Network, solve_power_flow
from gradmap.feeders.errors import GradmapError

SOURCES = (0.86, 1.0, 1.1)
SWITCH = "New Line.sw Bus1=b.1.2.3.4 Bus2=c.1.2.3.4 Phases=4 Switch=Yes\n"
LINE = "New Line.l2 Bus1=b.1.2.3.4 Bus2=c.1.2.3.4 Phases=4 LineCode=four "
AT_C = "New Load.y Bus1=c.1.2.3 kV=0.4 kW=20 kvar=5\n"
# A second transformer with the taps where they are not usually.
STEP = (
    "New Transformer.t2 Phases=3 Windings=2 XHL=3 %LoadLoss=1\n"
    "~ Wdg=1 Bus=b.1.2.3 Conn=Wye kV=0.4 kVA=100{one}\n"
    "~ Wdg=2 Bus=d.1.2.3 Conn=Wye kV=0.4 kVA=100{two}\n"
    "New Load.z Bus1=d.1.2.3 kV=0.4 kW=40 kvar=10\n"
)
BANK = "".join(
    f"New Transformer.r{k} Phases=1 Windings=2 XHL=0.5 kVAs=[50 50] kVs=[0.231 0.231]\n"
    f"~ %LoadLoss=0.1 Buses=[b.{k} r.{k}] Wdg=2 Tap={tap} MaxTap=1.1 MinTap=0.9 NumTaps=32\n"
    f"New RegControl.c{k} Transformer=r{k} Winding=2 VReg=120 Band=2 PTRatio=2\n"
    for k, tap in ((1, 1.0125), (2, 0.975), (3, 1.05))
)
BODIES = {
    "phases out of order": "New Load.x Bus1=b.2.3.1 kV=0.4 kW=30 kvar=9 Model=3\n",
    "delta out of order": "New Load.x Bus1=b.3.1.2 Conn=Delta kV=0.4 kW=30 kvar=9 Model=5\n",
    "delta, one way round and the other": (
        "New Load.x Bus1=b.1.2.3 Conn=Delta kV=0.4 kW=9\n"
        "New Load.y Bus1=b.3.2.1 Conn=Delta kV=0.4 kW=12 PF=-0.9\n"
    ),
    "two phases without nodes": "New Load.x Bus1=b Phases=2 kV=0.4 kW=9 kvar=3\n",
    "from ground to a node": "New Load.x Bus1=b.0.2 Phases=1 kV=0.23 kW=5 kvar=1\n",
    "delta with a corner at ground": "New Load.x Bus1=b.0.2.1 Conn=Delta kV=0.4 kW=9 Model=5\n",
    "generator from ground to a node": (
        "New Generator.x Bus1=b.0.2 Phases=1 kV=0.23 kW=5 kvar=1\n"
        "New Load.y Bus1=b.2 Phases=1 kV=0.23 kW=5\n"
    ),
    "negative, zero and reactive alone": (
        "New Load.x Bus1=b.1 Phases=1 kV=0.23 kW=-8 kvar=-2\n"
        "New Load.y Bus1=b.2 Phases=1 kV=0.23 kW=0 kvar=0\n"
        "New Load.z Bus1=b.3 Phases=1 kV=0.23 kW=0 kvar=-6\n"
    ),
    "line voltage for phase voltage": "New Load.x Bus1=b.1 Phases=1 kV=0.4 kW=9 kvar=2\n",
    "phase voltage for line voltage": "New Load.x Bus1=b.1.2.3 kV=0.23 kW=9 kvar=2\n",
    "a voltage of another level": "New Load.x Bus1=b.1.2.3 kV=12.47 kW=900 kvar=2\n",
    "disabled": (
        "New Load.x Bus1=b.1.2.3 kV=0.4 kW=9\nNew Load.y Bus1=b.1.2.3 kV=0.4 kW=90 Enabled=No\n"
        f"{SWITCH}New Line.off Bus1=c.1.2.3 Bus2=b.2.3.1 Length=1 Enabled=No\n"
        "New Capacitor.off Bus1=c kV=0.4 kvar=100 Enabled=No\n"
        "New Load.z Bus1=c.1 Phases=1 kV=0.23\n"
    ),
    "a load multiplier and a load that is fixed": (
        "New Load.x Bus1=b.1.2.3 kV=0.4 kW=20 PF=0.9\n"
        "New Load.y Bus1=b.1.2.3 kV=0.4 kW=20 kVA=22 Status=Fixed\nSet LoadMult=0.7\n"
    ),
    "allocated and metered": (
        "New Load.x Bus1=b.1.2.3 kV=0.4 XfkVA=30 AllocationFactor=0.6 PF=0.95\n"
        "New Load.y Bus1=b.1.2.3 kV=0.4 kWh=5000 kWhdays=30 Cfactor=4 PF=0.95\n"
    ),
    "length in feet": f"{LINE} Length=900 Units=ft\n{AT_C}",
    "length without units": f"{LINE} Length=0.3\n{AT_C}",
    "a line of a millimetre": f"{LINE} Length=0.001 Units=m\n{AT_C}",
    "a line of sequence impedances, in miles": (
        "New Line.l2 Bus1=b.1.2.3 Bus2=c.1.2.3 R1=0.3 X1=0.4 R0=0.9 X0=1.2 C1=12 C0=6 Length=0.2 "
        f"Units=mi\n{AT_C}"
    ),
    "a line that swaps phases": (
        "New Line.l2 Bus1=b.1.2.3.4 Bus2=c.2.3.1.4 Phases=4 LineCode=four Length=50 Units=m\n"
        f"{AT_C}"
    ),
    "a line of a geometry": (
        "New WireData.w RUnits=km Rac=0.3 GMRUnits=m GMRac=0.005 RadUnits=mm Diam=12 NormAmps=300\n"
        "New LineGeometry.g NConds=4 NPhases=3 Reduce=Yes\n"
        "~ Cond=1 Wire=w X=-1 H=9 Units=m\n~ Cond=2 Wire=w X=0 H=9 Units=m\n"
        "~ Cond=3 Wire=w X=1 H=9 Units=m\n~ Cond=4 Wire=w X=0 H=8 Units=m\n"
        f"New Line.l2 Bus1=b.1.2.3 Bus2=c.1.2.3 Geometry=g Length=150 Units=m\n{AT_C}"
    ),
    "a switch with a load behind": SWITCH + AT_C,
    "one conductor open": f"{LINE} Length=0.05\n{AT_C}Open Line.l2 1 2\n",
    "a transformer with the first winding open": (
        f"{STEP.format(one='', two='')}Open Transformer.t2 1\n"
        "New Line.tie Bus1=b.1.2.3 Bus2=d.1.2.3 Length=0.01 R1=0.3 X1=0.3 R0=0.3 X0=0.3 C1=0 C0=0\n"
    ),
    "taps of the first winding": STEP.format(one=" Tap=0.95", two=""),
    "taps of both windings": STEP.format(one=" Tap=1.025", two=" Tap=0.9625"),
    "a regulator on the first winding": STEP.format(
        one=" Tap=0.9875 MinTap=0.9 MaxTap=1.1 NumTaps=16", two=""
    )
    + "New RegControl.ltc Transformer=t2 Winding=2 TapWinding=1 VReg=120 Band=2 PTRatio=2\n",
    "a substation's taps and regulators of each phase": (
        f"{BANK}New RegControl.ltc Transformer=t1 Winding=2 VReg=120 Band=2 PTRatio=2\n"
        "Transformer.t1.Wdg=2 Tap=1.025\n"
        "New Load.x Bus1=r.1.2.3 kV=0.4 kW=50 kvar=20\nNew Load.y Bus1=r.1 Phases=1 kV=0.23 kW=9\n"
    ),
    "a capacitor in delta and one in steps": (
        "New Load.x Bus1=b.1.2.3 kV=0.4 kW=20\nNew Capacitor.c1 Bus1=b Conn=Delta kV=0.4 kvar=20\n"
        "New Capacitor.c2 Bus1=b kV=0.4 NumSteps=3 kvar=[5 5 10] States=[1 0 1]\n"
    ),
    "a line's data for another frequency": f"{LINE} Length=0.2 BaseFreq=50\n{AT_C}",
    "settings of the solution": (
        f"{LINE} Length=0.2\n{AT_C}Set Algorithm=Newton NeglectLoadY=Yes Tolerance=0.01\n"
        "Set GenMult=0.5\nSet Mode=Daily Hour=5 Number=3\nSolve\n"
    ),
    "a day that has been solved": (
        "New Loadshape.s NPts=3 Interval=1 Mult=[0.5 1.5 0.7]\n"
        "New Load.x Bus1=b kV=0.4 kW=30 kvar=9 Daily=s\n"
        "New Generator.g Bus1=b kV=0.4 kW=9 Daily=s\n"
        "New Storage.st Bus1=b kV=0.4 kWRated=9 kWhRated=20 kWhStored=9 State=Discharging\n"
        "Set VoltageBases=[12.47 0.4]\nCalcVoltageBases\nSolve Mode=Daily Number=2\n"
    ),
    "controls that have acted": (
        f"{BANK}New Load.x Bus1=r.1.2.3 kV=0.4 kW=50 kvar=20\n"
        "New Capacitor.c Bus1=r kV=0.4 kvar=9\n"
        "New CapControl.cc Element=Line.l1 Terminal=1 Capacitor=c Type=kvar On=100 Off=-50\n"
        "Set VoltageBases=[12.47 0.4]\nCalcVoltageBases\nSolve\n"
    ),
    "names that look alike": (
        "New Load.x Bus1=b.1.2.3 kV=0.4 kW=9\nNew Load.x.1 Bus1=b.1 Phases=1 kV=0.23 kW=3\n"
        "New Load.X_1 Bus1=B.1 Phases=1 kV=0.23 kW=3\n"
    ),
    "a load on a series resistance and reactance": (
        "New Load.x Bus1=b.1.2.3 kV=0.4 kW=20 kvar=9 %SeriesRL=100 RNeut=5 XNeut=1\n"
    ),
}


@pytest.mark.parametrize("case", BODIES)
def test_oddities_are_as_opendss_has_them(case, write_circuit, read_and_compare):
    for pu in SOURCES:
        read_and_compare(write_circuit(BODIES[case], pu=pu))


@pytest.mark.parametrize("case", BODIES)
def test_sparse_elimination_agrees(case, write_circuit):
    feeder = Feeder.from_dss(write_circuit(BODIES[case]))
    found = []
    for method in ("dense", "sparse"):
        network = Network.from_feeder(feeder, method=method)
        powers = network.p_nominal_kw, network.q_nominal_kvar
        flow = solve_power_flow(network, *powers, tolerance_pu=1e-11, max_iterations=1000)
        assert bool(flow.converged)
        found.append(flow.v_pu)
    assert float((found[0] - found[1]).abs().max()) < 1e-9


NOWHERE = {
    "across one node twice": "New Load.x Bus1=b.1.1 Phases=1 kV=0.23 kW=9\n",
    "a delta of two nodes": "New Load.x Bus1=b.1.1.2 Phases=3 Conn=Delta kV=0.4 kW=9\n",
    "ground to ground": "New Load.x Bus1=b.0.0 Phases=1 kV=0.23 kW=5\n",
    "generator": "New Generator.x Bus1=b.2.2 Phases=1 kV=0.23 kW=5\n",
}


@pytest.mark.parametrize("case", NOWHERE)
def test_what_lies_at_one_node_is_refused(case, write_circuit, read_and_compare):
    path = write_circuit(f"{NOWHERE[case]}New Load.y Bus1=b.1 Phases=1 kV=0.23 kW=3\n")
    with pytest.raises(GradmapError, match=r"\.x has a phase with both ends at one node"):
        Feeder.from_dss(path)
    assert len(read_and_compare(path, on_unsupported="freeze").frozen) == 1


# What is written, and the names of its terminals.
ALIKE = {
    "three phases and one": (
        "New Load.x Bus1=b kV=0.4 kW=9\nNew Load.x.1 Bus1=b.1 Phases=1 kV=0.23 kW=3\n",
        ("load.x.1", "load.x.2", "load.x.3", "x.1"),
    ),
    "one and three phases": (
        "New Load.x.1 Bus1=b.1 Phases=1 kV=0.23 kW=3\nNew Load.x Bus1=b kV=0.4 kW=9\n",
        ("x.1", "load.x.1", "load.x.2", "load.x.3"),
    ),
    "the way out is taken as well": (
        "New Load.x Bus1=b kV=0.4 kW=9\nNew Load.x.2 Bus1=b.1 Phases=1 kV=0.23 kW=3\n"
        "New Load.load.x Bus1=b kV=0.4 kW=9\nNew Load.load.x.3 Bus1=b.3 Phases=1 kV=0.23 kW=3\n",
        (
            *("load.load.x.1", "load.load.x.2", "load.load.x.3", "x.2"),
            *("load.load.load.x.1", "load.load.load.x.2", "load.load.load.x.3", "load.x.3"),
        ),
    ),
    "three phases twice": (
        "New Load.x Bus1=b kV=0.4 kW=9\nNew Load.x.1 Bus1=b kV=0.4 kW=3\n",
        ("x.1", "x.2", "x.3", "x.1.1", "x.1.2", "x.1.3"),
    ),
    "a load and a generator": (
        "New Load.generator.x Bus1=b.1 Phases=1 kV=0.23 kW=3\n"
        "New Generator.x Bus1=b.1 Phases=1 kV=0.23 kW=3\n",
        ("load.generator.x", "generator.x"),
    ),
    "generators": (
        "New Generator.x Bus1=b kV=0.4 kW=9\nNew Generator.x.1 Bus1=b.1 Phases=1 kV=0.23 kW=3\n",
        (*(f"generator.generator.x.{k}" for k in (1, 2, 3)), "generator.x.1"),
    ),
}


@pytest.mark.parametrize("case", ALIKE)
def test_no_two_terminals_have_a_name(case, write_circuit, read_and_compare):
    text, names = ALIKE[case]
    assert read_and_compare(write_circuit(text)).terminals.name == names


@pytest.mark.parametrize("on_unsupported", ["raise", "freeze"])
def test_elements_of_one_name_are_refused(on_unsupported, write_circuit):
    body = "Set AllowDuplicates=Yes\nNew Load.x Bus1=b kV=0.4 kW=9\nNew Load.X Bus1=b kV=0.4\n"
    with pytest.raises(GradmapError, match=r"several elements are called load.x: a name for each"):
        Feeder.from_dss(write_circuit(body), on_unsupported=on_unsupported)

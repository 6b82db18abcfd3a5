"""A circuit's file may do no more than define a circuit."""

from __future__ import annotations

import os
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradmap import Feeder
from gradmap.feeders.dss_engine import borrow_engine, quiet, return_engine
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.dss_text import parameters
from gradmap.feeders.errors import GradmapError

LOAD = "New Load.x Bus1=b.1 Phases=1 kV=0.23 kW=1\n"

# What many a utility's master file ends with, and everything that writes.
REPORTS = """
Show Voltages LN Nodes
show currents elem
Sh v
Plot Profile Phases=All
plot circuit power max=2000 n n C1=$00FF0000
Export Voltages
export voltages {evil}/voltages.csv
Expo powers {evil}/powers.csv
"export" currents {evil}/currents.csv
EXPORT cdpsmasid {evil}/cim.xml
Save Circuit Dir={evil}/saved
save circuit dir="{evil}/saved2"
Dump
dump line.* debug
Visualize What=voltages element=line.l1
Summary
Distribute kW=10 how=uniform file={evil}/gen.dss
CvrtLoadshapes
Rephase StartLine=line.l1 PhaseDesignation=.1 ScriptFileName={evil}/rephase.dss
AlignFile file={here}
Uuids file={here}
Formedit load.x
Fileedit {here}
CD {evil}
Set DataPath={evil}
Set DataPath={evil}/made
Set Editor={evil}/program
Set Recorder=Yes
Set TraceControl=Yes ShowExport=Yes
Set DemandInterval=Yes DIVerbose=Yes casename={evil}/case
Set QueryLog=Yes Log=Yes EventLogDefault=Yes
Set DSSVisualizationTool={evil}/program
Solve
Solve mode=yearly number=3
New Generator.g Bus1=b.1.2.3 kV=0.4 kW=1 DebugTrace=Yes
~ debug=true
Generator.g.DebugTrace=Yes
BatchEdit Generator..* DebugTrace=Yes
New Monitor.m Element=Line.l1 Terminal=1 Action=Save
New Loadshape.s NPts=2 Interval=1 Mult=[1 2] Action=DblSave
~ act=sngsave
LoadShape.s.Action=SngSave
New EnergyMeter.em Element=Line.l1 Terminal=1 Action=ZoneDump
Solve mode=daily number=2
Set mode=snap
Solve
CloseDI
Sample
"""
REFUSED = {
    "DOScmd touch {evil}/file": "`DOScmd` may not stand in a circuit's file",
    "dos touch {evil}/file": "`dos` may not stand",
    '"DOScmd" touch {evil}/file': "`DOScmd` may not stand",
    "New Generator.g Bus1=b.1 Phases=1 kV=0.23 kW=1 UserModel={evil}/lib.so": "loads code",
    "New Generator.g kW=1 user={evil}/lib.so": "loads code",
    "New Generator.g kW=1 us={evil}/lib.so": "write the property's whole name",
    "New Generator.g kW=1\n~ shaftmodel={evil}/lib.so": "loads code",
    "New Generator.g kW=1\nGenerator.g.UserModel={evil}/lib.so": "loads code",
    "New Generator.g kW=1\ng.UserModel={evil}/lib.so": "loads code",
    "New Generator.g kW=1\nUserModel={evil}/lib.so": "loads code",
    "New Generator.g kW=1\nEdit Generator.g UserModel=({evil}/lib.so)": "loads code",
    "New Generator.g kW=1\nSelect Generator.g\nMore UserModel={evil}/lib.so": "loads code",
    "New Generator.g kW=1\nSet class=Generator\n~ UserModel={evil}/lib.so": "loads code",
    "New Generator.g kW=1\nBatchEdit Generator..* UserModel={evil}/lib.so": "loads code",
    "New PVSystem.g UserModel={evil}/lib.so": "loads code",
    "New Storage.g DynaDLL={evil}/lib.so": "loads code",
    "New Storage.g UserModel={evil}/lib.so": "loads code",
    "New Generator.g Xdpp=0.2 1 1 {evil}/lib.so": "without its property's name",
    "New Generator.g 1 b 0.2 1 1 1 1 1 1 1 1 1 1 1 1": "without its property's name",
    "New Loadshape.x NPts=2 1 [1 2] '' '' '' '' '' '' sngsave": "without its property's name",
    "New @what.g UserModel={evil}/lib.so": "loads code",
    "New Generator.g @p={evil}/lib.so": "names a property by a variable",
    "Var @x=export\n@x voltages {evil}/v.csv": "is unknown",
    "@lastfile": "is unknown",
    'Load.x.kW={{1" model="1}}': "double quote",
    "Set mode=AutoAdd": "may write files",
    "Solve mode=(autoadd)": "may write files",
    "Set mode=@x": "may write files",
    "Set nonsense=1": "no option of OpenDSS",
    'Reconductor Line1=Line.l1 Line2=Line.l1 EditString="export voltages"': "may not stand",
    'Remove ElementName=Line.l1 EditString="export voltages"': "may not stand",
    "NewActor": "may not stand",
    "Nonsense": "`Nonsense` is unknown",
    # OpenDSS writes past the end of its memory.
    "New Load.many Phases=4 Bus1=b.1.2.3.4 kV=0.23 kW=1": "load of '4' phases",
    "New Load.many 4 b.1.2.3.4 0.23 1": "load of '4' phases",
    "Load.x.Phases=12": "load of '12' phases",
    "New Load.y Like=x\n~ ph=(2 2 *)": "load of '2 2 *' phases",
    "BatchEdit Load..* phases=@lots": "load of '@lots' phases",
}


@pytest.fixture
def evil(tmp_path_factory):
    """A folder beside the circuit's that must stay empty."""
    return tmp_path_factory.mktemp("evil")


def listing(*folders):
    return sorted(str(path) for folder in folders for path in pathlib.Path(folder).rglob("*"))


def test_reports_are_left_out_and_nothing_is_written(write_circuit, tmp_path, evil, monkeypatch):
    tail = "Set VoltageBases=[12.47 0.4]\nCalcVoltageBases\n"
    path = write_circuit(LOAD, tail=tail)
    text = REPORTS.format(evil=evil, here=path)
    path = write_circuit(LOAD, tail=tail + text)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = listing(tmp_path, evil)
    feeder = Feeder.from_dss(path)
    with OpenDSSReplay(feeder) as replay:
        replay.solve([0.0] * replay.num_terminals, [0.0] * replay.num_terminals)
    assert listing(tmp_path, evil) == before
    assert os.getcwd() == str(elsewhere)
    # Every line of them is told, but what defines or solves something.
    told = {int(note.partition("line ")[2].partition(":")[0]) for note in feeder.notes}
    lines = path.read_text(encoding="utf-8").splitlines()
    plain = ("Solve", "New Generator", "Set mode=snap", "BatchEdit Gen", "New Monitor")
    first = lines.index("Show Voltages LN Nodes") + 1
    quiet_lines = [
        line for k, line in enumerate(lines, 1) if k >= first and k not in told and line.strip()
    ]
    assert [line for line in quiet_lines if not line.startswith(plain)] == []
    assert "Small.dss, line 17: `show` is left out" in feeder.notes


@pytest.mark.parametrize("text", REFUSED)
def test_what_could_do_harm_is_refused(text, write_circuit, tmp_path, evil):
    path = write_circuit(LOAD + text.format(evil=evil) + "\n")
    before = listing(tmp_path, evil)
    with pytest.raises(GradmapError) as error:
        Feeder.from_dss(path)
    assert listing(tmp_path, evil) == before
    message = str(error.value)
    assert REFUSED[text] in message
    assert "Small.dss, line 1" in message
    assert "\n" not in message


def test_harmless_properties_of_the_same_names_stay(write_circuit):
    body = (
        "New Loadshape.s NPts=2 Interval=1 Mult=[1 2] Action=Normalize\n"
        "New Loadshape.t 2 1 [1 2]\n"
        "New Line.sw Bus1=b.1.2.3 Bus2=c.1.2.3 Phases=3 Switch=Yes\n"
        "New SwtControl.sc SwitchedObj=Line.sw SwitchedTerm=1 Action=Close\n"
        "New Generator.g Bus1=b.1.2.3 kV=0.4 kW=1 D=1 H=2 DebugTrace=No\n"
    )
    assert Feeder.from_dss(write_circuit(LOAD + body)).notes == ()


def test_comments_are_not_commands(write_circuit):
    body = (
        "! DOScmd echo\n// DOScmd echo\n  ! DOScmd\n/* a block\nDOScmd echo\n*/\n"
        "New Load.y Bus1=b.1 Phases=1 kV=0.23 kW=1 ! UserModel=x\n~ kvar=1 // DOScmd\n"
        "/* one line */\n\n   \t\n"
    )
    feeder = Feeder.from_dss(write_circuit(LOAD + body))
    assert feeder.terminals.name == ("x", "y")
    assert feeder.terminals.q_kvar[1] == 1.0
    assert feeder.notes == ()


def test_redirects(write_circuit, tmp_path):
    parts = tmp_path / "Parts"
    parts.mkdir()
    (parts / "more").mkdir()
    (parts / "Loads.dss").write_text("redirect more\\deep.dss\nredirect ../side.dss\n")
    (parts / "more" / "deep.dss").write_text("New Load.deep Bus1=b.1 Phases=1 kV=0.23 kW=1\n")
    (tmp_path / "side.dss").write_text("New Load.side Bus1=b.1 Phases=1 kV=0.23 kW=1\n")
    (parts / "xy.csv").write_text("a, 1, 2\nb, 3, 4\n")
    feeder = Feeder.from_dss(
        write_circuit(
            "Redirect Parts/Loads\n",
            tail="Set VoltageBases=[12.47 0.4]\nCalcVoltageBases\nBuscoords Parts\\xy.csv\n",
        )
    )
    assert feeder.terminals.name == ("deep", "side")
    assert feeder.bus_xy.tolist()[1:] == [[1.0, 2.0], [3.0, 4.0]]


def test_compile_leaves_its_folder_behind(write_circuit, tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "one.dss").write_text("")
    (parts / "two.dss").write_text(LOAD)
    feeder = Feeder.from_dss(write_circuit("compile parts/one.dss\nredirect two.dss\n"))
    assert feeder.terminals.name == ("x",)


def test_wrong_case_missing_and_looping_files(write_circuit, tmp_path):
    (tmp_path / "Parts").mkdir()
    (tmp_path / "Parts" / "Loads.dss").write_text("Redirect ../Small.dss\n")
    here = str(tmp_path / "Parts" / "Loads.dss")
    for name in (
        "parts/Loads.dss",
        "Parts/loads.DSS",
        "parts\\loads",
        "../" + tmp_path.name.upper(),
    ):
        with pytest.raises(GradmapError) as error:
            Feeder.from_dss(write_circuit(f"Redirect {name}\n"))
        text = str(error.value)
        assert f"Small.dss, line 13: no file {name!r}" in text
        assert (f"there is {here!r}: upper and lower case differ" in text) == ("oads" in name)
    (tmp_path / "XY.csv").write_text("a, 1, 2\n")
    with pytest.raises(GradmapError, match=r"no file 'xy.csv'; there is .*XY.csv"):
        Feeder.from_dss(write_circuit("", tail="\nBusCoords xy.csv\n"))
    with pytest.raises(GradmapError, match=r"Loads.dss, line 1: Small.dss leads back to itself"):
        Feeder.from_dss(write_circuit("Redirect Parts/Loads.dss\n"))
    with pytest.raises(GradmapError, match="no file '/dev/zero'"):
        Feeder.from_dss(write_circuit("Redirect /dev/zero\n"))


def test_a_file_that_is_no_text(write_circuit):
    path = write_circuit("")
    path.write_bytes(path.read_bytes().replace(b"New Circuit", b"New\0Circuit"))
    with pytest.raises(GradmapError, match="holds a zero byte"):
        Feeder.from_dss(path)
    path = write_circuit(LOAD)
    path.write_bytes(b"\xef\xbb\xbf! caf\xe9\r\n" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert Feeder.from_dss(path).terminals.name == ("x",)


@pytest.fixture(scope="module")
def engine():
    engine = borrow_engine()
    yield engine
    return_engine(engine)


# Without `@`: asked this way, OpenDSS crashes on a variable.
LINES = st.text(alphabet="ab=,.! \t/'\"()[]{}|12~", max_size=24)


@settings(max_examples=400)
@given(line=LINES)
def test_lines_are_cut_as_opendss_cuts_them(line, engine):
    with quiet():
        parser = engine.Parser
        parser.CmdString = line
        for part in parameters(line):
            assert parser.NextParam == part.name
            assert parser.StrValue == part.value
        assert (parser.NextParam, parser.StrValue) == ("", "")

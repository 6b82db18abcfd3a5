"""A circuit's file may do no more than define a circuit."""

from __future__ import annotations

import os
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradmap import Feeder, load_feeder
from gradmap.feeders import dss_policy, dss_script
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
    "New Load.g\nVar @v='1\" UserModel={evil}/x \"'\nGenerator.g.kW=@v": "to a variable",
    # Commands that may leave another object active than the one they name.
    "New Generator.line kW=1\nSelect line\n~ UserModel={evil}/lib.so": "loads code",
    "New Generator.line kW=1\nEdit line UserModel={evil}/lib.so": "loads code",
    "New Generator.g kW=1\nEdit Circuit.small\n~ UserModel={evil}/lib.so": "loads code",
    "New Generator.g kW=1\nSelect Circuit.small\n~ UserModel={evil}/lib.so": "loads code",
    "New Generator.g kW=1\nBatchEdit Fuse..* Delay=1\n~ UserModel={evil}/lib.so": "loads code",
    "New Generator.g kW=1\nEdit Fuse.none\n~ UserModel={evil}/lib.so": "loads code",
    "New Generator.g kW=1\nReset,=1 UserModel={evil}/lib.so": "cannot be read without doubt",
    "New Generator.g kW=1\nNew,=1": "cannot be read without doubt",
    "Solve mode=harmonics": "may write files",
    "Set mode=h": "may write files",
    "Clear\nNew Circuit.../evil/x": "like a file",
    "Clear\nVar @x={evil}/x\nNew Circuit.@x": "like a file",
    "Set mode=AutoAdd": "may write files",
    "Solve mode=(autoadd)": "may write files",
    "Set mode=@x": "may write files",
    "Set nonsense=1": "no option of OpenDSS",
    'Reconductor Line1=Line.l1 Line2=Line.l1 EditString="export voltages"': "may not stand",
    'Remove ElementName=Line.l1 EditString="export voltages"': "may not stand",
    "NewActor": "may not stand",
    "Nonsense": "`Nonsense` is unknown",
    "\x1b[31mred": "`?[31mred` is unknown",
    # OpenDSS writes past the end of its memory, or takes all there is.
    "New Load.many Phases=4 Bus1=b.1.2.3.4 kV=0.23 kW=1": "sets phases to '4'",
    "New Load.many 4 b.1.2.3.4 0.23 1": "sets phases to '4'",
    "Load.x.Phases=12": "sets phases to '12'",
    "New Load.y Like=x\n~ ph=(2 2 *)": "sets phases to '2 2 *'",
    "BatchEdit Load..* phases=@lots": "sets phases to '@lots'",
    "New Transformer.y Phases=4": "sets phases to '4'",
    "New Transformer.y 3 5000": "sets windings to '5000'",
    "New Transformer.y Phases=3 5000": "sets windings to '5000'",
    "New Line.y Bus1=b Bus2=c p=30000": "sets phases to '30000'",
    "New Monitor.m Element=Line.l1 Terminal=0": "sets terminal to '0'",
    "New RegControl.r Transformer=t1 Winding=-1": "sets winding to '-1'",
    "New Loadshape.s NPts=2000000000": "sets npts to '2000000000'",
    "New XYCurve.c NPts=2 Points=[1 2 3 4]": "crashes OpenDSS",
    # Days of work.
    "Solve mode=daily number=1000000000": "sets number to '1000000000'",
    "Set MaxIterations=2000000000": "sets maxiterations to '2000000000'",
    "Set NUMANodes=1 7": "no option of OpenDSS",
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


def test_a_bus_is_no_command(write_circuit, evil):
    """What stands in for an element names its bus: the name may hold blanks."""
    bus = f"c UserModel={evil}/lib"
    body = (
        f'New Line.l2 Bus1=b.1.2.3.4 Bus2="{bus}.1.2.3.4" LineCode=four Length=0.1 Units=km\n'
        f'New Generator.g Bus1="{bus}.1" Phases=1 kV=0.23 kW=1\n'
        f'New Load.z Bus1="{bus}.2" Phases=1 kV=0.23 kW=1 Model=3\n'
    )
    feeder = Feeder.from_dss(write_circuit(LOAD + body), on_unsupported="freeze")
    with OpenDSSReplay(feeder, devices=False) as replay:
        assert replay.solve(feeder.terminals.p_kw, feeder.terminals.q_kvar).converged


def test_a_solution_writes_to_the_scratch_folder_alone(write_circuit, tmp_path, monkeypatch):
    """Should OpenDSS write in a mode that is taken for harmless."""
    monkeypatch.setattr(dss_policy, "MODES", ".")
    before = listing(tmp_path)
    tail = "Set VoltageBases=[12.47 0.4]\nCalcVoltageBases\nSolve\nSolve mode=harmonics\n"
    path = write_circuit(LOAD, tail=tail)
    Feeder.from_dss(path)
    assert listing(tmp_path) == sorted([*before, str(path)])


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
    with pytest.raises(GradmapError, match="'/dev/zero' is a device, expected an ordinary file"):
        Feeder.from_dss(write_circuit("Redirect /dev/zero\n"))


def test_files_without_end(write_circuit, tmp_path, monkeypatch):
    """Files that name the next one twice: the lines double with every level."""
    for level in range(40):
        text = f"Redirect {level + 1}.dss\n" * 2
        (tmp_path / f"{level}.dss").write_text(text)
    (tmp_path / "40.dss").write_text("! the end\n")
    monkeypatch.setattr(dss_script, "_MAX_LINES", 1000)
    with pytest.raises(GradmapError, match=r"more than 1,000 lines, at \d+.dss, line"):
        Feeder.from_dss(write_circuit("Redirect 0.dss\n"))
    monkeypatch.setattr(dss_script, "_MAX_DEPTH", 30)
    with pytest.raises(GradmapError, match=r"28.dss, line 1: more than 30 files deep"):
        Feeder.from_dss(write_circuit("Redirect 0.dss\n"))


def test_a_path_that_is_no_file(write_circuit, tmp_path):
    path = write_circuit(LOAD)
    with pytest.raises(
        GradmapError, match=r"is a folder; expected the master .*: one of Small.dss"
    ):
        load_feeder(str(tmp_path))
    with pytest.raises(GradmapError, match=r"no such file; .*; there is .*Small.dss': upper and"):
        load_feeder(str(path).replace("Small", "small"))
    with pytest.raises(GradmapError, match=r"no such file; expected the master file"):
        load_feeder(str(tmp_path / "other.dss"))


def test_a_file_that_is_no_text(write_circuit):
    path = write_circuit("")
    path.write_bytes(path.read_bytes().replace(b"New Circuit", b"New\0Circuit"))
    with pytest.raises(GradmapError, match="holds zero bytes, expected a text file"):
        Feeder.from_dss(path)
    path.write_text("New Circuit.x", encoding="utf-16")
    with pytest.raises(GradmapError, match="is UTF-16 text, expected UTF-8"):
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

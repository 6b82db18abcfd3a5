"""What a circuit's file names is looked at before anything opens it."""

from __future__ import annotations

import os
import pathlib
import socket
import sys

import pytest

from gradmap import Feeder
from gradmap.feeders import dss_files
from gradmap.feeders.errors import GradmapError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no such files")

LOAD = "New Load.x Bus1=b.1 Phases=1 kV=0.23 kW=1\n"
SHAPE = "New Loadshape.s NPts=2 Interval=1"
# name of the file, and what is said of it
ODD = {
    "pipe": "is a named pipe, expected an ordinary file",
    "linked": "is a named pipe, expected an ordinary file",
    "socket": "is a socket, expected an ordinary file",
    "folder": "is a folder, expected an ordinary file",
    "large": "has 300 MB, expected 250 MB at most",
    "loop": "cannot be read: Too many levels of symbolic links",
    "/dev/zero": "is a device, expected an ordinary file",
}
OPENS = {
    "redirect": "Redirect {}",
    "compile": 'Compile "{}"',
    "coordinates": "BusCoords {}",
    "coordinates on a map": "LatLongCoords [{}]",
    "csv": f"{SHAPE} CSVFile={{}}",
    "csv, shortened": f"{SHAPE} cs={{}}",
    "csv, in quotes": f"{SHAPE} CSVFile='{{}}'",
    "csv, by place": "New Loadshape.s 2 1 [1 2] '' '' '' {}",
    "csv, on the next line": f"{SHAPE}\n~ CSVFile={{}}",
    "csv, of the property": f"{SHAPE}\nLoadshape.s.CSVFile={{}}",
    "csv, of an edit": f"{SHAPE}\nEdit Loadshape.s CSVFile={{}}",
    "csv, of many": f"{SHAPE}\nBatchEdit Loadshape..* CSVFile={{}}",
    "singles": f"{SHAPE} SngFile={{}}",
    "doubles": f"{SHAPE} DblFile={{}}",
    "P and Q": f"{SHAPE} PQCSVFile={{}}",
    "temperatures": "New TShape.s NPts=2 Interval=1 CSVFile={}",
    "prices": "New PriceShape.s NPts=2 Interval=1 CSVFile={}",
    "a curve": "New XYCurve.s NPts=2 CSVFile={}",
    "a curve, by place": "New XYCurve.s 2 '' [1 2] [1 2] {}",
    "growth": "New GrowthShape.s NPts=2 CSVFile={}",
    "a spectrum": "New Spectrum.s NumHarm=2 CSVFile={}",
    "an array": f"{SHAPE} Mult=(file={{}})",
    "an array, in brackets": f"{SHAPE} QMult=[File = {{}}, column=2]",
    "an array, by place": "New Loadshape.s 2 1 (file={})",
    "an array of doubles": f"{SHAPE} Mult=(dblfile={{}})",
    "an array of doubles, in a letter": f"{SHAPE} Mult=(d={{}})",
    "an array of singles, and more": f"{SHAPE} Mult=(sngfiles={{}})",
    "an array of another class": "New TCC_Curve.s NPts=2 C_Array=(file={})",
    "an array that is a variable": f"Var @v='file={{}}'\n{SHAPE} Mult=@v",
    "a list of an option": "Set KeepList=(file={})",
    "a list of names": "New EnergyMeter.e Element=Line.l1 ZoneList=(file={})",
}


@pytest.fixture
def odd_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    os.mkfifo("pipe")
    os.symlink("pipe", "linked")
    os.symlink("loop", "loop")
    os.mkdir("folder")
    with open("large", "wb") as file:
        file.truncate(300_000_000)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        yield


@pytest.mark.parametrize("how", OPENS)
@pytest.mark.parametrize("name", ODD)
def test_only_ordinary_files_are_opened(how, name, write_circuit, odd_files):
    body = f"{LOAD}{OPENS[how].format(name)}\n"
    with pytest.raises(GradmapError) as error:
        Feeder.from_dss(write_circuit(body))
    line = 12 + body.count("\n")
    line -= how == "an array that is a variable"
    assert f"Small.dss, line {line}: {name!r} {ODD[name]}" in str(error.value)


@pytest.mark.parametrize("name", [name for name in ODD if name not in ("/dev/zero", "folder")])
def test_a_master_file_is_an_ordinary_one(name, odd_files):
    with pytest.raises(GradmapError) as error:
        Feeder.from_dss(name)
    wanted = "expected the master file of an OpenDSS circuit"
    assert str(error.value) == f"{name}: {ODD[name]}; {wanted}"


@pytest.mark.parametrize("how", OPENS)
def test_files_without_an_end_have_no_size(how, write_circuit):
    if how in ("redirect", "compile"):
        return  # read by us, as far as their size
    body = f"{LOAD}{OPENS[how].format('/proc/version')}\n"
    with pytest.raises(GradmapError, match="'/proc/version' is empty, expected numbers"):
        Feeder.from_dss(write_circuit(body))


def test_no_more_is_read_than_a_file_s_size(tmp_path, monkeypatch):
    """Should it become a pipe after it was looked at."""
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(dss_files, "unfit", lambda path: "")
    assert dss_files.read_file(tmp_path / "pipe") == b""
    assert dss_files.read_file(pathlib.Path("/dev/zero")) == b""


@pytest.mark.parametrize(
    "text",
    [
        f"Var @f=/dev/zero\n{SHAPE} CSVFile=@f",
        f"Var @f=/dev/zero\n{SHAPE} Mult=(file=@f)",
        f"{SHAPE} CSVFile=~/loads.csv",
    ],
)
def test_a_file_is_named_by_its_path(text, write_circuit):
    with pytest.raises(GradmapError, match=r"line 1[34]: names a file by '[@~]': write its path"):
        Feeder.from_dss(write_circuit(f"{text}\n"))


def test_a_long_array_is_no_file_and_a_number_is_no_folder(write_circuit, tmp_path):
    (tmp_path / "200").mkdir()
    (tmp_path / "1").mkdir()
    numbers = " ".join(["0.5"] * 200)
    body = (
        f"New Loadshape.s 200 1 [{numbers}]\nNew Loadshape.t NPts=200 Interval=1\n~ [{numbers}]\n"
    )
    assert Feeder.from_dss(write_circuit(LOAD + body.replace("~ ", "~ Mult="))).notes == ()
    with pytest.raises(GradmapError, match="no file 'nnnn"):
        Feeder.from_dss(write_circuit(f"{LOAD}Redirect {'n' * 300}\n"))


def test_ordinary_files_are_read(write_circuit, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "two.csv").write_text("0.5, 0.1\n1, 0.2\n")
    for text in (
        f"{SHAPE} CSVFile=data/two.csv",
        f"{SHAPE} CSVFile=data\\two.csv",
        f"{SHAPE} Mult=(file=data/two.csv, column=2)",
        f"{SHAPE} PQCSVFile=[data/two.csv]",
        f"{SHAPE} Mult=(file={tmp_path}/data/two.csv)",
    ):
        path = write_circuit(f"{text}\n{LOAD.strip()} Daily=s\nSolve Mode=Daily Number=2\n")
        assert Feeder.from_dss(path, on_unsupported="freeze").notes == ()


def test_a_missing_file_of_data(write_circuit, tmp_path):
    (tmp_path / "Two.csv").write_text("0.5\n1\n")
    for text in (f"{SHAPE} CSVFile=two.CSV", f"{SHAPE} Mult=(file=two.CSV)"):
        with pytest.raises(GradmapError, match=r"no file 'two.CSV'; there is .*Two.csv': upper"):
            Feeder.from_dss(write_circuit(f"{LOAD}{text}\n"))
    for text in (f"{SHAPE} CSVFile=three.csv", f"{SHAPE} Mult=(file=three.csv)"):
        with pytest.raises(GradmapError, match=r"OpenDSS reports: .*three.csv.*line 14"):
            Feeder.from_dss(write_circuit(f"{LOAD}{text}\n"))

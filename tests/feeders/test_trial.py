"""Circuits on which OpenDSS crashes, hangs or takes all memory, tried in another process."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from gradmap import Feeder, load_feeder
from gradmap.feeders import dss_trial
from gradmap.feeders.catalog import reload_feeder
from gradmap.feeders.circuit_facts import read_facts
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.storage import load_feeder_file, save_feeder
from gradmap.feeders.trial import Trial

TRIES_CIRCUITS = True  # see conftest.py

LOAD = "New Load.x Bus1=b.1 Phases=1 kV=0.23 kW=1\n"
WIRE = "New WireData.w RUnits=km Rac=0.3 GMRUnits=m GMRac=0.005 RadUnits=mm Diam=12\n"
# What ends the process that OpenDSS 0.14.5 runs in.
CRASHES = {
    "a wire before the conductors": f"{WIRE}New LineGeometry.g Cond=1 Wire=w X=1 H=9 NConds=4\n",
    "wires before the conductors": f"{WIRE}New LineGeometry.g Wires=[w w w w] NConds=4\n",
    "a curve before its points": "New XYCurve.c XArray=[1 2 3] YArray=[1 2 3] NPts=3\n",
}
needs_limits = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")


@pytest.fixture
def starts(monkeypatch):
    """Counts the processes that are started."""
    started = []
    run = subprocess.run

    def counted(words, **options):
        started.append(words)
        return run(words, **options)

    monkeypatch.setattr(dss_trial.subprocess, "run", counted)
    return started


def leftovers():
    return [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("gradmap-trial-")]


@pytest.mark.parametrize("case", CRASHES)
def test_a_crash_is_an_error_of_ours(case, write_circuit):
    before = leftovers()
    path = write_circuit(LOAD + CRASHES[case])
    with pytest.raises(GradmapError) as error:
        Feeder.from_dss(path)
    line = 13 + CRASHES[case].count("\n")
    verb = CRASHES[case].splitlines()[-1][:20]
    text = str(error.value)
    assert text.startswith(f"{path}: OpenDSS crashed (SIG")
    assert f") at Small.dss, line {line}: `{verb.replace('New', 'new', 1)}" in text
    assert "\n" not in text
    assert leftovers() == before
    # Not remembered as one that came through, and this process reads on.
    assert not dss_trial.is_known(path)
    assert len(Feeder.from_dss(write_circuit(LOAD)).terminals) == 1


def test_the_file_of_a_crash_is_named(write_circuit, tmp_path):
    (tmp_path / "curves.dss").write_text("\n" + CRASHES["a curve before its points"])
    with pytest.raises(GradmapError, match=r"Small.dss: OpenDSS crashed .* at curves.dss, line 2"):
        Feeder.from_dss(write_circuit("Redirect curves.dss\n"))


def test_what_takes_too_long(write_circuit):
    tail = "Set VoltageBases=[12.47 0.4]\nCalcVoltageBases\n"
    tail += "Solve Mode=Daily Number=100000\n" * 50
    path = write_circuit(LOAD, tail=tail)
    with pytest.raises(GradmapError) as error:
        Feeder.from_dss(path, trial=Trial(timeout_s=3))
    text = str(error.value)
    assert text.startswith(f"{path}: OpenDSS was not done after 3 s")
    assert "trial=Trial(timeout_s=...)" in text


@needs_limits
def test_what_takes_too_much_memory(write_circuit):
    many = "".join(f"New Loadshape.s{k} NPts=9000000 Interval=1 Mult=[1 2]\n" for k in range(9))
    path = write_circuit(LOAD + many)
    with pytest.raises(GradmapError) as error:
        Feeder.from_dss(path, trial=Trial(memory_gib=0.4))
    # It looks no further than to the address that it did not get.
    assert re.search(r"Small.dss: OpenDSS .* at Small.dss, line \d+: `new Loads", str(error.value))
    assert "0.4 GiB of memory" in str(error.value)
    assert "trial=Trial(memory_gib=...)" in str(error.value)


def test_a_circuit_that_came_through_is_not_tried_again(write_circuit, tmp_path, starts):
    (tmp_path / "more.dss").write_text(LOAD)
    (tmp_path / "mult.csv").write_text("1\n0.5\n")
    shape = "New Loadshape.s NPts=2 Interval=1 Mult=(file=mult.csv)\n"
    path = write_circuit(f"Redirect more.dss\n{shape}")
    feeder = Feeder.from_dss(path)
    assert len(starts) == 1
    Feeder.from_dss(path, on_unsupported="freeze")
    reload_feeder(feeder, None)
    read_facts(feeder)
    OpenDSSReplay(feeder).close()
    assert len(starts) == 1
    for name, text in (("more.dss", LOAD * 2), ("mult.csv", "1\n0.25\n")):
        (tmp_path / name).write_text(text.replace(LOAD * 2, LOAD + LOAD.replace(".x", ".y")))
        Feeder.from_dss(path)
    assert len(starts) == 3


def test_what_is_trusted_starts_no_process(write_circuit, starts):
    path = write_circuit(LOAD)
    feeder = Feeder.from_dss(path, trial=False)
    OpenDSSReplay(feeder).close()
    reload_feeder(feeder, None)
    OpenDSSReplay(load_feeder("ieee13")).close()
    load_feeder("synthetic:num_buses=20,seed=0")
    assert starts == []


def test_the_circuit_of_a_stored_feeder_is_tried(write_circuit, tmp_path):
    """Whoever made the file says where its circuit is."""
    save_feeder(Feeder.from_dss(write_circuit(LOAD), trial=False), tmp_path / "feeder.npz")
    path = write_circuit(LOAD + CRASHES["a curve before its points"])
    feeder = load_feeder_file(tmp_path / "feeder.npz")
    assert feeder.origin == str(path)
    for use in (OpenDSSReplay, read_facts, lambda feeder: reload_feeder(feeder, None)):
        with pytest.raises(GradmapError, match="OpenDSS crashed"):
            use(feeder)


def test_faults_are_those_of_the_reader(write_circuit):
    bodies = (
        "New Load.x Bus1=b.1 Phases=1 kV=0.23 kW=1 Model=8\n",
        "DOScmd touch x\n",
        f"{LOAD}Redirect absent.dss\n",
        "New Generator.x Bus1=b kV=0.4 kW=20 Model=3\n",
    )
    for body in bodies:
        path = write_circuit(body)
        said = []
        for trial in (True, False):
            with pytest.raises(GradmapError) as error:
                Feeder.from_dss(path, trial=trial)
            said.append(str(error.value))
        assert said[0] == said[1]


def test_taps_are_tried_as_they_are_given(write_circuit):
    body = (
        "New Transformer.r Phases=1 Windings=2 Buses=[b.1 c.1] kVs=[0.23 0.23] kVAs=[50 50] XHL=1\n"
        "New RegControl.cr Transformer=r Winding=2 VReg=120 Band=2 PTRatio=2\n"
        "New Load.l Phases=1 Bus1=c.1 kV=0.23 kW=10 kvar=4\n"
    )
    path = write_circuit(body)
    for taps in (np.int64(3), {"cr": np.int64(3)}, 3):
        os.utime(path, ns=(1, int(taps if taps == 3 else 4)))
        assert Feeder.from_dss(path, taps=taps).regulators.tap.tolist() == [3]
    for taps in (17, {"nobody": 1}, 1.5, {"cr": True}):
        with pytest.raises(GradmapError, match=r"expected|known: cr"):
            Feeder.from_dss(path, taps=taps)


def test_nothing_beside_the_circuit_is_a_module(write_circuit, tmp_path, monkeypatch):
    for name in ("numpy", "dss", "json", "gradmap", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('from the folder')\n")
    path = write_circuit(LOAD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert len(Feeder.from_dss(pathlib.Path(path.name)).terminals) == 1


def test_where_no_process_can_be_started(write_circuit, monkeypatch):
    path = write_circuit(LOAD)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(GradmapError, match="no Python can be started here; trial=False reads it"):
        Feeder.from_dss(path)
    monkeypatch.setattr(sys, "executable", str(path))
    with pytest.raises(GradmapError, match=r"does not start: .*; trial=False reads it"):
        Feeder.from_dss(path)
    monkeypatch.setattr(dss_trial, "_MODULE", "gradmap.nowhere")
    monkeypatch.undo()
    monkeypatch.setattr(dss_trial, "_MODULE", "gradmap.nowhere")
    with pytest.raises(GradmapError, match=r"ended with code 1: .*No module named gradmap.nowhere"):
        Feeder.from_dss(path)
    assert len(Feeder.from_dss(path, trial=False).terminals) == 1


@pytest.mark.parametrize("limits", [{"timeout_s": 0}, {"memory_gib": -1.0}, {"timeout_s": "3"}])
def test_limits_that_are_none(limits):
    with pytest.raises(GradmapError, match=f"Trial: {next(iter(limits))} is .*expected a number"):
        Trial(**limits)


def test_a_trial_that_is_none(write_circuit):
    with pytest.raises(GradmapError, match="trial is 3, expected True, False or a Trial"):
        Feeder.from_dss(write_circuit(LOAD), trial=3)

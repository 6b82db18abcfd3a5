"""The command line: exit codes, and one line for whatever is wrong."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time
import types

import pytest

from gradmap import __version__
from gradmap.experiments import cli
from gradmap.experiments.registry import METHODS
from gradmap.feeders.errors import GradmapError


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(command in said for command in cli.COMMANDS)
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"gradmap {__version__}\n"
    assert cli.main([]) == 2


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    assert f"usage: gradmap {command}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["methods"]])
def test_help_is_quick(words: list[str], child_environment: dict[str, str]) -> None:
    code = (
        "import sys\nfrom gradmap.experiments.cli import main\n"
        f"main({words!r})\n"
        "heavy = {'torch', 'matplotlib', 'pandas', 'dss', 'tensorboardX'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], env=child_environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 10  # a tenth of that when nobody else is at work


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["tarin"], "unknown command tarin; expected one of train"),
        (["train", "gradmap", "--sed", "1"], "unknown option --sed (did you mean --seed?)"),
        (["train", "gradmap", "--task.feeder", "ieee124", "--out", "OUT"], "ieee124"),
        (["train", "gradmap", "--task.name", "ieee123-v9", "--out", "OUT"], "ieee123-v9"),
        (["train", "gradmap", "--device", "cuda:9", "--out", "OUT"], "cuda:9"),
        (["evaluate", "OUT"], "is no run"),
        (["evaluate"], "expected after `gradmap evaluate`: folder of the run; --help lists"),
        (["export"], "expected after `gradmap export`: folder of the comparison; folder for the"),
        (["evaluate", "OUT", "--split"], "--split has no value; --help lists the options"),
        (["evaluate", "OUT", "--engine", "gams"], "invalid choice 'gams'"),
        (["compare", "--methods", "gradmap", "rulse", "--out", "OUT"], "unknown method rulse"),
        (["compare", "--task.num-agents", "0", "--out", "OUT"], "num_agents is 0"),
        (["validate", "ieee13", "ieee124"], "ieee124"),
        (["validate", "nowhere/Master.dss"], "nowhere/Master.dss: no such file"),
        (["methods", "extra"], "unexpected extra"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    words: list[str], fault: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.main([str(out) if word == "OUT" else word for word in words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("gradmap: error: ")
    assert said.count("\n") == 1
    assert fault in said
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_gives_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_dispatch", interrupt)
    assert cli.main(["train"]) == 130


def test_an_error_of_many_lines_is_still_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(words: list[str]) -> int:
        raise GradmapError("one\n  two")

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == "gradmap: error: one two\n"


def test_the_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["methods"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in METHODS)
    assert cli.main(["feeders"]) == 0
    assert "ieee123" in capsys.readouterr().out


def test_progress_lines(fake_run: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    from gradmap.experiments.progress import PlainReporter, duration, time_left

    shown = PlainReporter("gradmap")
    shown.validated(10, {"cost_usd_per_day": 1234.5, "node_step_violation_pct": None})
    shown.update(12, 60.0, 0.25)
    shown.update(13, 61.0, 0.26)  # too soon after the last line
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (
        "[gradmap] iteration 12, 1:00 (0.20/s), 3:00 left; "
        "validation at 10: cost $ 1,234/d, violation –"
    )
    assert duration(3725) == "1:02:05"
    assert time_left(0.0, 0.0) == "?"

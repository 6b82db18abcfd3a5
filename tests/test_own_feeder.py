"""The worked example of docs/own-feeder.md runs as it stands."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import re
import shlex

import pytest
import yaml

from gradmap.envs.catalog import make
from gradmap.envs.config import AgentMix
from gradmap.envs.fleet import build_agents
from gradmap.envs.placement import read_devices
from gradmap.envs.task_feeder import load_task_feeder
from gradmap.experiments import cli
from gradmap.experiments.config_load import load_compare_config, load_run_config, run_configs
from gradmap.feeders.errors import GradmapError

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "own-feeder.md").read_text("utf-8")
CIRCUIT = ROOT / "examples" / "own_feeder.dss"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def away(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("at_root")
def test_the_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (text,) = blocks("python")
    exec(compile(text, "docs/own-feeder.md", "exec"), {"__name__": "__main__"})
    said = capsys.readouterr().out
    assert said.startswith("village-mixed 20 ['battery', 'heat_pump', 'generator', 'ev_charger'")


@pytest.mark.usefixtures("at_root")
def test_the_yaml_is_a_task(tmp_path: pathlib.Path) -> None:
    text, reactive = blocks("yaml")
    path = tmp_path / "task.yaml"
    path.write_text(reactive, encoding="utf-8")
    assert make(load_run_config("gradmap", path).task, num_agents=10).action_shape == (10, 2)
    path.write_text(text, encoding="utf-8")
    config = load_run_config("gradmap", path)
    given = yaml.safe_load(text)["task"]
    assert config.task.name == "village-mixed"
    assert config.task.difficulty == given["difficulty"]
    assert config.task.mix == AgentMix(**given["mix"])
    feeder = load_task_feeder(config.task)
    at = build_agents(config.task, feeder).terminal
    buses = {feeder.node_bus[feeder.terminals.node_from[t]] for t in at}
    assert buses == set(given["placement"]["buses"])


def test_the_file_of_devices_fits(tmp_path: pathlib.Path) -> None:
    (text,) = blocks("csv")
    path = tmp_path / "devices.csv"
    path.write_text(text, encoding="utf-8")
    assert [device.kind for device in read_devices(path)] == [
        "battery",
        "ev_charger",
        "pv_inverter",
    ]
    config = load_run_config("idle")
    source = tmp_path / "task.yaml"
    source.write_text(
        yaml.safe_dump({"task": {"feeder": str(CIRCUIT), "placement": {"csv": str(path)}}}),
        encoding="utf-8",
    )
    config = load_run_config("idle", source)
    agents = build_agents(config.task, load_task_feeder(config.task))
    assert agents.num_agents == config.task.num_agents == 3


def test_every_command_is_one(at_root: None) -> None:
    for line in blocks("sh")[0].splitlines():
        words = shlex.split(line)
        assert words[0] == "gradmap"
        assert words[1] in cli.COMMANDS
        for word in words:
            assert not word.endswith(".dss") or (ROOT / word).is_file()


def test_a_comparison_on_a_circuit_of_ones_own(
    away: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the end: OpenDSS, report, pictures, from another folder, with no edit of anything."""
    relative = os.path.relpath(CIRCUIT, away)
    words = ["compare", "smoke", "--feeder", relative, "--methods", "selfish", "idle"]
    assert cli.main([*words, "--workers", "1"]) == 0
    out = away / "results" / "smoke-village-mixed"
    with (out / "runs.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"selfish", "idle"}
    for row in rows.values():
        for name in ("losses_kwh_per_day", "loading_max_pct", "source_peak_kw"):
            # The replay's tolerance of 1e-10 p.u. is far below that of the solve, 1e-8.
            assert float(row[name]) == pytest.approx(float(row[f"opendss_{name}"]), rel=1e-5)
    assert (out / "report.html").is_file()
    assert (out / "voltages.png").is_file()
    assert "village-mixed: 20 agents" in capsys.readouterr().out


def test_a_check_says_what_it_found(away: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"task check smoke --feeder {CIRCUIT} --days 1 --iterations 1 --rounds 3"
    code = cli.main([*words.split(), "--json", "check.json"])
    found = json.loads((away / "check.json").read_text("utf-8"))
    assert found["task"] == "village-mixed"
    assert set(found["methods"]) == {"idle", "selfish", "perfect-foresight"}
    assert code == (0 if found["binds"] and found["is_solvable"] else 1)
    assert len(found["days"]) == 1
    said = capsys.readouterr().out
    assert "binds:" in said
    assert "20 agents" in said


def test_taps_of_one_feeder_do_not_stay_for_another(tmp_path: pathlib.Path) -> None:
    """A configuration goes to disk and back as it was."""
    config = load_compare_config("smoke", "ieee13")
    assert set(config.task.taps or {}) == {"reg1", "reg2", "reg3"}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    assert load_compare_config(path) == config


def test_feeders_of_one_comparison_have_settings_of_their_own(tmp_path: pathlib.Path) -> None:
    """What the file says of all tasks stays."""
    path = tmp_path / "config.yaml"
    path.write_text(
        "task: {num_agents: 20, vmin_pu: 0.94}\nmethods: [idle]\n"
        "tasks: {long: {feeder: ieee34}, short: {feeder: ieee13}}\n",
        encoding="utf-8",
    )
    runs = run_configs(load_compare_config(path))
    tasks = {key.task: run.task for key, run in runs.items()}
    assert (tasks["long"].regulation, tasks["short"].regulation) == ("quasi-static", "fixed")
    assert (tasks["long"].vmax_pu, tasks["short"].vmax_pu) == (1.08, 1.05)
    assert {task.vmin_pu for task in tasks.values()} == {0.94}


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["compare", "smoke", "--feeder", "ieee34x"], "no feeder 'ieee34x' (did you mean"),
        (["compare", "smoke", "--feeder", "none.dss"], "none.dss"),
        (["compare", "--feeder", "ieee13", "--task.feeder", "ieee34"], "name one of them"),
        (["train", "idle", "--feeder"], "--feeder needs a value"),
        (["task", "check", "--task.difficulty", "-1"], "difficulty is -1.0"),
        (["task", "check", "--days", "0", "--rounds", "0"], "days is 0"),
        (["task", "chek"], "unknown chek"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], fault: str, away: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert fault in said
    assert not list(away.iterdir())


def test_a_name_of_a_published_task_is_refused_elsewhere(away: pathlib.Path) -> None:
    from gradmap.experiments.assembly import assemble

    path = away / "task.yaml"
    path.write_text("task: {feeder: ieee13, name: ieee123-mixed-v1}\n", encoding="utf-8")
    with pytest.raises(GradmapError, match="is on feeder ieee123, found feeder ieee13"):
        assemble(load_run_config("idle", path))

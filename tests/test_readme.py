"""Every block of README.md runs; its links lead somewhere.

Python blocks run as they stand, each in a process and a folder of its own.
Commands run in order in one folder, made short by what `SHORTER` appends;
`make` targets are expanded, and what they run beside the set-up is run likewise.
"""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

import gradmap
from gradmap.algorithms.config import LearnerConfig

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(match[1], match[2]) for match in FENCE.finditer(README)]
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]

SHORTER = {
    "train": ["--config", "smoke"],
    "evaluate": [],
    "validate": ["--random", "2"],
}
"""What is appended to a command of README to make it short."""

SHORTER_TARGETS = {
    ("gradmap", "compare"): (
        "gradmap.experiments.cli",
        ["--config", "smoke", "--methods", "idle", "--no-plots"],
    ),
    ("pytest", "-n"): ("pytest", ["-p", "no:cacheprovider", "--collect-only", "-q", __file__]),
}
"""What a `make` target of README runs: its module, and what makes it short."""


def environment() -> dict[str, str]:
    root = str(pathlib.Path(gradmap.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}


def run(words: list[str], folder: pathlib.Path) -> str:
    done = subprocess.run(
        words, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_blocks_are_of_known_languages() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "sh"}
    assert len(PYTHON) >= 4
    assert all(line.startswith(("make ", "gradmap ")) for line in COMMANDS)


def first_call(text: str) -> str:
    found = re.search(r"gradmap\.(make|parallel_env|load_feeder)\(|save_feeder", text)
    return f"{len(text.splitlines())}-lines-{found[1] if found else 'block'}"


@pytest.mark.parametrize("text", PYTHON, ids=first_call)
def test_python_blocks_run(text: str, tmp_path: pathlib.Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(text, "utf-8")
    run([sys.executable, "-W", "error::FutureWarning", str(script)], tmp_path)


def test_commands_run(tmp_path: pathlib.Path) -> None:
    commands = [shlex.split(line) for line in COMMANDS if line.startswith("gradmap ")]
    assert {words[1] for words in commands} <= SHORTER.keys()
    for words in commands:
        python = [sys.executable, "-m", "gradmap.experiments.cli"]
        run([*python, *words[1:], *SHORTER[words[1]]], tmp_path)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
def test_make_targets_run(line: str, tmp_path: pathlib.Path) -> None:
    said = run(["make", "--dry-run", "--no-print-directory", shlex.split(line)[1]], ROOT)
    command = shlex.split(said.splitlines()[-1])
    while "=" in command[0]:
        del command[0]
    program, *words = command
    module, shorter = SHORTER_TARGETS[pathlib.Path(program).name, *words[:1]]
    folder = ROOT if module == "pytest" else tmp_path
    run([sys.executable, "-m", module, *words, *shorter], folder)


def test_targets_and_commands_in_the_text_exist() -> None:
    from gradmap.experiments.cli import COMMANDS as SUBCOMMANDS

    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", README)) <= targets
    assert set(re.findall(r"`gradmap ([a-z-]+)", README)) <= SUBCOMMANDS.keys()


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", README)
    local = [target for target in targets if not target.startswith("http")]
    assert local
    assert [target for target in local if not (ROOT / target).exists()] == []


@pytest.mark.parametrize("name", ["compare", "stress", "target", "validate"])
def test_markers_are_there_once(name: str) -> None:
    assert README.count(f"<!-- {name}:begin -->") == README.count(f"<!-- {name}:end -->") == 1


def flat(settings: object) -> dict[str, str]:
    """Settings by dotted name, as the page writes them."""
    found = {name: value for name, value in vars(settings).items() if name != "price"}
    price = vars(settings).get("price")
    if price is not None:
        found |= {f"price.{name}": value for name, value in vars(price).items()}
    return {
        name: ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in found.items()
    }


def table(section: str) -> dict[str, list[str]]:
    """Defaults by setting, in the table below a heading of the page of settings."""
    page = (ROOT / "docs" / "tuning.md").read_text("utf-8")
    text = page.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \|((?: `[^`]*` \|)+)", text, re.MULTILINE)
    return {name: re.findall(r"`([^`]*)`", cells) for name, cells in rows}


def changes(section: str, expected: dict[str, list[str]]) -> str:
    """What to change in docs/tuning.md, a line for each setting."""
    found = table(section)
    lines = [f"take the row of `{name}` out" for name in found if name not in expected]
    for name, values in expected.items():
        row = f"| `{name}` | " + " | ".join(f"`{value}`" for value in values) + " | ..."
        if found.get(name) != values:
            lines.append(f"{'write' if name in found else 'add'}  {row}")
    return "\n".join([f"docs/tuning.md, {section}:", *lines]) if lines else ""


def test_the_page_of_settings_has_the_defaults() -> None:

    expected = {name: [value] for name, value in flat(LearnerConfig()).items()}
    wrong = changes("Settings and defaults", expected)
    assert not wrong, wrong


def test_the_page_of_settings_has_the_defaults_of_ppo() -> None:
    from gradmap.experiments.registry import METHODS

    columns = [flat(METHODS[name].defaults) for name in ("ippo", "mappo")]
    usual = flat(LearnerConfig())
    expected = {
        name: [column[name] for column in columns]
        for name in columns[0]
        # Prices stand in the table above; here, those that differ.
        if "price." not in name or any(column[name] != usual[name] for column in columns)
    }
    wrong = changes("Settings of IPPO and MAPPO", expected)
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("method", "section"),
    [
        ("shac", "SHAC"),
        ("gippo", "GI-PPO"),
        ("rules", "the rules"),
        ("droop", "droop"),
        ("receding-horizon", "the receding horizon"),
        ("perfect-foresight", "perfect foresight"),
    ],
)
def test_the_page_of_settings_has_the_defaults_of(method: str, section: str) -> None:
    from gradmap.experiments.registry import METHODS

    usual, own = flat(LearnerConfig()), flat(METHODS[method].defaults)
    # Prices stand in the first table; here, those that differ.
    expected = {
        name: [value]
        for name, value in own.items()
        if not name.startswith("price.") or value != usual[name]
    }
    wrong = changes(f"Settings of {section}", expected)
    assert not wrong, wrong

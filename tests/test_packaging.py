"""setup.cfg, constraints.txt and the papers around the code agree with the code."""

from __future__ import annotations

import configparser
import importlib
import os
import pathlib
import re
from collections.abc import Iterator

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gradmap

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("gradmap", "feeders", "envs", "algorithms", "baselines", "experiments")
FOLDERS = (*PACKAGES, "examples", "tests", "docs", ".ci")


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def package_folders(setup_cfg: configparser.ConfigParser) -> dict[str, pathlib.Path]:
    """Every folder with Python files below those that `package_dir` names."""
    found = {}
    for entry in lines(setup_cfg["options"]["package_dir"]):
        package, folder = (part.strip() for part in entry.split("="))
        for path in {file.parent for file in (ROOT / folder).rglob("*.py")}:
            name = ".".join((package, *path.relative_to(ROOT / folder).parts))
            found[name] = path
    return found


def our_files() -> Iterator[pathlib.Path]:
    """Every text file of the project, generated folders left out."""
    yield from (path for path in ROOT.iterdir() if path.is_file())
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def test_packages_are_those_on_disk(setup_cfg: configparser.ConfigParser) -> None:
    assert sorted(lines(setup_cfg["options"]["packages"])) == sorted(package_folders(setup_cfg))


def test_packages_have_an_init(setup_cfg: configparser.ConfigParser) -> None:
    folders = package_folders(setup_cfg)
    assert not [name for name, path in folders.items() if not (path / "__init__.py").is_file()]


def test_package_data_matches_the_files(setup_cfg: configparser.ConfigParser) -> None:
    folders = package_folders(setup_cfg)
    covered: set[pathlib.Path] = set()
    for package, patterns in setup_cfg["options.package_data"].items():
        for pattern in lines(patterns):
            matches = set(folders[package].glob(pattern))
            assert matches, f"{package}: no file matches {pattern}"
            covered |= matches
    data = {
        path
        for path in our_files()
        if path.suffix != ".py" and set(path.parents) & set(folders.values())
    }
    left_out = sorted(str(path.relative_to(ROOT)) for path in data - covered)
    assert not left_out, f"in no pattern of package_data: {left_out}"


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    assert citation["version"] == gradmap.__version__
    assert newest is not None
    assert newest[1] == gradmap.__version__


def test_constraints_pin_what_setup_cfg_asks_for(setup_cfg: configparser.ConfigParser) -> None:
    pinned = {}
    for line in lines((ROOT / "constraints.txt").read_text(encoding="utf-8")):
        if not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9a-z.]*)", line)
            assert match, f"constraints.txt: {line!r} is no exact public version"
            pinned[canonicalize_name(match[1])] = match[2]
    extras = setup_cfg["options.extras_require"]
    installed = [text for name, text in extras.items() if name not in ("all", "docs")]
    wanted = lines("".join([setup_cfg["options"]["install_requires"], *installed]))
    for requirement in (Requirement(line) for line in wanted):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(version), f"{requirement}, but pinned {version}"


def test_all_is_every_extra_of_the_library(setup_cfg: configparser.ConfigParser) -> None:
    extras = setup_cfg["options.extras_require"]
    (every,) = lines(extras["all"])
    assert Requirement(every).extras == set(extras) - {"all", "test", "dev", "docs"}


def test_the_command_exists(setup_cfg: configparser.ConfigParser) -> None:
    (script,) = lines(setup_cfg["options.entry_points"]["console_scripts"])
    module, _, function = script.partition("=")[2].strip().partition(":")
    assert callable(getattr(importlib.import_module(module), function))


# Written so that this line does not match itself.
MACHINE = re.compile(r"\.\.[/]shared\b|(?<![\w.~$})/])[/](work|root|home|Users)/\w")


def test_files_name_no_machine() -> None:
    assert MACHINE.search("see " + "../" + "shared/design.md")
    assert MACHINE.search('path = "' + "/" + 'home/me/data"')
    faults = []
    for path in our_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        faults += [f"{path.relative_to(ROOT)}: {hit[0]!r}" for hit in MACHINE.finditer(text)]
    assert not faults, "\n".join(faults)


def test_ci_is_executable() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)

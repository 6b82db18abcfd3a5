"""The table of methods: sections of settings, families, what the harness may do with each."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import sys

import pytest

from gradmap.experiments.cli_train import _arguments
from gradmap.experiments.config import RunConfig
from gradmap.experiments.registry import METHODS
from gradmap.experiments.sections import SECTIONS, section_of
from gradmap.feeders.errors import GradmapError


def test_every_section_is_a_field_of_a_run_with_the_defaults_of_its_class() -> None:
    for section, kind in SECTIONS.items():
        assert RunConfig.model_fields[section].default == kind()
        assert section_of(kind()) == section
    assert list(SECTIONS) == [name for name in RunConfig.model_fields if name in SECTIONS]


def test_every_section_serves_a_method() -> None:
    assert {spec.settings for spec in METHODS.values()} == {*SECTIONS, None}


@pytest.mark.parametrize("section", SECTIONS)
def test_settings_are_closed(section: str) -> None:
    kind = SECTIONS[section]
    assert kind.__pydantic_config__ == {"extra": "forbid"}
    assert dataclasses.fields(kind) is not None
    with pytest.raises(ValueError, match="no_such_key"):
        RunConfig.model_validate({section: {"no_such_key": 1}})


def test_families() -> None:
    families: dict[str, list[str]] = {}
    for name, spec in METHODS.items():
        families.setdefault(spec.family, []).append(name)
    assert families == {
        "gradient": ["gradmap", "ss-primal-dual", "ss-fixed-penalty", "shac", "gippo", "selfish"],
        "model-free": ["ippo", "mappo"],
        "control": ["idle", "rules", "droop", "receding-horizon"],
        "reference": ["perfect-foresight"],
    }


def test_what_each_method_knows() -> None:
    central = {name for name, spec in METHODS.items() if not spec.is_decentralised}
    assert central == {"receding-horizon", "perfect-foresight"}
    assert {n for n, spec in METHODS.items() if not spec.can_stress} == {"perfect-foresight"}
    assert {n for n, spec in METHODS.items() if spec.is_slow} == {"receding-horizon"}
    for spec in METHODS.values():
        assert spec.needs_training == (spec.family != "control")
        assert spec.is_reference == (spec.family == "reference")


def test_settings_of_each_method_are_read_from_the_command_line() -> None:
    settings = _arguments(["shac", "--shac.learning-rate", "0.002"]).settings
    assert (settings.method, settings.shac.learning_rate) == ("shac", 0.002)
    settings = _arguments(["rules", "--rules.charge-rate", "0.5"]).settings
    assert settings.rules.charge_rate == 0.5
    with pytest.raises(GradmapError, match=r"method shac does not learn from learner.hidden"):
        _arguments(["shac", "--learner.hidden", "3"])


@pytest.mark.parametrize(
    ("words", "faults"),
    [
        (
            ["shac", "--shac.horizon", "0", "--shac.target-decay", "1", "--shac.hidden", "0"],
            ["horizon is 0", "target_decay is 1.0", "hidden is (0,)"],
        ),
        (
            ["gippo", "--gippo.alpha-growth", "0.5", "--gippo.clip", "-1"],
            ["alpha_growth is 0.5", "clip is -1.0"],
        ),
        (["receding-horizon", "--receding.horizon", "0"], ["horizon is 0"]),
    ],
)
def test_settings_out_of_range_are_all_named(words: list[str], faults: list[str]) -> None:
    with pytest.raises(GradmapError) as error:
        _arguments(words)
    assert all(fault in str(error.value) for fault in faults)


def test_the_table_is_light(
    modules: dict[str, pathlib.Path], child_environment: dict[str, str], tmp_path: pathlib.Path
) -> None:
    words = "import sys, gradmap.experiments.registry; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", words],
        env=child_environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "gradmap.experiments.registry" in found
    assert not {"torch", "ray", "scipy"} & set(found)

"""Configurations: what is refused, and which value wins."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, get_args

import pytest

from gradmap.algorithms.config import LearnerConfig
from gradmap.envs.config import TaskConfig
from gradmap.experiments.cli_train import _arguments
from gradmap.experiments.config import Budget, CompareConfig, RunConfig, Split
from gradmap.experiments.config_files import bundled_configs, load_yaml, merge
from gradmap.experiments.config_load import (
    check_run_config,
    differences,
    load_compare_config,
    load_run_config,
    run_configs,
)
from gradmap.experiments.registry import METHODS
from gradmap.feeders.errors import GradmapError


def write(path: pathlib.Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def nested(value: Any, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Paths of every record in a configuration."""
    paths = [prefix]
    for key, entry in vars(value).items():
        if hasattr(entry, "__dict__"):
            paths += nested(entry, (*prefix, key))
    return paths


def test_unknown_keys_are_refused_at_every_depth(tmp_path: pathlib.Path) -> None:
    for path in nested(RunConfig()):
        text: Any = {"no_such_key": 1}
        for key in reversed(path):
            text = {key: text}
        file = write(tmp_path / "run.yaml", str(text))
        with pytest.raises(GradmapError, match=r"unknown key .*no_such_key"):
            load_run_config("gradmap", file)


def test_all_faults_stand_in_one_line(tmp_path: pathlib.Path) -> None:
    file = write(
        tmp_path / "bad.yaml",
        "task: {num_agent: 3}\nbudget: {seconds: -1}\nlearner: {learning_rate: fast}\nsed: 1\n",
    )
    with pytest.raises(GradmapError) as error:
        load_run_config("gradmap", file)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(file)
    for part in (
        "unknown key task.num_agent (did you mean num_agents",
        "budget.seconds: expected greater than 0, found -1",
        "learner.learning_rate: expected a valid number",
        "unknown key sed (did you mean seed?)",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("task: {num_agents: 0}", "num_agents is 0"),
        ("a: [", "not valid YAML"),
        ("- 1", "holds a list"),
        ("seed: 1\nseed: 2", "'seed' is given twice"),
        ("budget: {seconds: null}", "expected at least one"),
        ("device: gpu", "device"),
        ("task: {mix: {battery: -1}}", "shares of 0 or more"),
        ("task: ieee123-mixd-v1", "unknown task"),
        ("task: {name: ieee123-mixd-v1}", "did you mean"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path: pathlib.Path, text: str, fault: str) -> None:
    with pytest.raises(GradmapError, match=fault):
        load_run_config("gradmap", write(tmp_path / "bad.yaml", text))


def test_a_missing_file_names_what_there_is(tmp_path: pathlib.Path) -> None:
    with pytest.raises(GradmapError, match=r"No such file.*quick"):
        load_run_config("gradmap", tmp_path / "none.yaml")


def test_command_line_beats_file_beats_method(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "run.yaml", "seed: 5\nthreads: 2\nbudget: {seconds: 7}\n")
    assert METHODS["selfish"].defaults.price.kind == "none"
    parsed = _arguments(["selfish", "--config", file, "--seed", "6", "--task.num-agents=40"])
    settings = parsed.settings
    assert settings.method == "selfish"
    assert settings.learner.price.kind == "none"  # the method's
    assert (settings.threads, settings.budget.seconds) == (2, 7.0)  # the file's
    assert (settings.seed, settings.task.num_agents) == (6, 40)  # the command line's


def test_a_partial_block_keeps_its_other_values(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "run.yaml", "learner: {price: {dual_step: 1}}\n")
    settings = load_run_config("selfish", file)
    expected = METHODS["selfish"].defaults
    price = dataclasses.replace(expected.price, dual_step=1.0)
    assert settings.learner == dataclasses.replace(expected, price=price)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (
            ["gradmap", "--task.num-agent", "3"],
            "unknown option --task.num-agent .*--task.num-agents",
        ),
        (["gradmap", "--task.num-agents", "0"], "num_agents is 0"),
        (["gradmap", "--learner.learning-rate", "x"], "--learner.learning-rate"),
        (["gradmap", "--budget.seconds", "-1"], "expected greater than 0"),
        (["gradmap", "--device", "gpu"], "device"),
        (["gradmap", "extra"], "unexpected extra"),
        (["gradmap", "--config"], "--config needs a value"),
        (["gradmpa"], "unknown method gradmpa .did you mean gradmap"),
        ([], "name a method first"),
        (
            ["idle", "--learner.learning-rate", "1", "--ppo.clip", "0.3"],
            "does not learn from learner.learning_rate, ppo.clip; leave them out: it takes no",
        ),
        (
            ["ippo", "--learner.learning-rate", "1", "--learner.price.kind", "none"],
            r"learn from learner.learning_rate, learner.price.kind; leave them out: .* ppo\.",
        ),
        (["gradmap", "--ppo.clip", "0.3"], r"learn from ppo.clip; leave it out: .* learner\."),
        (["mappo", "--ppo.clip", "0", "--ppo.epochs", "0"], "epochs is 0.*clip is 0"),
    ],
)
def test_bad_options_are_named(words: list[str], fault: str) -> None:
    with pytest.raises(GradmapError, match=fault) as error:
        _arguments(words)
    assert "\n" not in str(error.value)


def test_bundled_configurations_load() -> None:
    assert {"quick", "smoke", "study", "speed", "learning20"} <= set(bundled_configs())
    quick = load_compare_config("quick")
    assert quick.task.num_agents == 1000
    assert [key.method for key in run_configs(quick)] == list(METHODS)
    for method in METHODS:
        assert check_run_config(load_run_config(method, "smoke")).task.num_agents == 20
    assert load_compare_config("smoke").budget.iterations == 3
    assert load_compare_config("study").seeds == tuple(range(10))
    for name in bundled_configs():
        assert run_configs(load_compare_config(name))


def test_a_comparison_gives_each_method_its_settings() -> None:
    config = CompareConfig(
        methods=("gradmap", "mappo", "selfish"),
        seeds=(3,),
        settings={"gradmap": {"reuse_passes": 2}, "mappo": {"epochs": 2}},
    )
    runs = {key.method: run for key, run in run_configs(config).items()}
    assert list(runs) == ["gradmap", "mappo", "selfish"]
    assert {run.seed for run in runs.values()} == {3}
    expected = dataclasses.replace(METHODS["gradmap"].defaults, reuse_passes=2)
    assert runs["gradmap"].learner == expected
    assert runs["mappo"].ppo == dataclasses.replace(METHODS["mappo"].defaults, epochs=2)
    assert runs["mappo"].ppo.critic == "central"
    assert runs["selfish"].learner == METHODS["selfish"].defaults
    for run in runs.values():
        check_run_config(run)


def test_a_run_takes_what_a_comparison_says_of_its_method(tmp_path: pathlib.Path) -> None:
    file = write(
        tmp_path / "compare.yaml",
        "seeds: [1, 2]\nsettings: {gradmap: {reuse_passes: 2}, rules: {}}\n"
        "reference_budget: {iterations: 7}\nvalidation: {every: 3}\n",
    )
    run = load_run_config("gradmap", file)
    assert run.learner == dataclasses.replace(METHODS["gradmap"].defaults, reuse_passes=2)
    assert (run.validation.every, run.budget.iterations) == (3, None)
    assert load_run_config("perfect-foresight", file).budget.iterations == 7
    file = write(tmp_path / "slip.yaml", "settings: {gradmap: {reuse_pases: 2}}\n")
    with pytest.raises(GradmapError, match=r"learner.reuse_pases \(did you mean"):
        load_run_config("gradmap", file)


def test_a_comparison_is_a_grid() -> None:
    config = CompareConfig(
        methods=("rules", "gradmap", "perfect-foresight"),
        seeds=(4, 2),
        tasks={"small": {"num_agents": 20}, "large": {}},
        reference_budget={"iterations": 7},
    )
    runs = run_configs(config)
    assert [str(key) for key in runs][:4] == [
        "small/rules/seed-4",  # without randomness: the first seed alone
        "small/gradmap/seed-4",
        "small/gradmap/seed-2",
        "small/perfect-foresight/seed-4",
    ]
    assert len(runs) == 8
    assert {key.task: run.task.num_agents for key, run in runs.items()} == {
        "small": 20,
        "large": config.task.num_agents,
    }
    assert all(run.seed == key.seed for key, run in runs.items())
    budgets = {key.method: run.budget for key, run in runs.items()}
    assert budgets["perfect-foresight"].iterations == 7
    assert budgets["gradmap"] == config.budget


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"seeds": (1, 1)}, "seed 1 is named twice"),
        ({"splits": ("test", "test")}, "split test is named twice"),
        ({"tasks": {"../out": {}}}, "task '../out' names a folder"),
        ({"tasks": {"a": {"num_agent": 3}}}, "tasks.a: unknown key task.num_agent (did you mean"),
        ({"tasks": {"a": {"num_agents": 0}}}, "num_agents is 0"),
    ],
)
def test_a_grid_s_faults_are_named(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(GradmapError) as error:
        run_configs(CompareConfig(**given))
    assert fault in str(error.value)
    assert str(error.value).count(fault) == 1


def test_splits_are_those_there_are() -> None:
    from gradmap.envs.scenarios.model import SPLITS
    from gradmap.envs.scenarios.stress import STRESSES

    assert get_args(Split) == (*SPLITS, *STRESSES)


def test_the_limit_that_is_nearest_counts() -> None:
    budget = Budget(seconds=100.0, env_steps=1000)
    assert budget.share({"seconds": 20.0, "iterations": 9, "env_steps": 500}) == 0.5
    assert budget.share({"seconds": 90.0, "iterations": 9, "env_steps": 500}) == 0.9
    assert budget.share({"seconds": 900.0, "iterations": 9, "env_steps": 500}) == 1.0
    assert Budget(seconds=None, iterations=0).share({"iterations": 0}) == 1.0


def test_a_comparison_names_all_its_faults() -> None:
    config = CompareConfig(
        methods=("gradmpa", "idle", "idle", "ippo", "selfish"),
        settings={
            "gradmap": {},
            "idle": {"hidden": [1]},
            "ippo": {"clipp": 1, "epochs": 0},
            "rulse": {},
            "selfish": {"clip": 1},
        },
    )
    with pytest.raises(GradmapError) as error:
        run_configs(config)
    for part in (
        "unknown method gradmpa",
        "unknown method rulse",
        "idle is named twice",
        "settings.idle: it takes none, found hidden",
        "settings.ippo: unknown key ppo.clipp (did you mean clip?)",
        "settings.selfish: unknown key learner.clip",
    ):
        assert part in str(error.value)


def test_configurations_survive_their_file(tmp_path: pathlib.Path) -> None:
    from gradmap.experiments.files import write_yaml

    config = RunConfig(task=TaskConfig(num_agents=7), learner=LearnerConfig(hidden=(4,)), seed=9)
    write_yaml(tmp_path / "c.yaml", config.model_dump(mode="json"))
    assert load_run_config("gradmap", tmp_path / "c.yaml") == config


def test_merge_and_differences() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    over = {"a": {"b": 5}}
    assert merge(base, over) == {"a": {"b": 5, "c": 2}, "d": 3}
    assert base["a"] == {"b": 1, "c": 2}
    assert differences(base, merge(base, over)) == ["a.b"]
    assert load_yaml("smoke")["task"]["num_agents"] == 20

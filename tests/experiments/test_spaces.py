"""Search spaces: what comes with the package, what a file may hold, what is drawn from it."""

from __future__ import annotations

from typing import Any

import pytest

from gradmap.experiments import tune_plan
from gradmap.experiments.cli import main
from gradmap.experiments.config_load import check_run_config
from gradmap.experiments.registry import METHODS, RLLIB
from gradmap.experiments.search_space import (
    Domain,
    check_space,
    load_space,
    nested,
    own_settings,
    tunable,
)
from gradmap.experiments.tune_plan import SearchConfig, draw, pick_methods, plan_trials
from gradmap.feeders.errors import GradmapError

DOMAINS = {
    "log": {"log": [0.001, 0.1]},
    "uniform": {"uniform": [-1.0, 0.5]},
    "int": {"int": [2, 4]},
    "choice": {"choice": [[16, 16], [32]]},
}


def test_every_method_with_settings_has_a_space_except_references() -> None:
    wanted = [m for m, spec in METHODS.items() if spec.defaults and not spec.is_reference]
    assert list(tunable()) == wanted


@pytest.mark.parametrize("method", tunable())
def test_the_defaults_lie_in_the_space(method: str) -> None:
    space, defaults = load_space(method), own_settings(method)
    outside = {name: defaults[name] for name in space if not space[name].holds(defaults[name])}
    assert not outside


@pytest.mark.parametrize("method", [name for name in tunable() if METHODS[name].needs_training])
def test_methods_that_learn_are_searched_alike(method: str) -> None:
    space = load_space(method)
    assert {"learning_rate", "days_per_batch"} <= set(space)
    prices = {name for name in space if name.startswith("price.")}
    assert prices or METHODS[method].ignores_network
    assert 5 <= len(space) <= 7


def test_ippo_and_mappo_have_the_same_space() -> None:
    assert load_space("ippo") == load_space("mappo")


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({}, ["no setting"]),
        ({"learning_rte": {"log": [1, 2]}}, ["unknown setting learning_rte", "learning_rate"]),
        ({"price.kid": {"log": [1, 2]}}, ["unknown setting price.kid", "price.kind"]),
        ({"hidden": {"log": [0, 2]}}, ["hidden", "above 0"]),
        ({"minibatches": {"int": [1.5, 3]}}, ["minibatches", "integer"]),
        ({"reuse_passes": {"int": [3, 1]}}, ["reuse_passes", "lower end first"]),
        ({"reuse_passes": {"choice": [1]}}, ["reuse_passes", "at least 2"]),
        ({"reuse_passes": {"int": [1, 3], "choice": [1, 2]}}, ["int", "choice", "expected one of"]),
        ({"reuse_passes": {}}, ["no range"]),
        ({"reuse_passes": {"normal": [0, 1]}}, ["unknown key", "normal"]),
        ({"reuse_passes": 3}, ["reuse_passes", "found 3"]),
        ({"trust_region": {"uniform": [0, 1]}}, ["trust_region is 0.0", "more than 0"]),
        (
            {"learning_rte": {"log": [1, 2]}, "trust_region": {"uniform": [0, 1]}},
            ["learning_rte", "trust_region is 0.0"],
        ),
    ],
)
def test_faults_are_named(values: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(GradmapError) as caught:
        check_space("gradmap", values, "a file")
    assert all(part in str(caught.value) for part in ["a file", *parts])


@pytest.mark.parametrize("method", ["idle", "nobody"])
def test_a_method_without_a_space(method: str) -> None:
    with pytest.raises(GradmapError, match=method):
        load_space(method)


@pytest.mark.parametrize("kind", DOMAINS)
def test_draws_lie_in_the_range_and_repeat(kind: str) -> None:
    pytest.importorskip("ray")
    space = {"a": Domain.model_validate(DOMAINS[kind]), "b": Domain(uniform=(0.0, 1.0))}
    many = draw(space, 20, seed=3)
    assert all(space["a"].holds(each["a"]) for each in many)
    assert len({str(each["a"]) for each in many}) > 1
    assert many[:5] == draw(space, 5, seed=3)
    assert many[:5] != draw(space, 5, seed=4)


def test_ends_of_int_are_drawn() -> None:
    pytest.importorskip("ray")
    found = draw({"a": Domain(int=(2, 4))}, 40, seed=0)
    assert {each["a"] for each in found} == {2, 3, 4}


@pytest.mark.parametrize("method", tunable())
def test_every_trial_can_run_and_the_first_has_the_defaults(method: str) -> None:
    pytest.importorskip("ray")
    search = SearchConfig(trials=12, seed=1)
    trials = plan_trials(search, method)
    assert len(trials) == 12
    section = str(METHODS[method].settings)
    assert getattr(trials[0].config, section) == METHODS[method].defaults
    for trial in trials:
        check_run_config(trial.config)
        assert (trial.config.seed, trial.config.budget) == (1, search.budget)
        assert trial.config.threads == 1


def test_a_longer_search_has_the_trials_of_a_shorter_one() -> None:
    pytest.importorskip("ray")
    short, long = (
        [trial.name for trial in plan_trials(SearchConfig(trials=n), "shac")] for n in (3, 6)
    )
    assert long[:3] == short


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"task": {"num_agents": 20}},
        {"budget": {"seconds": None, "iterations": 3}},
        {"validation": {"num_days": 2}},
        {"selection": {"allowed_pct": 0.2}},
    ],
)
def test_a_trials_name_hangs_on_all_that_its_result_does(change: dict[str, Any]) -> None:
    one, other = (
        plan_trials(SearchConfig.model_validate({"trials": 1, **more}), "gradmap")[0]
        for more in ({}, change)
    )
    assert one.settings == other.settings
    assert one.name != other.name


def test_a_trials_name_hangs_on_nothing_else() -> None:
    config = plan_trials(SearchConfig(trials=1), "gradmap")[0].config
    other = config.model_copy(update={"threads": 4, "checkpoint_seconds": 1.0})
    other = other.model_copy(update={"ppo": METHODS["mappo"].defaults})
    assert tune_plan.trial_name(config) == tune_plan.trial_name(other)


def test_dots_lead_into_nested_settings() -> None:
    flat = {"a": 1, "price.b": 2, "price.c": 3}
    assert nested(flat) == {"a": 1, "price": {"b": 2, "c": 3}}


def test_methods_of_a_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_plan, "check_installed", lambda names: None)
    assert pick_methods(["all"]) == tunable()
    assert pick_methods(["shac", "gradmap"]) == ("shac", "gradmap")
    with pytest.raises(GradmapError) as caught:
        pick_methods(["gradmp", "idle", "shac", "shac"])
    for part in ("unknown method gradmp", "method idle has no search space", "shac is named twice"):
        assert part in str(caught.value)
    with pytest.raises(GradmapError, match="no method"):
        pick_methods([])


def test_without_ray_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(type(RLLIB), "is_installed", lambda self: False)
    assert main(["tune", "gradmap"]) == 2
    assert "needs Ray; install it with: pip install 'gradmap[rllib]'" in capsys.readouterr().err
    assert main(["compare", "smoke", "--engine", "ray"]) == 2
    assert "pip install 'gradmap[rllib]'" in capsys.readouterr().err

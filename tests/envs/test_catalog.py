"""Making a task: by name or by configuration, from files or from their sources."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import gradmap
from gradmap.envs.catalog import TASKS, make, task_config
from gradmap.envs.config import AgentMix, TaskConfig
from gradmap.envs.scenarios.storage import save_scenarios
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.storage import save_feeder


@pytest.fixture(scope="module")
def files(tmp_path_factory, task_feeder, few_days):
    folder = tmp_path_factory.mktemp("saved")
    paths = {"feeder_file": folder / "feeder.npz", "scenario_file": folder / "days.npz"}
    save_feeder(task_feeder, paths["feeder_file"])
    save_scenarios(few_days, paths["scenario_file"])
    return paths


def test_a_published_task_is_found_by_its_name():
    for name, config in TASKS.items():
        assert task_config(name) is config
        assert config.name == name


def test_the_number_of_agents_may_be_chosen():
    config = task_config("ieee123-mixed-v1", num_agents=7)
    assert config.num_agents == 7
    assert dataclasses.replace(config, num_agents=1000) == TASKS["ieee123-mixed-v1"]
    assert task_config(config) is config


def test_an_unknown_task_is_refused_with_a_hint():
    with pytest.raises(GradmapError, match="unknown task 'ieee123-mixed-v2'; did you mean 'ieee"):
        task_config("ieee123-mixed-v2")
    with pytest.raises(GradmapError, match="unknown task 'x'; expected one of ieee123-mixed-v1"):
        task_config("x")


@pytest.mark.parametrize("num_agents", [0, -3])
def test_no_agents_are_refused(num_agents):
    with pytest.raises(GradmapError, match=f"num_agents is {num_agents}, expected 1 or more"):
        gradmap.make("ieee123-mixed-v1", num_agents=num_agents)


def test_all_faults_of_a_task_are_named_at_once():
    with pytest.raises(GradmapError) as caught:
        TaskConfig(
            num_agents=0,
            mix=AgentMix(-1.0, 1.0, 1.0),
            battery_kw=0.0,
            heat_pump_kw=float("nan"),
            generator_kw=-2.0,
            vmin_pu=1.1,
        )
    message = str(caught.value)
    for part in ("num_agents", "mix", "battery_kw", "heat_pump_kw", "generator_kw", "limits"):
        assert part in message
    assert "\n" not in message


def test_a_mix_of_nothing_is_refused():
    with pytest.raises(GradmapError, match="positive sum"):
        TaskConfig(mix=AgentMix(0.0, 0.0, 0.0))


def test_saved_files_stand_in_for_their_sources(files, make_core):
    made = make("ieee123-mixed-v1", num_agents=20, batch_size=3, **files)
    own = make_core()
    assert made.batch_size == 3
    assert made.agent_names == own.agent_names
    days = made.days("test")
    assert torch.equal(days, own.days("test"))
    actions = torch.full((2, 48, 20), 0.3)
    first, second = (core.run_open_loop(days, actions) for core in (made, own))
    assert torch.equal(first.cost_usd, second.cost_usd)
    assert torch.equal(first.flow.v_magnitude_pu, second.flow.v_magnitude_pu)


def test_a_seed_takes_the_place_of_the_tasks(files):
    core = make("ieee123-mixed-v1", num_agents=5, seed=11, **files)
    assert core.config.seed == 11
    assert core.config.num_agents == 5


def test_the_published_task_has_days_of_every_split():
    core = gradmap.make("ieee123-mixed-v1", num_agents=2)
    assert core.config.name == "ieee123-mixed-v1"
    assert core.num_steps == 48
    for split in ("train", "validation", "test"):
        assert len(core.days(split)) > 0
    with pytest.raises(GradmapError, match="unknown split 'tset'"):
        core.days("tset")

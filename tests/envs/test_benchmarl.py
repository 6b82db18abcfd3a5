"""BenchMARL's own IPPO and MAPPO run on the task as they are."""

from __future__ import annotations

import importlib
import math
import pathlib
import pickle
import sys

import pytest
import torch

from gradmap.envs.catalog import TASKS
from gradmap.envs.scenarios.storage import save_scenarios
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.storage import save_feeder

pytest.importorskip("benchmarl")

from benchmarl.algorithms import IppoConfig, MappoConfig
from benchmarl.experiment import Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig

from gradmap.envs.benchmarl import EvaluateOn, FeederTask

ALGORITHMS = {"ippo": IppoConfig, "mappo": MappoConfig}


@pytest.fixture(scope="module")
def files(short_core, tmp_path_factory):
    """Settings of a task with days of six steps."""
    folder = tmp_path_factory.mktemp("task")
    save_feeder(short_core.feeder, folder / "feeder.npz")
    save_scenarios(short_core.scenarios, folder / "days.npz")
    return {
        "feeder_file": str(folder / "feeder.npz"),
        "scenario_file": str(folder / "days.npz"),
    }


def make_experiment(folder, files, algorithm="ippo", *, agents=20, share=False, iterations=2):
    days = 2
    steps = 6 * days
    config = ExperimentConfig.get_from_yaml()
    config.max_n_frames, config.max_n_iters = None, iterations
    config.on_policy_n_envs_per_worker = days
    config.on_policy_collected_frames_per_batch = config.evaluation_interval = steps
    config.on_policy_minibatch_size, config.on_policy_n_minibatch_iters = steps // 2, 2
    config.evaluation_episodes = 2
    config.share_policy_params = share
    config.loggers, config.save_folder = [], str(folder)
    settings = ALGORITHMS[algorithm].get_from_yaml()
    settings.share_param_critic = share
    return Experiment(
        FeederTask.IEEE123_MIXED_V1.get_task({"num_agents": agents, **files}),
        settings,
        MlpConfig.get_from_yaml(),
        seed=0,
        config=config,
        callbacks=[EvaluateOn("validation")],
    )


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_two_iterations(algorithm, share, files, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    experiment = make_experiment(tmp_path, files, algorithm, share=share)
    experiment.run()
    assert experiment.total_frames == 2 * 12
    assert math.isfinite(experiment.mean_return)
    assert not list(elsewhere.iterdir())
    assert {group: len(names) for group, names in experiment.group_map.items()} == {
        "battery": 8,
        "heat_pump": 8,
        "generator": 4,
    }
    env = experiment.test_env
    features = env.core.num_global_features if algorithm == "mappo" else env.core.num_features
    for group, num in (("battery", 8), ("generator", 4)):
        actor = experiment.losses[group].actor_network_params.flatten_keys()
        first = next(value for key, value in actor.items() if key.endswith("weight"))
        assert first.shape[:-2] == (() if share else (num,))
        critic = experiment.losses[group].critic_network_params.flatten_keys()
        first = next(value for key, value in critic.items() if key.endswith("weight"))
        assert first.shape[-1] == features
        assert all(value.isfinite().all() for value in actor.values())


def test_evaluation_is_on_the_days_asked_for(files, tmp_path):
    experiment = make_experiment(tmp_path, files, agents=5)
    core = experiment.test_env.core
    experiment.evaluate()
    assert set(experiment.test_env.state.days.tolist()) <= set(core.days("validation").tolist())
    experiment.close()


def test_a_seed_fixes_the_run(files, tmp_path):
    runs = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        experiment = make_experiment(tmp_path / name, files, agents=5, iterations=1)
        experiment.run()
        runs.append((experiment.mean_return, list(experiment.policy.parameters())))
    assert runs[0][0] == runs[1][0]
    assert runs[0][1]
    assert all(torch.equal(a, b) for a, b in zip(runs[0][1], runs[1][1], strict=True))


def test_every_published_task_is_there():
    assert {task.name.lower().replace("_", "-") for task in FeederTask} == set(TASKS)


def test_a_task_says_what_is_in_it(tmp_path):
    task = FeederTask.IEEE123_MIXED_V1.get_task({"num_agents": 5, "seed": 1, "split": "test"})
    assert pickle.loads(pickle.dumps(task)) == task
    env = task.get_env_fun(3, True, 0, "cpu")()
    assert env.batch_size == (3,)
    assert env.core.config.seed == 1
    assert task.max_steps(env) == 48
    assert not task.supports_discrete_actions()
    assert set(task.observation_spec(env).keys(True, True)) == {
        (group, "observation") for group in env.group_map
    }
    assert set(task.info_spec(env).keys(True, True)) == {
        (group, "info", "cost_usd") for group in env.group_map
    }
    assert task.state_spec(env)["state"].shape == (env.core.num_global_features,)
    env.reset()
    assert set(env.state.days.tolist()) <= set(env.core.days("test").tolist())


def test_a_reward_may_come_from_yaml():
    config = {"num_agents": 2, "reward": {"voltage_usd_per_pu": 7.0}}
    task = FeederTask.IEEE123_MIXED_V1.get_task(config)
    assert task.get_env_fun(1, True, None, "cpu")().reward.voltage_usd_per_pu == 7.0


@pytest.mark.filterwarnings("ignore:TaskConfig python dataclass not found")
def test_settings_may_come_from_a_file(tmp_path: pathlib.Path):
    file = tmp_path / "task.yaml"
    file.write_text("num_agents: 5\n", "utf-8")
    assert FeederTask.IEEE123_MIXED_V1.get_from_yaml(str(file)).config == {"num_agents": 5}
    assert FeederTask.IEEE123_MIXED_V1.get_task().config == {}


def test_what_is_wrong_is_refused(tmp_path):
    task = FeederTask.IEEE123_MIXED_V1
    with pytest.raises(GradmapError, match="unknown settings agents of task IEEE123_MIXED_V1"):
        task.get_task({"agents": 5})
    with pytest.raises(GradmapError, match="unknown settings price of the reward of task"):
        task.get_task({"reward": {"price": 5}})
    with pytest.raises(GradmapError, match="actions are continuous"):
        task.get_task({}).get_env_fun(1, False, 0, "cpu")


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "gradmap.envs.benchmarl")
    monkeypatch.setitem(sys.modules, "benchmarl.environments", None)
    with pytest.raises(GradmapError, match=r"BenchMARL is not installed; .*'gradmap\[benchmarl\]'"):
        importlib.import_module("gradmap.envs.benchmarl")

"""Layouts of RLlib are timed on one game; how fast they are is not for a test."""

from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip("ray")

from rich.console import Console

from gradmap.baselines.rllib.stock import type_module
from gradmap.experiments import bench, bench_marl
from gradmap.experiments import bench_marl_env as game

PHASES = ("iteration_s", "sampling_s", "update_s", "build_s")


def printed(section):
    text = io.StringIO()
    Console(file=text, width=130).print(section.table)
    return text.getvalue()


def test_both_forms_are_one_game():
    joint, many = game.JointGame(7, 1), game.ManyAgentGame(7)
    names = game.agent_names(7)
    together, by_name = joint.reset(seed=3)[0], many.reset(seed=3)[0]
    assert list(by_name) == names == many.agents
    assert together in joint.observation_space
    np.testing.assert_array_equal(np.stack(list(by_name.values())), together["agents"][0])
    actions = np.linspace(-1, 1, 7, dtype=np.float32).reshape(1, 7, 1)
    expected = -np.square(
        actions[0, :, 0] - np.tanh((joint.game._weights * together["agents"]).sum(-1))
    )
    _, rewards, *_ = joint.step(actions)
    _, own, *_ = many.step(dict(zip(names, actions[0], strict=True)))
    np.testing.assert_allclose(rewards, expected, rtol=1e-6)
    np.testing.assert_array_equal(list(own.values()), rewards[0])
    assert {type_module(name) for name in names} == set(game.TYPES)


def test_episodes_end_and_begin_again():
    joint, many = game.JointGame(3, 2), game.ManyAgentGame(3)
    joint.reset(seed=0)
    many.reset(seed=0)
    ends = []
    for _ in range(game.NUM_STEPS):
        *_, ended, truncated, _ = joint.step(np.ones((2, 3, 1), np.float32))
        *_, ended_by_name, _, _ = many.step(dict.fromkeys(many.possible_agents, np.ones(1)))
        ends.append(ended.tolist())
        assert not truncated.any()
    assert ends == [[False, False]] * (game.NUM_STEPS - 1) + [[True, True]]
    assert all(ended_by_name.values())
    assert not many.agents
    _, rewards, ended, *_ = joint.step(np.ones((2, 3, 1), np.float32))
    assert not rewards.any()
    assert not ended.any()


def test_every_layout_is_timed(ray_session, monkeypatch):
    monkeypatch.setattr(bench_marl, "_NUM_AGENTS", (3,))
    section = bench_marl.marl_section(None, 1)
    rows = section.data["rows"]
    assert [row["layout"] for row in rows] == list(bench_marl.LAYOUTS)
    for row in rows:
        assert (row["num_agents"], row["iterations"], row["is_warm"]) == (3, 1, True)
        assert all(row[name] > 0 for name in PHASES)
        assert row["sampling_s"] + row["update_s"] <= row["iteration_s"]
    text = printed(section)
    assert all(layout in text for layout in bench_marl.LAYOUTS)


def test_a_slow_layout_gets_one_turn(ray_session, monkeypatch):
    monkeypatch.setattr(bench_marl, "_NUM_AGENTS", (3,))
    monkeypatch.setattr(bench_marl, "_ENOUGH_S", 0.0)
    name = "IPPO, stacked"
    monkeypatch.setattr(bench_marl, "LAYOUTS", {name: bench_marl.LAYOUTS[name]})
    section = bench_marl.marl_section(None, 21)
    (row,) = section.data["rows"]
    assert (row["iterations"], row["is_warm"]) == (1, False)
    assert f"{row['iteration_s']:.2f}*" in printed(section)


def test_the_hasty_are_spared_what_takes_minutes(ray_session, monkeypatch):
    monkeypatch.setattr(bench_marl, "_NUM_AGENTS", (3,))
    monkeypatch.setattr(bench_marl, "_LONG_AGENTS", 3)
    rows = bench_marl.marl_section(None, 3).data["rows"]
    assert [row["layout"] for row in rows] == ["IPPO, stacked", "MAPPO, stacked"]


def test_the_benchmark_ends_with_it():
    assert bench._sections()[-1] is bench_marl.marl_section

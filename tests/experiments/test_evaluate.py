"""Judging real policies: the two engines, the splits, a real run stopped and resumed."""

from __future__ import annotations

import json
import pathlib
from typing import Any, get_args

import numpy as np
import pytest
import torch

from gradmap.algorithms.checkpoint import load_checkpoint
from gradmap.baselines.idle import IDLE_ACTION, IdlePolicy
from gradmap.envs.catalog import make
from gradmap.envs.core import Core
from gradmap.envs.observations import FEATURES
from gradmap.envs.scenarios.model import SPLITS
from gradmap.envs.scenarios.stress import STRESSES, offline_agents
from gradmap.experiments import session, signals
from gradmap.experiments.cli import main
from gradmap.experiments.config import Split
from gradmap.experiments.evaluate import evaluate, judge, pick_days, play
from gradmap.experiments.judgement import judge_run
from gradmap.experiments.metrics import unbalance_pct
from gradmap.experiments.offline import OfflinePolicy
from gradmap.experiments.runs import RunFolder
from gradmap.feeders.errors import GradmapError


@pytest.fixture(scope="module")
def core() -> Core:
    return make("ieee123-mixed-v1", num_agents=20)


class LoudPolicy:
    """Every device as far as it goes, this way and that."""

    def reset(self, days: torch.Tensor) -> None:
        self.sign = 1.0

    def act(self, observation: torch.Tensor) -> torch.Tensor:
        self.sign = -self.sign
        return torch.full(observation.shape[:2], self.sign)


def test_opendss_says_the_same(core: Core) -> None:
    played = play(core, LoudPolicy(), pick_days(core, "test", 2), batch=8)
    ours, theirs = judge(core, played), judge(core, played, "opendss")
    assert theirs.engine == "opendss"
    assert np.abs(ours.v_pu - theirs.v_pu).max() < 1e-6
    assert set(ours.metrics) == set(theirs.metrics)
    for name, value in ours.metrics.items():
        assert theirs.metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-4), name


def test_the_batch_changes_nothing(core: Core) -> None:
    days = pick_days(core, "test", 3)
    one, all_ = (evaluate(core, LoudPolicy(), days, batch) for batch in (1, 3))
    assert one.dates == all_.dates
    for name, values in one.by_day.items():
        assert values == pytest.approx(all_.by_day[name], rel=1e-5, abs=1e-6), name


def test_parts_add_up(core: Core) -> None:
    found = evaluate(core, LoudPolicy(), pick_days(core, "test", 2))
    parts = [v for k, v in found.metrics.items() if k.startswith("cost_") and k.count("_") > 3]
    assert len(parts) == 4
    assert sum(parts) == pytest.approx(found.metrics["cost_usd_per_day"])
    over, under = (found.metrics[f"node_step_{side}_pct"] for side in ("over", "under"))
    assert over + under == pytest.approx(found.metrics["node_step_violation_pct"])
    assert found.v_pu.shape == (2, core.num_steps, len(core.limits.monitored))


def test_unbalance_is_the_power_flow_s_own(core: Core) -> None:
    from gradmap.algorithms.rollout import rollout

    with torch.no_grad():
        flow = rollout(core, IdlePolicy(core), pick_days(core, "test", 1)).outcome.flow
    ours = unbalance_pct(flow.v_pu.numpy(), core.feeder)
    assert np.sort(ours, -1) == pytest.approx(np.sort(flow.unbalance_pct.numpy(), -1), abs=1e-9)


def test_days_are_spread_over_the_split(core: Core) -> None:
    every = pick_days(core, "validation")
    some = pick_days(core, "validation", 4)
    assert len(some) == 4
    assert set(some.tolist()) < set(every.tolist())
    assert int(some[-1]) > int(every[len(every) // 2])
    assert torch.equal(pick_days(core, "validation", 1000), every)
    with pytest.raises(GradmapError, match="unknown split"):
        pick_days(core, "exam")


@pytest.mark.parametrize("method", ["gradmap", "perfect-foresight"])
def test_a_real_run_stopped_and_resumed_is_the_same(
    core: Core, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, method: str
) -> None:
    class StopAtOnce(signals.StopRequest):
        def __init__(self) -> None:
            super().__init__()
            self.looks = 0

        @property
        def is_set(self) -> bool:
            self.looks += 1
            return self.looks > 2

        @is_set.setter
        def is_set(self, value: bool) -> None:
            pass

    words = ["train", method, "--config", "smoke"]
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(session, "StopRequest", StopAtOnce)
        assert main([*words, "--out", str(tmp_path / "cut")]) == 130
    assert main(["train", "--resume", str(tmp_path / "cut")]) == 0
    rows: list[Any] = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in RunFolder.open(path).rows()]
        for path in (tmp_path / "whole", tmp_path / "cut")
    ]
    assert rows[0] == rows[1]
    states = [load_checkpoint(tmp_path / n / "checkpoints/latest.pt")[0] for n in ("cut", "whole")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])


def test_evaluate_keeps_its_judgement(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, file = tmp_path / "run", tmp_path / "found.json"
    assert main(["train", "rules", "--config", "smoke", "--out", str(run)]) == 0
    assert main(["evaluate", str(run), "--split", "validation", "--json", str(file)]) == 0
    assert "node_step_violation_pct" in capsys.readouterr().out
    found = json.loads(file.read_text())
    assert found == json.loads((run / "evaluation" / "validation-best.json").read_text())
    assert found["method"] == "rules"
    assert list(found["engines"]) == ["torch"]
    per_day = found["engines"]["torch"]["by_day"]["cost_usd_per_day"]
    assert len(per_day) == len(found["dates"])
    with np.load(run / "evaluation" / "validation-best.npz", allow_pickle=False) as kept:
        assert kept["v_pu_torch"].shape[0] == len(found["dates"])
    assert main(["evaluate", str(run), "--checkpoint", "best", "--device", "gpu"]) == 2


def test_perfect_foresight_is_judged_on_its_own_days_only(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["--config", "smoke", "--budget.iterations", "1", "--out", str(run)]
    assert main(["train", "perfect-foresight", *words]) == 0
    assert {row["split"] for row in RunFolder.open(run).rows("validation")} == {"test"}
    assert main(["evaluate", str(run), "--split", "validation"]) == 2
    assert "perfect foresight was computed for" in capsys.readouterr().err


@pytest.mark.parametrize("split", STRESSES)
def test_a_run_is_judged_under_stress(
    rules_run: pathlib.Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    assert main(["evaluate", str(rules_run), "--split", split]) == 0
    found, base = (
        json.loads((rules_run / "evaluation" / f"{name}-best.json").read_text())
        for name in (split, "test")
    )
    assert found["split"] == split
    assert set(found["dates"]) <= set(base["dates"])
    metrics = found["engines"]["torch"]["metrics"]
    assert metrics["solver_failures"] == 0
    assert metrics["cost_usd_per_day"] != base["engines"]["torch"]["metrics"]["cost_usd_per_day"]
    assert f"{len(found['dates'])} {split} days" in capsys.readouterr().out


@pytest.fixture(scope="module")
def rules_run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    run = tmp_path_factory.mktemp("stress") / "run"
    assert main(["train", "rules", "--config", "smoke", "--out", str(run)]) == 0
    assert main(["evaluate", str(run)]) == 0
    return run


def test_the_splits_of_the_command_line_are_those_there_are(
    rules_run: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert get_args(Split) == (*SPLITS, *STRESSES)
    assert main(["evaluate", str(rules_run), "--split", "storm"]) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in get_args(Split))
    with pytest.raises(GradmapError, match=r"unknown split 'storm'; expected one of train, .*"):
        judge_run(RunFolder.open(rules_run), "storm", ["torch"], "best")


def test_who_is_offline_rests_and_a_heat_pump_keeps_its_thermostat(core: Core) -> None:
    policy = OfflinePolicy(LoudPolicy(), core, share=0.5)
    days = pick_days(core, "test", 2)
    policy.reset(days)
    state = core.reset(days)
    for _ in range(3):
        observation = core.observe(state)
        action = policy.act(observation)
        state, _ = core.step(state, action)
    for row, day in enumerate(days.tolist()):
        is_offline = offline_agents(core.scenarios.date[day], core.num_agents, 0.5)
        for agent, kind in enumerate(core.agent_kinds):
            own = float(action[row, agent])
            if not is_offline[agent]:
                assert own == -1.0  # as LoudPolicy does in its first and third step
            elif kind == "heat_pump":
                warmth = float(observation[row, agent, FEATURES.index("own_state")])
                assert own == pytest.approx(min(max(-3.0 - 4.0 * warmth, -1.0), 1.0))
            else:
                assert own == IDLE_ACTION[kind]


def test_perfect_foresight_is_not_judged_under_stress(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["--config", "smoke", "--budget.iterations", "1", "--out", str(run)]
    assert main(["train", "perfect-foresight", *words]) == 0
    assert main(["evaluate", str(run), "--split", "offline"]) == 2
    assert "has no actions for split 'offline'" in capsys.readouterr().err

"""Methods behind an extra, with a stand-in for what the extra brings."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import sys
import types
from typing import Any, ClassVar

import pytest
import torch

from gradmap.algorithms.networks import Actors
from gradmap.baselines.rllib.config import MAPPO_SETTINGS, PPOSettings
from gradmap.envs.core import Core
from gradmap.envs.counters import Counters
from gradmap.experiments.cli import main
from gradmap.experiments.judgement import load_judgement
from gradmap.experiments.registry import METHODS, RLLIB, Extra
from gradmap.experiments.runs import RunFolder
from gradmap.feeders.errors import GradmapError

SMALL = ["--config", "smoke", "--task.num-agents", "6", "--budget.iterations", "2"]


class StandIn:
    """As RLlib's trainer is to the harness: it uses no environment gradient, and must be closed."""

    made: ClassVar[list[StandIn]] = []
    multipliers = None

    def __init__(self, core: Core, settings: PPOSettings, seed: int) -> None:
        self.core, self.settings, self.seed = core, settings, seed
        self.counters = Counters()
        self.num_closed = 0
        self.actors = Actors(
            core.num_agents, core.num_features, settings.hidden, torch.Generator().manual_seed(seed)
        )
        StandIn.made.append(self)

    def iterate(self, progress: float) -> dict[str, float]:
        assert not self.num_closed
        self.counters.iterations += 1
        self.counters.power_flow_solves += 49
        return {"divergence": 0.0}

    def policy(self) -> Actors:
        assert not self.num_closed
        return self.actors

    def state_dict(self) -> dict[str, torch.Tensor]:
        counters = torch.tensor(list(vars(self.counters).values()))
        return {**self.actors.state_dict(), "counters": counters}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.counters = Counters(*state["counters"].tolist())
        self.actors.load_state_dict({k: v for k, v in state.items() if k != "counters"})

    def close(self) -> None:
        self.num_closed += 1


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[StandIn]:
    """The stand-ins that were built, in order."""
    module: Any = types.ModuleType("gradmap.baselines.rllib.trainer")
    module.RLlibTrainer = StandIn
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(Extra, "is_installed", lambda self: True)
    monkeypatch.setattr(StandIn, "made", [])
    return StandIn.made


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without extras."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, package=None: None if name == "ray" else real(name, package),
    )


def test_a_run_of_ppo_is_trained_resumed_judged_and_closed(
    made: list[StandIn], tmp_path: pathlib.Path
) -> None:
    run = tmp_path / "run"
    words = ["--ppo.days-per-batch", "3", "--ppo.hidden", "4", "--seed", "5"]
    assert main(["train", "mappo", *SMALL, *words, "--out", str(run)]) == 0
    assert main(["train", "--resume", str(run), "--budget.iterations", "3"]) == 0
    assert main(["evaluate", str(run)]) == 0
    assert [each.num_closed for each in made] == [1, 1, 1]
    expected = dataclasses.replace(MAPPO_SETTINGS, days_per_batch=3, hidden=(4,))
    assert all((each.settings, each.seed) == (expected, 5) for each in made)
    assert made[0].core.batch_size == 3
    rows = RunFolder.open(run).rows("train")
    assert [row["power_flow_solves"] for row in rows] == [49, 98, 147]
    assert {row["env_gradients"] for row in rows} == {0}
    assert load_judgement(run / "evaluation" / "test-best.json")["title"] == "MAPPO"


def test_a_run_that_fails_is_closed(
    made: list[StandIn], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    def crash(self: StandIn, progress: float) -> dict[str, float]:
        raise RuntimeError("a process of Ray died")

    monkeypatch.setattr(StandIn, "iterate", crash)
    with pytest.raises(RuntimeError, match="died"):
        main(["train", "ippo", *SMALL, "--out", str(tmp_path / "run")])
    assert [each.num_closed for each in made] == [1]


@pytest.mark.parametrize(
    ("words", "who"),
    [
        (["train", "ippo"], "method ippo needs"),
        (["compare", "--methods", "idle", "mappo"], "method mappo needs"),
        (["compare"], "methods ippo, mappo need"),
        (["compare", "--fresh"], "methods ippo, mappo need"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_written(
    bare: None,
    words: list[str],
    who: str,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert main([*words, *SMALL, "--out", str(out)]) == 2
    install = "install it with: pip install 'gradmap[rllib]'"
    assert capsys.readouterr().err == f"gradmap: error: {who} RLlib; {install}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_is_built_by_hand_says_it_too(bare: None) -> None:
    core: Any = None
    with pytest.raises(GradmapError, match=r"method mappo needs RLlib; .*gradmap\[rllib\]"):
        METHODS["mappo"].build(core, METHODS["mappo"].defaults, 0)


def test_the_list_says_what_is_missing(bare: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "missing" in said
    assert "gradmap[rllib]" in said


def test_the_list_without_anything_missing(
    made: list[StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["methods"]) == 0
    said = capsys.readouterr().out
    assert "RLlib" in said
    assert "missing" not in said


def test_every_method_names_its_settings_and_its_extra() -> None:
    sections = {name: spec.settings for name, spec in METHODS.items()}
    assert sections == {
        **dict.fromkeys(("gradmap", "ss-primal-dual", "ss-fixed-penalty", "selfish"), "learner"),
        **dict.fromkeys(("ippo", "mappo"), "ppo"),
        **{name: name for name in ("shac", "gippo", "rules", "droop")},
        "receding-horizon": "receding",
        "perfect-foresight": "foresight",
        "idle": None,
    }
    assert {name for name, spec in METHODS.items() if spec.extra is RLLIB} == {"ippo", "mappo"}


@pytest.mark.parametrize(
    ("method", "shown", "hidden"),
    [
        ("ippo", "--ppo.clip", "--learner"),
        ("gradmap", "--learner.hidden", "--ppo"),
        ("shac", "--shac.price.dual-step", "--learner"),
        ("gippo", "--gippo.alpha-max", "--shac"),
        ("rules", "--rules.charge-rate", "--droop"),
        ("idle", "--budget.seconds", "--learner"),
    ],
)
def test_help_shows_the_method_s_own_settings(
    method: str, shown: str, hidden: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", method, "--help"]) == 0
    said = capsys.readouterr().out
    assert shown in said
    assert hidden not in said


def test_a_run_s_folder_holds_no_settings_of_other_methods(
    made: list[StandIn], tmp_path: pathlib.Path
) -> None:
    import yaml

    run = tmp_path / "run"
    assert main(["train", "idle", *SMALL, "--out", str(run)]) == 0
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert not {"learner", "ppo", "shac"} & set(config)
    assert RunFolder.open(run).config.ppo == PPOSettings()


def test_plots_know_every_method(tmp_path: pathlib.Path) -> None:
    from gradmap.experiments.plot_style import COLOURS, MARKERS
    from gradmap.experiments.plot_training import training_curves

    for table in (COLOURS, MARKERS):
        assert list(table) == list(METHODS)
        assert len(set(table.values())) == len(METHODS)
    rows = [
        {
            "seconds": float(i),
            "env_gradients": 0,
            "power_flow_solves": 49 * i,
            "metrics": {"cost_usd_per_day": 9.0 - i, "node_step_violation_pct": 0.1 * i},
        }
        for i in range(3)
    ]
    assert training_curves({"ippo": rows, "mappo": rows[:1]}, tmp_path / "t.png").exists()

"""Tasks from any feeder: defaults, taps, what is made of ratings and neutrals."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest
import torch

import gradmap
from gradmap.envs.catalog import check_name, make
from gradmap.envs.config import AgentMix, TaskConfig
from gradmap.envs.constraints import monitored_nodes
from gradmap.envs.day_taps import GOOD_PU, day_taps
from gradmap.envs.feeder_settings import feeder_settings
from gradmap.envs.own_task import DIFFICULTY, own_task, task_name
from gradmap.envs.placement import Placement
from gradmap.envs.scenarios.build import build_scenarios
from gradmap.envs.task_feeder import without_missing_ratings
from gradmap.experiments.config_load import load_run_config
from gradmap.feeders.catalog import list_feeders, load_feeder
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.powerflow.network import Network

CIRCUIT = """
Clear
New Circuit.few basekv=11 pu=1.0
New Line.a bus1=sourcebus bus2=b phases=3 r1=0.1 x1=0.2 r0=0.3 x0=0.6 c1=0 c0=0 length=1 normamps=0
New Transformer.t phases=3 buses=[b c] conns=[delta wye] kVs=[11 0.4] kVAs=[500 500] xhl=4
New Line.b bus1=c.1.2.3 bus2=d.1.2.3 phases=3 r1=0.05 x1=0.02 r0=0.1 x0=0.04 c1=0 c0=0 length=1
New Line.n bus1=c.4 bus2=d.4 phases=1 r1=0.05 x1=0.02 r0=0.05 x0=0.02 c1=0 c0=0 length=1
New Reactor.earth bus1=c.4 phases=1 r=0.1 x=0
New Load.one bus1=d.1.4 phases=1 kv=0.2309 kw=20 pf=0.95
New Load.two bus1=d.2.3 phases=1 kv=0.4 kw=15 pf=0.9
New Generator.g bus1=d.3.4 phases=1 kv=0.2309 kw=5 pf=1 model=1
New PVSystem.p bus1=d.1.4 phases=1 kv=0.2309 kva=6 pmpp=6 irradiance=1 pf=1
Set VoltageBases=[11 0.4]
CalcVoltageBases
"""


@pytest.fixture(scope="module")
def circuit(tmp_path_factory):
    path = tmp_path_factory.mktemp("circuit") / "few.dss"
    path.write_text(CIRCUIT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def small(circuit):
    return make(feeder=circuit, agents=AgentMix(2, 2, 1, 1, 1))


def test_a_circuit_becomes_a_task(small, circuit):
    config = small.config
    assert config.name == "few-mixed"
    assert config.feeder == str(circuit)
    assert config.num_agents == small.num_agents == 7
    assert config.taps is None
    assert config.scenarios.base_load_scale == 1.0
    days = small.days("train")[:2]
    state = small.reset(days)
    state, outcome = small.step(state, torch.zeros(2, 7))
    assert outcome.is_usable.all()
    assert torch.isfinite(small.observe(state)).all()
    assert small.observe(state).abs().max() < 10.0


def test_neutrals_have_no_band_and_missing_ratings_no_limit(small):
    feeder = small.feeder
    names = {feeder.node_names[k] for k in small.limits.monitored.tolist()}
    assert {"c.4", "d.4"} & set(feeder.node_names)
    assert not {name for name in names if name.endswith(".4") or name.startswith("sourcebus")}
    assert {"b.1", "c.2", "d.3"} <= names
    rating = dict(zip(feeder.branches.name, feeder.branches.rating_a, strict=True))
    assert rating["line.a"] == np.inf
    assert np.isfinite(rating["transformer.t"])


def test_plants_of_the_circuit_go_on(small):
    """The generator as it stands, the PV system with the sun: as base load that feeds in."""
    kinds, base = small.feeder.terminals.kind, small.scenarios.base_p_kw
    generator, pv = base[..., kinds.index("generator")], base[..., kinds.index("pvsystem")]
    assert generator == pytest.approx(-5.0, rel=1e-3)
    assert pv.max() == 0.0
    assert -6.1 < pv.min() < -4.0  # half-hour means of the sunniest quarter hour
    assert not pv[:, 0].any()  # midnight
    assert (base[..., kinds.index("load")] >= 0).all()


def test_agents_sit_beside_loads_alone(small):
    kinds = {small.feeder.terminals.kind[t] for t in small.agent_terminal.tolist()}
    assert kinds == {"load"}


def test_a_feeder_as_an_object_keeps_its_taps():
    feeder = load_feeder("ieee13", 0)
    core = make(feeder=feeder, num_agents=5)
    assert core.feeder is feeder
    assert core.config.taps is None
    assert core.config.feeder == "ieee13"


def test_taps_for_ordinary_days_keep_base_load_in_the_band():
    feeder = load_feeder("ieee13")
    found = day_taps(feeder, own_task(feeder))
    assert set(found.taps) == set(feeder.regulators.control)
    own = dict(zip(feeder.regulators.control, feeder.regulators.tap.tolist(), strict=True))
    assert all(0 < found.taps[name] < own[name] for name in own)
    assert found.depth_pu <= GOOD_PU
    assert not found.is_better_alive


def test_taps_are_those_of_feeders_read_at_them(monkeypatch):
    """One network at taps of each try's own finds what reading the circuit again does."""
    feeder = load_feeder("ieee34")
    config = own_task(feeder)
    found = day_taps(feeder, config)
    monkeypatch.setattr("gradmap.envs.day_taps._can_move", lambda network, taps: False)
    again = day_taps(feeder, config)
    assert found.taps == again.taps
    assert found.depth_pu == pytest.approx(again.depth_pu, rel=1e-6)  # 1e-8 p.u. a solve


def test_regulators_are_alive_where_no_fixed_taps_do():
    """A long line: midnight and evening are farther apart than the band is wide."""
    found = day_taps(load_feeder("ieee34"), dataclasses.replace(own_task("ieee34"), vmax_pu=1.07))
    assert found.depth_pu > GOOD_PU
    assert found.is_better_alive


@pytest.mark.parametrize("name", list_feeders())
def test_a_bundled_feeder_has_settings_of_its_own(name):
    """They are data; what a search finds with them is what they say."""
    settings = feeder_settings(name)
    config = own_task(name, num_agents=50)
    assert (config.difficulty, config.regulation) == (settings.difficulty, settings.regulation)
    assert (config.vmin_pu, config.vmax_pu) == (settings.vmin_pu, settings.vmax_pu)
    assert config.scenarios.base_load_scale == settings.base_load_scale
    assert settings.found_by.startswith(f"gradmap task check --feeder {name}")
    found = day_taps(load_feeder(name), config)
    assert config.taps == found.taps
    assert (config.regulation == "quasi-static") == found.is_better_alive


def test_other_feeders_have_none(circuit):
    assert feeder_settings(str(circuit)) is None
    assert feeder_settings("../ieee13") is None
    assert own_task(circuit).difficulty == DIFFICULTY
    assert own_task(circuit, difficulty=1.5).difficulty == 1.5


def test_a_circuit_without_regulators_has_no_taps(circuit):
    feeder = load_feeder(str(circuit))
    found = day_taps(feeder, own_task(feeder))
    assert (found.taps, found.is_better_alive) == (None, False)


@pytest.mark.parametrize(
    ("mix", "number", "expected"),
    [(AgentMix(3, 2, 1), None, 6), (AgentMix(3, 2, 1), 60, 60), (AgentMix(), None, 1000)],
)
def test_whole_shares_are_numbers(circuit, mix, number, expected):
    assert own_task(circuit, agents=mix, num_agents=number).num_agents == expected


def test_a_listed_fleet_has_no_difficulty(circuit, tmp_path):
    path = tmp_path / "devices.csv"
    path.write_text("bus,device,size_kw\nd,battery,5\n", encoding="utf-8")
    core = make(feeder=circuit, placement=Placement(csv=str(path)))
    assert core.config.difficulty is None
    assert core.num_agents == 1


def test_a_task_or_a_feeder_not_both():
    for given in ({}, {"task": "ieee123-mixed-v1", "feeder": "ieee13"}):
        with pytest.raises(GradmapError, match="give a task or a feeder"):
            make(**given)


def test_unknown_feeders_are_named():
    with pytest.raises(GradmapError, match="ieee99"):
        make(feeder="ieee99")
    with pytest.raises(GradmapError, match=r"none\.dss"):
        make(feeder=pathlib.Path("none.dss"))


@pytest.mark.parametrize(
    ("feeder", "name"),
    [
        ("ieee34", "ieee34-mixed"),
        ("synthetic:num_buses=10,seed=0", "synthetic-num-buses-10-seed-0-mixed"),
        ("../../x y", "x-y-mixed"),
        ("...", "own-mixed"),
    ],
)
def test_a_name_is_fit_for_a_folder(feeder, name):
    assert task_name(feeder) == name


def test_a_published_name_is_of_its_feeder():
    check_name(TaskConfig())
    check_name(TaskConfig(name="village-mixed", feeder="village.dss", taps=None))
    with pytest.raises(GradmapError, match="is on feeder ieee123, found feeder ieee34"):
        check_name(TaskConfig(feeder="ieee34", taps=None))
    with pytest.raises(GradmapError, match="unknown task"):
        check_name(TaskConfig(name="ieee123-mixd-v1"))


def test_the_published_feeder_has_a_task_of_its_own_too():
    task = load_run_config("idle", None, "ieee123", "ieee123-mixed").task
    check_name(task)
    assert task == own_task("ieee123")
    assert load_run_config("idle", None, "ieee123").task == TaskConfig()


def test_all_faults_of_a_task_come_at_once():
    with pytest.raises(GradmapError) as error:
        TaskConfig(difficulty=-1.0, ev_charger_kw=0.0, pv_kvar_per_kw=0.6, num_agents=0)
    for key in ("difficulty", "ev_charger_kw", "pv_kvar_per_kw", "num_agents"):
        assert key in str(error.value)


def test_the_published_feeder_is_as_it_was(task_feeder):
    assert without_missing_ratings(task_feeder) is task_feeder
    found = monitored_nodes(Network.from_feeder(task_feeder, devices=True))
    assert np.array_equal(found.numpy(), np.flatnonzero(~task_feeder.is_source_node))


def test_scenarios_of_a_feeder_with_loads_alone_are_as_they_were(task_feeder, few_days):
    """The first of the year, from other code paths than the fixture's."""
    kinds = task_feeder.terminals.kind
    assert set(kinds) == {"load"}
    built = build_scenarios(task_feeder, TaskConfig().scenarios)
    row = built.date.index(few_days.date[0])
    assert np.array_equal(built.base_p_kw[row], few_days.base_p_kw[0])


def test_the_face_has_what_the_documentation_uses():
    assert gradmap.AgentMix is AgentMix
    assert gradmap.own_task is own_task
    assert dataclasses.is_dataclass(gradmap.Placement)

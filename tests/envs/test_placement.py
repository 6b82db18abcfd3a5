"""Where agents sit: weights, lists of buses, files of devices, and what is wrong with them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import yaml

from gradmap.envs.config import AgentMix, TaskConfig
from gradmap.envs.fleet import build_agents, real_devices
from gradmap.envs.placement import Placement, read_devices
from gradmap.envs.sites import load_kw
from gradmap.experiments.config_load import load_run_config
from gradmap.feeders.errors import GradmapError

HEADER = "bus,phase,device,size_kw\n"


@pytest.fixture
def write(tmp_path):
    def make(text, header=HEADER):
        path = tmp_path / "devices.csv"
        path.write_text(header + text, encoding="utf-8")
        return str(path)

    return make


def task(**more):
    return dataclasses.replace(TaskConfig(), **more)


def buses_by_kind(agents, feeder):
    buses = [feeder.node_bus[feeder.terminals.node_from[t]] for t in agents.terminal]
    return {
        kind: {bus for bus, other in zip(buses, agents.kinds, strict=True) if other == kind}
        for kind in dict.fromkeys(agents.kinds)
    }


def test_agents_sit_at_the_buses_named(task_feeder):
    config = task(num_agents=100, placement=Placement(buses=("48", "76")))
    agents = build_agents(config, task_feeder)
    buses = {task_feeder.node_bus[task_feeder.terminals.node_from[t]] for t in agents.terminal}
    assert buses == {"48", "76"}


def test_buses_at_fault_are_named_together(task_feeder):
    config = task(placement=Placement(buses=("48", "4x8", "149")))
    with pytest.raises(GradmapError, match=r"no bus 4x8 .*did you mean 48.*bus 149 has no load"):
        build_agents(config, task_feeder)


def test_each_device_type_has_places_of_its_own(task_feeder):
    buses_of = {"battery": ("48", "76"), "generator": ("65",)}
    config = task(num_agents=100, placement=Placement(buses_of=buses_of))
    agents, free = (build_agents(c, task_feeder) for c in (config, task(num_agents=100)))
    at = buses_by_kind(agents, task_feeder)
    assert at["battery"] == {"48", "76"}
    assert at["generator"] == {"65"}
    assert len(at["heat_pump"]) > 20  # in proportion to load
    batteries = sum(kind == "battery" for kind in agents.kinds)
    assert torch.equal(agents.fleets[1].p_max_kw, free.fleets[1].p_max_kw)
    pumps = slice(batteries, batteries + agents.fleets[1].num_devices)
    assert torch.equal(agents.terminal[pumps], free.terminal[pumps])


def test_other_device_types_keep_to_the_list_of_all(task_feeder):
    placement = Placement(buses=("1", "76"), buses_of={"battery": ("48",)})
    agents = build_agents(task(num_agents=60, placement=placement), task_feeder)
    at = buses_by_kind(agents, task_feeder)
    assert at == {"battery": {"48"}, "heat_pump": {"1", "76"}, "generator": {"1", "76"}}


def test_places_of_types_at_fault_are_named_together(task_feeder):
    placement = Placement(buses=("4x8",), buses_of={"battery": ("149",), "heat_pump": ("zz",)})
    with pytest.raises(GradmapError) as error:
        build_agents(task(placement=placement), task_feeder)
    for part in (
        "placement.buses: the feeder has no bus 4x8",
        "placement.buses_of.battery: bus 149 has no load",
        "placement.buses_of.heat_pump: the feeder has no bus zz",
    ):
        assert part in str(error.value)
    with pytest.raises(GradmapError) as error:
        task(placement=Placement(buses_of={"boiler": ("48",), "battery": (), "ev_charger": ("1",)}))
    for part in (
        "placement.buses_of names 'boiler', expected some of battery,",
        "placement.buses_of.battery names no bus",
        "buses_of names places for ev_charger, of which mix has none",
    ):
        assert part in str(error.value)
    with pytest.raises(GradmapError, match=r"placement.buses_of and placement.csv are both given"):
        task(placement=Placement(buses_of={"battery": ("48",)}, csv="devices.csv"))


def test_yaml_gives_a_list_for_each_type(tmp_path):
    path = tmp_path / "task.yaml"
    text = "task: {placement: {buses_of: {battery: ['48', '76'], heat_pump: ['1']}}}"
    path.write_text(text, encoding="utf-8")
    config = load_run_config("idle", path)
    expected = Placement(buses_of={"battery": ("48", "76"), "heat_pump": ("1",)})
    assert config.task.placement == expected
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    assert load_run_config("idle", again).task == config.task
    path.write_text("task: {placement: {buses_of: {battery: 48, heat_pump: [1]}}}", "utf-8")
    with pytest.raises(GradmapError) as error:
        load_run_config("idle", path)
    for part in ("buses_of.battery: expected a valid tuple", "buses_of.heat_pump.0: expected a"):
        assert part in str(error.value)


def test_a_file_says_everything(task_feeder, write):
    path = write("48,1,battery,12\n48,2,battery,10.5\n76,,heat_pump,4\n65,3,ev_charger,7\n")
    config = task(placement=Placement(csv=path))
    assert config.num_agents == 4
    assert config.mix == AgentMix(2, 1, 0, 1, 0)
    agents = build_agents(config, task_feeder)
    assert agents.kinds == ("battery", "battery", "heat_pump", "ev_charger")
    assert agents.fleets[0].p_max_kw.tolist() == [12.0, 10.5]
    assert agents.fleets[1].p_max_kw.tolist() == [4.0]
    names = [task_feeder.terminals.name[t] for t in agents.terminal]
    assert names[:2] == ["s48.1", "s48.2"]
    assert dataclasses.replace(config, seed=3).num_agents == 4


def test_a_file_without_phases_takes_the_largest_load(task_feeder, write):
    path = write("76,battery,12\n", "bus,device,size_kw\n")
    at = build_agents(task(placement=Placement(csv=path)), task_feeder).terminal.item()
    own = [
        k
        for k, node in enumerate(task_feeder.terminals.node_from)
        if task_feeder.node_bus[node] == "76"
    ]
    assert at in own
    assert task_feeder.terminals.p_kw[at] == task_feeder.terminals.p_kw[own].max()


def test_all_faults_of_a_file_come_at_once(write):
    path = write(",1,battery,12\n48,x,batery,0\n48,1,battery,1e400\n")
    with pytest.raises(GradmapError) as error:
        read_devices(path)
    said = str(error.value)
    for part in (
        "line 2: no bus",
        "line 3: phase",
        "'batery'",
        "'0'",
        "line 4: size_kw is '1e400'",
    ):
        assert part in said


def test_a_file_of_something_else_is_refused(write, tmp_path):
    with pytest.raises(GradmapError, match=r"no column device, size_kw; expected .*bus,phase"):
        read_devices(write("48,1\n", "bus,x\n"))
    with pytest.raises(GradmapError, match="cannot read"):
        read_devices(tmp_path / "none.csv")


def test_places_that_are_not_there_are_named_with_their_line(task_feeder, write):
    path = write("48,1,battery,12\n149,1,battery,5\n1,3,battery,2\nzz,1,battery,2\n")
    with pytest.raises(GradmapError) as error:
        build_agents(task(placement=Placement(csv=path)), task_feeder)
    said = str(error.value)
    assert "no bus zz" in said
    assert "line 3: bus 149 has no load on phase 1" in said
    assert "line 4: bus 1 has no load on phase 3" in said


def test_a_file_and_what_it_says_may_not_differ(write):
    path = write("48,1,battery,12\n")
    with pytest.raises(GradmapError, match=r"num_agents is 20, .*lists 1.*difficulty scales"):
        task(num_agents=20, difficulty=2.0, placement=Placement(csv=path))
    with pytest.raises(GradmapError, match=r"placement.buses and placement.csv are both given"):
        task(placement=Placement(buses=("48",), csv=path))


@pytest.mark.parametrize("difficulty", [0.5, 3.0])
@pytest.mark.parametrize("num_agents", [50, 400])
def test_difficulty_is_the_share_of_flexible_power(task_feeder, difficulty, num_agents):
    config = task(num_agents=num_agents, difficulty=difficulty)
    agents = build_agents(config, task_feeder)
    flexible = sum(fleet.p_max_kw.sum().item() for fleet in agents.fleets)
    peak = 1.25 * load_kw(task_feeder).sum()
    # Each device is within 20 % of its mean.
    assert flexible / peak == pytest.approx(difficulty, rel=0.4 / num_agents**0.5)


def test_a_house_stays_a_house(task_feeder):
    """Discomfort goes with the houses that an agent stands for, whatever scales them."""
    config = task(num_agents=100, difficulty=1.0)
    pumps = build_agents(config, task_feeder).fleets[1]
    houses = real_devices(config, task_feeder)
    assert pumps.discomfort_usd_per_kh.numpy() == pytest.approx(0.5 * houses)
    assert (pumps.p_max_kw / houses).mean().item() == pytest.approx(5.0, rel=0.1)


def test_what_feeds_in_is_no_load(task_feeder):
    terminals = task_feeder.terminals
    kinds = ("generator", *terminals.kind[1:])
    power = terminals.p_kw.copy()
    power[0] = -50.0
    changed = dataclasses.replace(
        task_feeder, terminals=dataclasses.replace(terminals, kind=kinds, p_kw=power)
    )
    assert load_kw(changed)[0] == 0.0
    agents = build_agents(task(num_agents=500), changed)
    assert 0 not in agents.terminal.tolist()
    assert np.isfinite(load_kw(changed)).all()


def test_a_feeder_without_load_says_so(task_feeder):
    terminals = dataclasses.replace(
        task_feeder.terminals, p_kw=np.zeros(len(task_feeder.terminals))
    )
    empty = dataclasses.replace(task_feeder, terminals=terminals)
    with pytest.raises(GradmapError, match="no load with a rated power above 0 kW"):
        build_agents(task(), empty)
    with pytest.raises(GradmapError, match="difficulty is a share of the peak load"):
        build_agents(task(difficulty=2.0), empty)


def test_seeds_move_the_sites(task_feeder):
    one, other = (build_agents(task(num_agents=60, seed=s), task_feeder) for s in (0, 1))
    assert not torch.equal(one.terminal, other.terminal)

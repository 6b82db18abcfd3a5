"""The circuit's own generators, PV systems and storage in the hands of agents."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import yaml

from gradmap.envs.catalog import make
from gradmap.envs.config import AgentMix, TaskConfig
from gradmap.envs.core import Core
from gradmap.envs.fleet import agent_counts, build_agents
from gradmap.envs.own_devices import own_devices, without_own
from gradmap.envs.own_task import own_task
from gradmap.envs.placement import Placement
from gradmap.envs.scenarios.config import ScenarioConfig
from gradmap.experiments import cli
from gradmap.experiments.assembly import assemble
from gradmap.experiments.config_load import load_run_config
from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.dss_engine import borrow_engine, compile_circuit, return_engine
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.storage import load_feeder_file, save_feeder

CIRCUIT = """
Clear
New Circuit.farm basekv=11 pu=1.0
New Line.a bus1=sourcebus bus2=b phases=3 r1=0.1 x1=0.2 r0=0.3 x0=0.6 c1=0 c0=0 length=1
New Transformer.t phases=3 buses=[b c] conns=[delta wye] kVs=[11 0.4] kVAs=[200 200] xhl=4
New Line.b bus1=c bus2=d phases=3 r1=0.05 x1=0.02 r0=0.1 x0=0.04 c1=0 c0=0 length=1
New Line.c bus1=d bus2=e phases=3 r1=0.05 x1=0.02 r0=0.1 x0=0.04 c1=0 c0=0 length=1
New Load.house bus1=d.1 phases=1 kv=0.2309 kw=12 pf=0.95
New Load.barn bus1=e phases=3 kv=0.4 kw=30 pf=0.9
New Load.pump bus1=e.2.3 phases=1 kv=0.4 kw=6 pf=0.85 model=5
"""
OWN = """
New PVSystem.roof_1 bus1=d.1 phases=1 kv=0.2309 kva=5 pmpp=8 irradiance=0.3 pf=1
New PVSystem.field bus1=e phases=3 kv=0.4 kva=30 pmpp=24 irradiance=0.4 pf=-0.95
New Storage.tank bus1=e phases=3 kv=0.4 kwrated=15 kva=20 kwhrated=60 kwhstored=24
~ %reserve=10 %effcharge=96 %effdischarge=94 state=discharging %discharge=40 kvar=1.5
New Generator.chp bus1=d.3 phases=1 kv=0.2309 kw=4 pf=0.9 model=1
"""
TAIL = """
Set VoltageBases=[11 0.4]
CalcVoltageBases
"""
NAMES = (
    *("battery_tank-1", "battery_tank-2", "battery_tank-3", "generator_chp"),
    *("pv_inverter_roof-1", "pv_inverter_field-1", "pv_inverter_field-2", "pv_inverter_field-3"),
)


@pytest.fixture(scope="module")
def circuit(tmp_path_factory):
    path = tmp_path_factory.mktemp("circuit") / "farm.dss"
    path.write_text(CIRCUIT + OWN + TAIL, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def feeder(circuit):
    return load_feeder(str(circuit))


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The same circuit with loads alone."""
    path = tmp_path_factory.mktemp("bare") / "farm.dss"
    path.write_text(CIRCUIT + TAIL, encoding="utf-8")
    return path


def roofless(circuit, **more):
    """A task in which the circuit's PV systems are all the sun there is."""
    return dataclasses.replace(
        own_task(circuit, hand_over=("all",), **more), scenarios=ScenarioConfig(pv_penetration=0.0)
    )


@pytest.fixture(scope="module")
def core(circuit):
    return make(roofless(circuit))


def opendss_pu(path, feeder):
    """Magnitudes of OpenDSS's own snapshot. `[node]`"""
    engine = borrow_engine()
    try:
        compile_circuit(engine, path)
        engine.Text.Command = "Set Tolerance=1e-11 MaxIterations=1000"
        solution = engine.ActiveCircuit.Solution
        solution.Solve()
        assert solution.Converged
        names = [str(name).lower() for name in engine.ActiveCircuit.YNodeOrder]
        volts = np.abs(np.asarray(engine.ActiveCircuit.YNodeVarray).view(np.complex128))
        found = dict(zip(names, volts, strict=True))
    finally:
        return_engine(engine)
    return np.array([found[name] for name in feeder.node_names]) / feeder.node_kv_base / 1e3


def test_the_task_s_agents_are_those_of_the_circuit(core, feeder):
    assert core.agent_names == NAMES
    assert core.num_agents == core.config.num_agents == 8
    assert core.config.difficulty is None
    assert [fleet.kind for fleet in core.fleets] == ["battery", "generator", "pv_inverter"]
    nodes = [feeder.node_names[feeder.terminals.node_from[t]] for t in core.agent_terminal.tolist()]
    assert nodes == ["e.1", "e.2", "e.3", "d.3", "d.1", "e.1", "e.2", "e.3"]
    kinds = [feeder.terminals.kind[t] for t in core.agent_terminal.tolist()]
    assert kinds == ["storage"] * 3 + ["generator"] + ["pvsystem"] * 4
    assert agent_counts(core.config, feeder) == {"battery": 3, "generator": 1, "pv_inverter": 4}


def test_sizes_are_the_circuit_s(core):
    battery, generator, inverter = core.fleets
    assert battery.p_max_kw.tolist() == [5.0] * 3
    assert battery.energy_max_kwh.numpy() == pytest.approx(60 * 0.9 / 3)
    assert (battery.efficiency**2).numpy() == pytest.approx(0.96 * 0.94)
    assert generator.p_max_kw.tolist() == [4.0]
    assert inverter.p_max_kw.tolist() == [5.0, 8.0, 8.0, 8.0]  # kVA below Pmpp, Pmpp below kVA
    for fleet in core.fleets:  # what is drawn is drawn once for all phases
        for name in ("wear_usd_per_kwh", "fuel_usd_per_kwh"):
            assert len(set(getattr(fleet, name, torch.ones(1)).tolist())) == 1


def test_storage_starts_every_day_as_the_file_says(core):
    state = core.reset(core.days("train")[:5])
    stored = state.devices[0][..., 0]
    assert stored.numpy() == pytest.approx((24 - 6) / 3)
    assert stored.shape == (5, 3)


def test_what_is_handed_over_leaves_the_base_load(core, feeder):
    own = core.agent_terminal.unique().tolist()
    base, q = core.scenarios.base_p_kw, core.scenarios.base_q_kvar
    assert not base[..., own].any()
    loads = [i for i, kind in enumerate(feeder.terminals.kind) if kind == "load"]
    assert (base[..., loads].max(axis=(0, 1)) > 1.0).all()
    # The devices have no reactive power of their own here, so the circuit's stays.
    chp = feeder.terminals.load.index("generator.chp")
    assert q[..., chp] == pytest.approx(feeder.terminals.q_kvar[chp])
    assert without_own(core.scenarios, feeder, core.config) is not core.scenarios
    again = without_own(core.scenarios, feeder, core.config)
    for name in ("base_p_kw", "base_q_kvar", "pv_kw"):
        assert np.array_equal(getattr(again, name), getattr(core.scenarios, name))


def test_reactive_power_by_the_task_s_rule_takes_the_place_of_the_circuit_s(circuit, feeder):
    config = dataclasses.replace(roofless(circuit), pv_kvar_per_kw=0.4)
    core = make(config)
    kinds = feeder.terminals.load
    q = core.scenarios.base_q_kvar
    assert not q[..., kinds.index("pvsystem.field")].any()
    assert q[..., kinds.index("storage.tank")].all()
    most = core.fleets[2].p_max_kw * (1 + 0.4**2) ** 0.5
    assert most[0].item() == pytest.approx(5.0)  # at the end of its kVA
    assert core.fleets[2].p_max_kw[1].item() == 8.0


def test_free_reactive_power_is_inside_the_element_s_own_kva(circuit, feeder):
    core = make(dataclasses.replace(roofless(circuit, num_agents=12), reactive="free"))
    kva = dict(zip(core.agent_names, core.inverters.kva.tolist(), strict=True))
    assert [kva[name] for name in NAMES] == pytest.approx([20 / 3] * 3 + [0, 5] + [10] * 3)
    drawn = [i for i, name in enumerate(core.agent_names) if name.startswith("battery_0")]
    assert drawn
    batteries = core.fleets[0]
    expected = core.config.inverter_kva_per_kw * batteries.p_max_kw[drawn]
    torch.testing.assert_close(batteries.kva[drawn], expected)
    own = [i for i, kind in enumerate(feeder.terminals.kind) if kind in ("storage", "pvsystem")]
    assert not core.scenarios.base_q_kvar[..., own].any()
    generator = torch.Generator().manual_seed(0)
    action = 2.0 * torch.rand(1, core.num_steps, 12, 2, generator=generator) - 1.0
    done = core.run_open_loop(core.days("train")[:1], action)
    apparent = (done.p_kw.square() + done.q_kvar.square()).sqrt()
    has_one = core.inverters.kva > 0
    assert (apparent <= core.inverters.kva * (1.0 + 1e-6))[..., has_one].all()


def test_the_snapshot_s_powers_give_the_snapshot_s_voltages(core, circuit, feeder):
    nominal = np.ones_like(core.scenarios.base_p_kw)
    days = dataclasses.replace(
        core.scenarios,
        base_p_kw=nominal * feeder.terminals.p_kw.astype(np.float32),
        base_q_kvar=nominal * feeder.terminals.q_kvar.astype(np.float32),
    )
    again = Core(core.config, feeder, days, build_agents(core.config, feeder))
    sun = again.scenarios.pv_kw.sum(-1)
    day, noon = np.unravel_index(sun.argmax(), sun.shape)
    state = again.reset(torch.tensor([day]))
    state = dataclasses.replace(state, step=int(noon) - 3)
    wanted = torch.tensor(feeder.terminals.p_kw[again.agent_terminal], dtype=torch.float32)
    assert (wanted < 0).all()
    rated = torch.cat([fleet.p_max_kw for fleet in again.fleets])
    for step in range(4):  # the generator needs some steps to get there
        now = again._surroundings(state.days, state.step)
        most = rated.clone()
        most[4:] *= now.sun_pu.item()
        action = -2.0 * wanted / most - 1.0
        action[:3] = wanted[:3] / rated[:3] if step == 3 else 0.0
        state, outcome = again.step(state, action.unsqueeze(0))
    assert outcome.p_kw[0].numpy() == pytest.approx(wanted.numpy(), rel=1e-5)
    ours = outcome.flow.v_magnitude_pu[0].numpy()
    error = np.abs(ours - opendss_pu(circuit, feeder))
    assert error.max() < 1e-6
    idle = again.run_open_loop(torch.tensor([day]), torch.zeros(1, again.num_steps, 8))
    assert np.abs(idle.flow.v_magnitude_pu[0, 0].numpy() - ours).max() > 1e-3


def test_replay_in_opendss_agrees(core, feeder):
    days = core.days("test")[:1]
    action = torch.linspace(-0.9, 0.9, 8).expand(1, core.num_steps, 8)
    outcome = core.run_open_loop(days, action)
    sites = torch.nn.functional.one_hot(core.agent_terminal, len(feeder.terminals)).double()
    with OpenDSSReplay(feeder) as replay:
        for step in (0, 24, 40):
            base = [
                getattr(core.scenarios, name)[int(days), step].astype(float)
                for name in ("base_p_kw", "base_q_kvar", "pv_kw")
            ]
            own = [(x[0, step].double() @ sites).numpy() for x in (outcome.p_kw, outcome.q_kvar)]
            solved = replay.solve(
                np.concatenate((base[0], own[0] - base[2])), np.concatenate((base[1], own[1]))
            )
            ours = outcome.flow.v_pu[0, step].numpy()
            assert np.abs(solved.v_pu - ours).max() < 1e-6


def test_the_gradient_reaches_every_agent(core):
    day = torch.tensor([int(core.scenarios.pv_kw.sum((1, 2)).argmax())])
    action = torch.zeros(1, core.num_steps, 8, requires_grad=True)
    outcome = core.run_open_loop(day, action)
    (outcome.flow.v_magnitude_pu[0, 24] ** 2).sum().backward()
    assert (action.grad[0, 24].abs() > 1e-7).all()


def test_agents_of_the_mix_come_beside_them(circuit, feeder):
    alone = build_agents(own_task(circuit, num_agents=20, difficulty=2.0), feeder)
    config = own_task(circuit, num_agents=28, difficulty=2.0, hand_over=("all",))
    both = build_agents(config, feeder)
    drawn = [i for i, name in enumerate(both.names) if name not in NAMES]
    assert tuple(both.names[i] for i in drawn) == alone.names
    assert torch.equal(both.terminal[drawn], alone.terminal)
    assert [fleet.kind for fleet in both.fleets] == [
        *("battery", "heat_pump", "generator", "pv_inverter")
    ]
    battery, own = both.fleets[0], 3
    assert torch.equal(battery.p_max_kw[own:], alone.fleets[0].p_max_kw)
    state = battery.initial_state(torch.full((1, battery.num_devices), 0.5), torch.zeros(1, 1))
    assert state[0, own:, 0].numpy() == pytest.approx(battery.energy_max_kwh[own:].numpy() / 2)
    assert state[0, :own, 0].numpy() == pytest.approx(6.0)
    assert len(both.kinds) == len(both.names) == len(set(both.names)) == 28


def test_numbers_of_agents(circuit):
    mix = AgentMix(2, 1, 0)
    assert own_task(circuit, hand_over=("all",)).num_agents == 8
    assert own_task(circuit, hand_over=("battery",)).num_agents == 3
    assert own_task(circuit, hand_over=("all",), agents=mix).num_agents == 11
    assert own_task(circuit, hand_over=("all",), agents=mix).difficulty is not None
    core = make(own_task(circuit), hand_over=("generator", "pv_inverter"), agents=mix)
    assert core.num_agents == 8
    assert [kind for kind in core.agent_kinds if kind == "battery"] == ["battery"] * 2
    tank = core.feeder.terminals.load.index("storage.tank")
    assert core.scenarios.base_p_kw[..., tank] == pytest.approx(-2.0)


def test_a_feeder_without_what_is_asked_for(bare, circuit, feeder, tmp_path):
    with pytest.raises(
        GradmapError, match=r"class storage .for battery.*nothing to hand over: leave"
    ):
        make(feeder=bare, hand_over=("all",))
    text = (CIRCUIT + OWN + TAIL).replace("New Storage", "!").replace("~", "!")
    path = tmp_path / "no_storage.dss"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        GradmapError, match=r"class storage \(for battery\).*only what there is: generator, pv_inv"
    ):
        own_task(path, hand_over=("battery", "generator"))
    assert own_task(path, hand_over=("all",)).num_agents == 5
    saved = tmp_path / "feeder.npz"
    save_feeder(feeder, saved)
    with np.load(saved) as archive:
        old = {name: archive[name] for name in archive.files if not name.startswith("plants.")}
    np.savez(saved, **{**old, "version": np.array(3)})
    with pytest.raises(GradmapError, match=r"storage.tank has no ratings in the feeder's file"):
        own_devices(("battery",), load_feeder_file(saved))


def test_all_faults_of_ratings_come_at_once(tmp_path):
    path = tmp_path / "farm.dss"
    text = OWN.replace("kwhrated=60", "kwhrated=0").replace("kw=4 pf=0.9", "kw=0")
    path.write_text(CIRCUIT + text.replace("%effcharge=96", "%effcharge=0") + TAIL, "utf-8")
    with pytest.raises(GradmapError) as error:
        own_task(path, hand_over=("all",))
    for part in (
        "generator.chp has rated power, kW of 0",
        "storage.tank has kWhrated above its %reserve of 0",
        "storage.tank has a charge_efficiency of 0",
    ):
        assert part in str(error.value)


def test_settings_at_fault(circuit, feeder, tmp_path):
    with pytest.raises(GradmapError, match=r"hand_over names 'heat_pump', expected some of all"):
        TaskConfig(hand_over=("heat_pump",))
    path = tmp_path / "devices.csv"
    path.write_text("bus,device,size_kw\nd,battery,5\n", encoding="utf-8")
    with pytest.raises(GradmapError, match=r"leave it or hand_over out"):
        TaskConfig(hand_over=("all",), placement=Placement(csv=str(path)))
    config = own_task(circuit, hand_over=("all",), num_agents=7)
    with pytest.raises(GradmapError, match=r"num_agents is 7, but .* 8 devices .battery_tank-1,"):
        build_agents(config, feeder)
    with pytest.raises(GradmapError, match=r"difficulty is 3.0, but all 8 agents are"):
        own_task(circuit, hand_over=("all",), difficulty=3.0)


def test_names_are_never_two_of_one(tmp_path):
    path = tmp_path / "farm.dss"
    lines = [
        f"New Generator.{name} bus1=d.1 phases=1 kv=0.2309 kw=4 pf=1"
        for name in ("a_1", "a-1", "0000", "_")
    ]
    path.write_text(CIRCUIT + "\n".join(lines) + TAIL, encoding="utf-8")
    names = [device.name for device in own_devices(("all",), load_feeder(str(path)))]
    assert names == ["generator_a-1", "generator_a-1-2", "generator_own-0000", "generator_own"]
    assert {name.rpartition("_")[0] for name in names} == {"generator"}


def test_a_generator_above_its_rating_is_as_large_as_it_runs(tmp_path):
    path = tmp_path / "farm.dss"
    path.write_text(CIRCUIT + OWN + TAIL + "Set GenMult=1.5\n", encoding="utf-8")
    config = own_task(path, hand_over=("generator",))
    fleet = build_agents(config, load_feeder(str(path))).fleets[0]
    assert fleet.p_max_kw.tolist() == pytest.approx([6.0])


def test_tasks_without_it_are_as_they_were():
    identity = TaskConfig().identity()
    assert "hand_over" not in identity
    assert "placement" not in identity
    assert TaskConfig(placement=Placement(buses=("48",))).identity()["placement"] == {
        "buses": ("48",),
        "csv": None,
    }
    assert TaskConfig(hand_over=("all",)).identity()["hand_over"] == ("all",)


@pytest.fixture
def task_yaml(circuit, tmp_path):
    def write(**task):
        path = tmp_path / "task.yaml"
        path.write_text(yaml.safe_dump({"task": {"feeder": str(circuit), **task}}), "utf-8")
        return path

    return write


def test_yaml_says_the_same(task_yaml, circuit):
    path = task_yaml(hand_over=["all"])
    assert load_run_config("idle", path).task == own_task(circuit, hand_over=("all",))
    config = load_run_config("idle", task_yaml(hand_over=["battery"], num_agents=10)).task
    assert (config.num_agents, config.hand_over) == (10, ("battery",))
    assert config.difficulty is not None
    with pytest.raises(GradmapError, match=r"hand_over.*expected 'all', 'battery'.*found 'boiler'"):
        load_run_config("idle", task_yaml(hand_over=["boiler"]))


def test_gradmap_learns(task_yaml):
    run = assemble(load_run_config("gradmap", task_yaml(hand_over=["all"])))
    try:
        assert run.core.agent_names == NAMES
        measures = run.trainer.iterate(0.0)
        assert all(np.isfinite(value) for value in measures.values())
    finally:
        run.close()


def test_a_task_is_checked(task_yaml, capsys):
    path = task_yaml(hand_over=["all"])
    words = ["--days", "1", "--iterations", "1", "--rounds", "2"]
    assert cli.main(["task", "check", str(path), *words]) in (0, 1)
    assert "8 agents" in capsys.readouterr().out

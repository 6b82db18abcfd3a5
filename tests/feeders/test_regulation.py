"""Controls of taps and capacitors: beside OpenDSS's own, and by the rule's own words."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.dss import read_feeder
from gradmap.feeders.dss_control_day import control_day
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.regulation import Regulation

# One day's shape of load in 48 half-hours, from a quarter to the whole and past it.
SHAPE = 0.75 - 0.5 * np.cos(2.0 * np.pi * (np.arange(48) - 8) / 48)


def day_of(feeder, seed=0, reverse=0.0):
    """Loads of a day that differ from terminal to terminal, `[time, terminal]`."""
    random = np.random.default_rng(seed)
    t = feeder.terminals
    scale = SHAPE[:, None] * random.uniform(0.7, 1.2, (48, len(t)))
    sun = reverse * np.clip(np.sin(np.pi * (np.arange(48) - 14) / 20), 0, None)[:, None]
    return (scale - sun) * t.p_kw, scale * t.q_kvar


def follow(rule, p, q, hours=None, **start):
    """Our controls over steps, each from where the one before ended."""
    found = []
    for k in range(len(p)):
        hour = None if hours is None else torch.tensor([hours[k]])
        settled = rule.settle(
            torch.from_numpy(p[k : k + 1]),
            torch.from_numpy(q[k : k + 1]),
            hour=hour,
            tolerance_pu=1e-10,
            **start,
        )
        found.append(settled)
        start = {"taps": settled.taps, "capacitors": settled.capacitors}
    return found


def joined(found, name):
    return torch.cat([getattr(one, name) for one in found]).numpy()


@pytest.mark.parametrize(
    ("name", "reverse"),
    [("ieee123", 0.0), ("ieee123", 1.5), ("ieee34", 0.0), ("ieee34", 1.0), ("ieee13", 0.0)],
)
def test_a_day_beside_opendss(name, reverse):
    feeder = load_feeder(name)
    p, q = day_of(feeder, reverse=reverse)
    theirs = control_day(feeder, p, q)
    assert theirs.is_settled.all()
    rule = Regulation(Network.from_feeder(feeder))
    assert rule.held == ()
    ours = follow(rule, p, q)
    assert joined(ours, "is_settled").all()
    taps = joined(ours, "taps")
    # The same rule on the same voltages: not one position differs.
    np.testing.assert_array_equal(taps, theirs.taps)
    assert len(np.unique(taps, axis=0)) > 10
    moved = np.abs(np.diff(np.concatenate([feeder.regulators.tap[None], taps]), axis=0))
    assert (joined(ours, "tap_operations") >= moved).all()
    v_pu = np.concatenate([one.flow.v_pu.numpy() for one in ours])
    assert np.abs(v_pu - theirs.v_pu).max() < 1e-6
    for one in ours:
        relay = rule._regulators.measure(one.flow)[1].numpy()
        out = np.abs(relay - feeder.regulators.vreg_v) > feeder.regulators.band_v / 2 + 1e-6
        at_end = np.abs(one.taps.numpy()) == 16
        assert not (out & ~at_end).any()


def test_a_batch_is_its_scenarios_one_by_one():
    feeder = load_feeder("ieee123")
    rule = Regulation(Network.from_feeder(feeder))
    p, q = (torch.from_numpy(part) for part in day_of(feeder))
    generator = torch.Generator().manual_seed(0)
    start = torch.randint(-16, 17, (48, 7), generator=generator)
    together = rule.settle(p, q, start)
    assert bool(together.is_settled.all())
    assert 1 < int(together.sweeps.max()) < 15
    for k in (0, 13, 47):
        alone = rule.settle(p[k], q[k], start[k])
        assert alone.sweeps.shape == ()
        for name in ("taps", "tap_operations", "sweeps"):
            assert torch.equal(getattr(alone, name), getattr(together, name)[k])
        torch.testing.assert_close(alone.flow.v_pu, together.flow.v_pu[k], rtol=0.0, atol=1e-9)
    shaped = rule.settle(p.view(6, 8, -1), q.view(6, 8, -1), start.view(6, 8, -1))
    assert torch.equal(shaped.taps.flatten(0, 1), together.taps)
    assert shaped.flow.v_pu.shape == (6, 8, feeder.num_nodes)
    again = rule.settle(p, q, together.taps)
    assert int(again.tap_operations.sum()) == 0
    assert int(again.sweeps.max()) == 0


def test_few_sweeps_are_said_not_to_settle():
    feeder = load_feeder("ieee123")
    rule = Regulation(Network.from_feeder(feeder))
    p, q = (torch.from_numpy(part[:2]) for part in day_of(feeder))
    start = torch.full((7,), 16)
    cut = rule.settle(p, q, start, max_sweeps=1)
    assert not bool(cut.is_settled.any())
    assert cut.sweeps.tolist() == [1, 1]
    still = rule.settle(p, q, start, max_sweeps=0)
    assert torch.equal(still.taps, start.expand(2, -1))
    assert not bool(still.is_settled.any())


def test_no_solution_moves_nothing():
    feeder = load_feeder("ieee123")
    rule = Regulation(Network.from_feeder(feeder))
    p, q = (torch.from_numpy(part[:2]) for part in day_of(feeder))
    p[0] = torch.nan
    found = rule.settle(p, q)
    assert found.is_settled.tolist() == [False, True]
    assert int(found.tap_operations[0].sum()) == 0


def test_delays_order_the_moves():
    feeder = load_feeder("ieee34")
    slow = np.array([15.0, 15.0, 15.0, 60.0, 60.0, 60.0])
    p, q = (torch.from_numpy(part[:1]) for part in day_of(feeder))
    start = torch.zeros(1, 6, dtype=torch.int64)
    first = Regulation(Network.from_feeder(_with_controls(feeder, delay_s=slow)))
    one_sweep = first.settle(p, q, start, max_sweeps=1).tap_operations[0]
    assert bool((one_sweep[:3] > 0).any())
    assert not bool(one_sweep[3:].any())
    last = Regulation(Network.from_feeder(_with_controls(feeder, delay_s=slow[::-1].copy())))
    one_sweep = last.settle(p, q, start, max_sweeps=1).tap_operations[0]
    assert not bool(one_sweep[:3].any())
    assert bool((one_sweep[3:] > 0).any())
    # An inverse delay lets the one that is farthest out go first.
    inverse = _with_controls(feeder, is_inverse=np.ones(6, np.bool_))
    one_sweep = Regulation(Network.from_feeder(inverse)).settle(p, q, start, max_sweeps=1)
    assert int((one_sweep.tap_operations[0] > 0).sum()) == 1


def test_no_more_than_max_change_in_a_sweep():
    feeder = load_feeder("ieee123")
    p, q = (torch.from_numpy(part[20:21]) for part in day_of(feeder))
    start = torch.full((7,), -16)
    single = Regulation(
        Network.from_feeder(_with_controls(feeder, max_change=np.ones(7, np.int64)))
    )
    moves = single.settle(p, q, start, max_sweeps=1).tap_operations[0]
    assert moves.max() == 1
    assert not single.settle(p, q, start).is_settled.any()  # 15 sweeps of one position


def _with_controls(feeder, **changes):
    regulator = dataclasses.replace(feeder.controls.regulator, **changes)
    controls = dataclasses.replace(feeder.controls, regulator=regulator)
    return dataclasses.replace(feeder, controls=controls)


# A long line whose end sags and whose capacitors answer to it.
CIRCUIT = """
New Transformer.up Phases=3 Windings=2 XHL=4 %LoadLoss=1
~ Wdg=1 Bus=a.1.2.3 Conn=Wye kV=0.4 kVA=500
~ Wdg=2 Bus=c.1.2.3 Conn=Wye kV=4.16 kVA=500
New LineCode.three NPhases=3 BaseFreq=60 Units=km
~ RMatrix=[0.4 | 0.1 0.4 | 0.1 0.1 0.4] XMatrix=[0.9 | 0.4 0.9 | 0.4 0.4 0.9]
~ CMatrix=[10 | -2 10 | -2 -2 10]
New Line.far Phases=3 Bus1=c.1.2.3 Bus2=d.1.2.3 LineCode=three Length=8 Units=km
New Load.far Phases=3 Bus1=d.1.2.3 kV=4.16 kW=200 kvar=120 Model=1 Vminpu=0.7
New Load.near Phases=1 Bus1=c.2 kV=2.4 kW=20 kvar=15 Model=1 Vminpu=0.7
New Capacitor.one Phases=3 Bus1=d.1.2.3 kV=4.16 kvar=60
New Capacitor.two Phases=1 Bus1=d.2 kV=2.4 kvar=15
"""
TAIL = "Set VoltageBases=[12.47 0.4 4.16]\nCalcVoltageBases\n"
SECOND = "New CapControl.second Capacitor=two Element=Line.far Terminal=2 "
CONTROLS = {
    "voltage of one phase": "Terminal=2 Type=voltage PTRatio=20 On=108 Off=119 PTPhase=3",
    "lowest voltage": "Terminal=2 Type=voltage PTRatio=20 On=105 Off=117 PTPhase=min",
    "mean voltage": "Terminal=2 Type=voltage PTRatio=20 On=107 Off=117 PTPhase=avg",
    "kvar": "Type=kvar On=90 Off=-20",
    "kvar with override": "Type=kvar On=9000 Off=-9000 Terminal=2 PTRatio=20 PTPhase=3 "
    "VoltOverride=Yes Vmin=107 Vmax=118",
    "current": "Type=current CTRatio=1 On=25 Off=12",
    "greatest current": "Type=current CTRatio=1 On=25 Off=12 CTPhase=max",
    "time": "Type=time On=6.2 Off=18.7",
    "time over midnight": "Type=time On=18.2 Off=6.2",
}


@pytest.mark.parametrize("kind", CONTROLS)
def test_capacitor_controls_beside_opendss(write_circuit, kind):
    text = CIRCUIT + f"New CapControl.first Capacitor=one Element=Line.far {CONTROLS[kind]}\n"
    text += SECOND + "Type=voltage PTRatio=20 On=104 Off=119 Delay=5 DelayOff=5 PTPhase=2\n"
    feeder = read_feeder(write_circuit(text, tail=TAIL))
    assert feeder.controls.held == ()
    p, q = day_of(feeder, reverse=0.4)
    hours = np.arange(48) / 2.0
    theirs = control_day(feeder, p, q, hours=hours)
    rule = Regulation(Network.from_feeder(feeder))
    ours = follow(rule, p, q, hours)
    assert joined(ours, "is_settled").all()
    assert theirs.is_settled.all()
    is_on = joined(ours, "capacitors")
    np.testing.assert_array_equal(is_on, theirs.capacitors)
    assert is_on[:, 0].any()
    assert not is_on[:, 0].all()
    switched = joined(ours, "capacitor_operations").sum(0)
    changes = np.abs(np.diff(np.concatenate([[[1, 1]], is_on.astype(int)]), axis=0)).sum(0)
    assert (switched == changes).all()


def test_controls_that_are_not_followed_say_why(write_circuit):
    text = CIRCUIT + "New CapControl.first Capacitor=one Element=Line.far Type=pf\n"
    text += "New Capacitor.steps Phases=3 Bus1=d.1.2.3 kV=4.16 kvar=[10 20] NumSteps=2\n"
    text += "New CapControl.second Capacitor=steps Element=Line.far Type=kvar On=9 Off=1\n"
    text += (
        "New RegControl.back Transformer=up Winding=2 VReg=120 Band=2 PTRatio=20 Reversible=Yes\n"
    )
    feeder = read_feeder(write_circuit(text, tail=TAIL))
    rule = Regulation(Network.from_feeder(feeder))
    assert rule.held == (
        "regcontrol.back: it is reversible, and only forward regulation is followed",
        "capcontrol.first: is of type powerfactor, expected one of voltage, kvar, current, time",
        "capcontrol.second: its capacitor is not a shunt of one step, wholly on or off",
    )
    p, q = (torch.from_numpy(part[:1]) for part in day_of(feeder))
    found = rule.settle(p, q, torch.tensor([7]))
    assert found.taps.tolist() == [[7]]
    assert bool(found.is_settled.all())


def test_a_clock_needs_the_hour(write_circuit):
    text = CIRCUIT + "New CapControl.first Capacitor=one Element=Line.far Type=time On=6 Off=18\n"
    feeder = read_feeder(write_circuit(text, tail=TAIL))
    rule = Regulation(Network.from_feeder(feeder))
    p, q = (torch.from_numpy(part[:1]) for part in day_of(feeder))
    with pytest.raises(GradmapError, match="give the hour"):
        rule.settle(p, q)


def test_a_remote_bus_and_a_limit_beside_opendss(write_circuit):
    text = CIRCUIT.replace("New Capacitor.two Phases=1", "New Capacitor.two Phases=1 ")
    text += "New Transformer.reg Phases=3 XHL=0.5 Buses=[d.1.2.3 e.1.2.3] kVs=[4.16 4.16] "
    text += "kVAs=[500 500]\nNew Load.end Phases=3 Bus1=e.1.2.3 kV=4.16 kW=60 kvar=20 Vminpu=0.7\n"
    text += "New Line.on Phases=3 Bus1=e.1.2.3 Bus2=f.1.2.3 LineCode=three Length=9 Units=km\n"
    text += "New Load.last Phases=3 Bus1=f.1.2.3 kV=4.16 kW=40 kvar=20 Vminpu=0.7\n"
    text += "New RegControl.far Transformer=reg Winding=2 VReg=119 Band=2 PTRatio=20 "
    text += "Bus=f.2 RemotePTRatio=20\n"
    text += "New RegControl.up Transformer=up Winding=2 VReg=119 Band=1.5 PTRatio=20 R=2 X=3 "
    text += "CTPrim=100 PTPhase=min VLimit=121 Delay=30\n"
    feeder = read_feeder(write_circuit(text, tail=TAIL))
    p, q = day_of(feeder, reverse=0.5)
    theirs = control_day(feeder, p, q)
    rule = Regulation(Network.from_feeder(feeder))
    assert rule.held == ()
    ours = follow(rule, p, q)
    assert theirs.is_settled.all()
    np.testing.assert_array_equal(joined(ours, "taps"), theirs.taps)
    assert len(np.unique(theirs.taps, axis=0)) > 5


def test_unregulated_networks_are_refused(write_circuit):
    bare = read_feeder(write_circuit("New Load.l Phases=1 Bus1=b.1.4 kV=0.23 kW=1 kvar=0\n"))
    with pytest.raises(GradmapError, match="no tap or capacitor that can be moved"):
        Regulation(Network.from_feeder(bare))

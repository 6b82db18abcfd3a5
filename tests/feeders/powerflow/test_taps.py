"""Taps and capacitors of each scenario's own: against OpenDSS, rebuilt networks, differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradmap.feeders.catalog import load_feeder, reload_feeder
from gradmap.feeders.dss import read_feeder
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import PowerFlow, solve_power_flow

LIMITS = [1e-7, 1e-6, 1e-4, 1e-4]  # p.u., of the largest current, kW, kW
EXACT = {"tolerance_pu": 1e-10, "max_iterations": 500}

# A substation transformer with a tap changer on its delta side, one phase's
# regulator between two phases behind it, capacitors in wye and delta.
LTC = """
New Transformer.ltc Phases=3 Windings=2 XHL=6 %LoadLoss=1
~ Wdg=1 Bus=a.1.2.3 Conn=Delta kV=0.4 kVA=100
~ Wdg=2 Bus=c.1.2.3 Conn=Wye kV=4.16 kVA=100
New RegControl.main Transformer=ltc Winding=2 TapWinding=1 VReg=120 Band=2 PTRatio=20 PTPhase=max
New Transformer.between Phases=1 XHL=0.1 Buses=[c.1.2 d.1.2] Conns=[Delta Delta]
~ kVs=[4.16 4.16] kVAs=[50 50]
New Reactor.jumper Phases=1 Bus1=c.2 Bus2=d.2 R=0.001 X=0
New RegControl.side Transformer=between Winding=2 VReg=120 Band=2 PTRatio=34 R=1 X=1
New Capacitor.wye Phases=3 Bus1=c.1.2.3 kV=4.16 kvar=30
New Capacitor.delta Phases=3 Bus1=c.1.2.3 Conn=Delta kV=4.16 kvar=20
New Capacitor.off Phases=1 Bus1=c.2 kV=2.4 kvar=10 States=[0]
New Load.l1 Phases=3 Bus1=c.1.2.3 kV=4.16 kW=30 kvar=10 Model=1
New Load.l2 Phases=1 Bus1=d.1.2 Conn=Delta kV=4.16 kW=10 kvar=4 Model=5
"""
LTC_TAIL = "Set VoltageBases=[12.47 0.4 4.16]\nCalcVoltageBases\n"


@pytest.fixture(scope="module")
def random_sets(network):
    """200 scenarios of random loads, devices and taps over the whole range."""
    generator = torch.Generator().manual_seed(3)
    r = network.feeder.regulators
    taps = torch.randint(-16, 17, (200, len(r)), generator=generator)
    shape = (200, network.num_terminals)
    factor = 0.3 + torch.rand(shape, generator=generator, dtype=torch.float64)
    device = 8.0 * torch.randn(shape, generator=generator, dtype=torch.float64)
    device[:, : network.num_load_terminals] = 0.0
    return taps, factor * network.p_nominal_kw + device, factor * network.q_nominal_kvar


def worst(flow, replay, p, q, move):
    """Largest differences from OpenDSS: p.u., relative to the largest current, kW, kW."""
    found = np.zeros(4)
    for k in range(len(p)):
        move(k)
        other = replay.solve(p[k].numpy(), q[k].numpy())
        assert other.converged
        current = np.abs(other.branch_current_a)
        own = flow.branch_current_a[k].numpy()
        found = np.maximum(
            found,
            [
                np.abs(other.v_pu - flow.v_pu[k].numpy()).max(),
                np.abs(other.branch_current_a - own).max() / current.max(),
                abs(other.losses_kw - float(flow.losses_kw[k])),
                abs(other.source_kw - float(flow.source_kw[k])),
            ],
        )
    return found


def test_200_random_tap_sets_in_one_batch_meet_opendss(network, random_sets):
    taps, p, q = random_sets
    flow = solve_power_flow(network, p, q, taps=taps, **EXACT)
    assert bool(flow.converged.all())
    assert torch.equal(flow.taps, taps)
    with OpenDSSReplay(network.feeder) as replay:
        error = worst(flow, replay, p, q, lambda k: replay.move(taps[k].numpy()))
    # Losses hang on switches of 1e6 S, whose rounding OpenDSS has too.
    assert (error < LIMITS).all(), error


@pytest.mark.parametrize("name", ["ieee13", "ieee34"])
def test_other_feeders_meet_opendss(name):
    network = Network.from_feeder(load_feeder(name))
    generator = torch.Generator().manual_seed(1)
    taps = torch.randint(-16, 17, (20, len(network.feeder.regulators)), generator=generator)
    p = network.p_nominal_kw * torch.linspace(0.2, 1.2, 20, dtype=torch.float64)[:, None]
    q = 0.5 * p
    is_on = torch.rand(20, 2, generator=generator) < 0.5
    flow = solve_power_flow(network, p, q, taps=taps, capacitors=is_on, **EXACT)
    assert torch.equal(flow.capacitors, is_on)
    with OpenDSSReplay(network.feeder, devices=False) as replay:
        error = worst(flow, replay, p, q, lambda k: replay.move(taps[k].numpy(), is_on[k].numpy()))
    assert (error < LIMITS).all(), error


def test_a_tap_changer_in_delta_a_regulator_between_phases_and_capacitors(write_circuit):
    feeder = read_feeder(write_circuit(LTC, tail=LTC_TAIL))
    assert feeder.controls.capacitors.name == ("wye", "delta", "off")
    assert feeder.controls.capacitors.is_on.tolist() == [True, True, False]
    network = Network.from_feeder(feeder)
    generator = torch.Generator().manual_seed(0)
    taps = torch.randint(-16, 17, (30, 2), generator=generator)
    is_on = torch.rand(30, 3, generator=generator) < 0.5
    p = network.p_nominal_kw.expand(30, -1)
    q = network.q_nominal_kvar.expand(30, -1)
    flow = solve_power_flow(network, p, q, taps=taps, capacitors=is_on, **EXACT)
    with OpenDSSReplay(feeder, devices=False) as replay:
        error = worst(flow, replay, p, q, lambda k: replay.move(taps[k].numpy(), is_on[k].numpy()))
    assert (error < LIMITS).all(), error


def test_capacitors_meet_opendss(network, draw):
    p, q = draw(network, 16)
    is_on = torch.arange(16)[:, None].bitwise_right_shift(torch.arange(4)) % 2 == 1
    flow = solve_power_flow(network, p, q, capacitors=is_on, **EXACT)
    with OpenDSSReplay(network.feeder) as replay:
        error = worst(flow, replay, p, q, lambda k: replay.move(None, is_on[k].numpy()))
    assert (error < LIMITS).all(), error


def test_the_taps_of_the_feeder_change_nothing(network, draw):
    p, q = draw(network, 5)
    plain = solve_power_flow(network, p, q)
    given = solve_power_flow(network, p, q, taps=plain.taps, capacitors=plain.capacitors)
    for name in ("u", "j", "iterations", "v_pu", "branch_current_a", "source_kw"):
        one, other = getattr(plain, name), getattr(given, name)
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)
    # The sum over branches is cut otherwise, among them switches of 1e6 S.
    torch.testing.assert_close(given.losses_kw, plain.losses_kw, rtol=1e-7, atol=0.0)
    wide = solve_power_flow(network, p, q, taps=plain.taps[0])
    assert torch.equal(wide.u, given.u)


@pytest.fixture(scope="module")
def moved():
    """Taps far from the feeder's, one set for all."""
    return torch.tensor([-4, 9, -16, 3, 0, 16, -9])


@pytest.fixture(scope="module")
def rebuilt(network, moved):
    """The network of the feeder read again at those taps."""
    taps = dict(zip(network.feeder.regulators.control, moved.tolist(), strict=True))
    return Network.from_feeder(reload_feeder(network.feeder, taps), devices=True)


def judged(flow: PowerFlow) -> torch.Tensor:
    """A sum to which everything that a solution gives contributes."""
    generator = torch.Generator().manual_seed(2)
    total = flow.losses_kw.sum() / 100 + flow.source_kw.sum() / 1e3 + flow.source_kvar.sum() / 1e3
    for part in (
        flow.v_magnitude_pu,
        flow.v_pu.imag,
        flow.branch_current_a.real / 100,
        flow.branch_loading,
        flow.v_terminal_magnitude_pu,
        flow.unbalance_pct,
        flow.port_current_a.imag,
    ):
        weight = torch.rand(part.shape[-1], generator=generator, dtype=torch.float64)
        total = total + (part.double() * weight).sum()
    return total


def test_gradients_are_those_of_a_network_built_at_the_taps(network, rebuilt, moved, draw):
    p, q = draw(network, 4)
    found = []
    for net, taps in ((network, moved), (rebuilt, None)):
        given = p.clone().requires_grad_(), q.clone().requires_grad_()
        value = judged(solve_power_flow(net, *given, taps=taps, **EXACT))
        found.append((value, *torch.autograd.grad(value, given)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-7, atol=1e-8)


def test_gradients_are_those_of_finite_differences(network, moved, draw):
    p, q = draw(network, 2)
    given = p.clone().requires_grad_(), q.clone().requires_grad_()
    taps = torch.stack((moved, -moved))
    gradients = torch.autograd.grad(
        judged(solve_power_flow(network, *given, taps=taps, **EXACT)), given
    )
    generator = torch.Generator().manual_seed(5)
    for _ in range(3):
        along = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for _ in range(2)]
        step = 1e-3
        ends = [
            judged(
                solve_power_flow(
                    network, p + s * along[0], q + s * along[1], taps=taps, tolerance_pu=1e-12
                )
            )
            for s in (step, -step)
        ]
        expected = (ends[0] - ends[1]) / (2 * step)
        slope = sum((g * a).sum() for g, a in zip(gradients, along, strict=True))
        torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-6)


def test_heavy_load_takes_the_direct_adjoint(network, rebuilt, moved, draw):
    p, q = draw(network, 3, scale=4.0)
    found = []
    for net, taps in ((network, moved), (rebuilt, None)):
        given = p.clone().requires_grad_(), q.clone().requires_grad_()
        flow = solve_power_flow(net, *given, taps=taps, tolerance_pu=1e-11, max_iterations=500)
        assert bool(flow.converged.all())
        found.append(torch.autograd.grad(flow.v_magnitude_pu.sum(), given))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_single_precision(network, single, random_sets):
    taps, p, q = random_sets
    exact = solve_power_flow(network, p, q, taps=taps)
    rough = solve_power_flow(single, p.float(), q.float(), taps=taps)
    assert rough.v_pu.dtype == torch.complex64
    assert float((rough.v_pu - exact.v_pu).abs().max()) < 2e-6  # two tolerances of 1e-6
    torch.testing.assert_close(rough.losses_kw.double(), exact.losses_kw, rtol=2e-5, atol=0.0)
    torch.testing.assert_close(rough.source_kw.double(), exact.source_kw, rtol=2e-5, atol=1e-2)


def test_stacked_steps_keep_their_taps(network, draw):
    p, q = draw(network, 3, 2)
    generator = torch.Generator().manual_seed(7)
    taps = torch.randint(-16, 17, (3, 2, 7), generator=generator)
    whole = solve_power_flow(network, p, q, taps=taps)
    steps = [solve_power_flow(network, p[:, k], q[:, k], taps=taps[:, k]) for k in range(2)]
    stacked = PowerFlow.stack(steps, dim=1)
    assert torch.equal(stacked.taps, taps)
    torch.testing.assert_close(stacked.v_pu, whole.v_pu, rtol=0.0, atol=1e-10)
    torch.testing.assert_close(stacked.losses_kw, whole.losses_kw, rtol=1e-9, atol=0.0)
    with pytest.raises(GradmapError, match="some with taps or capacitors of their own"):
        PowerFlow.stack([steps[0], solve_power_flow(network, p[:, 0], q[:, 0])])


def test_a_guess_and_many_chunks(network, draw):
    p, q = draw(network, 150)
    taps = torch.randint(-16, 17, (150, 7), generator=torch.Generator().manual_seed(8))
    cold = solve_power_flow(network, p, q, taps=taps)
    warm = solve_power_flow(network, p, q, taps=taps, guess=cold)
    assert int(warm.iterations.max()) <= 2
    torch.testing.assert_close(warm.v_pu, cold.v_pu, rtol=0.0, atol=1e-7)


def test_a_scenario_without_a_solution_is_flagged(network, draw):
    p, q = draw(network, 2)
    p[1] = torch.nan
    p.requires_grad_()
    flow = solve_power_flow(network, p, q, taps=torch.zeros(2, 7, dtype=torch.int64))
    assert flow.converged.tolist() == [True, False]
    assert bool(flow.v_pu[1].isnan().all())
    (gradient,) = torch.autograd.grad(flow.losses_kw[0] + flow.v_magnitude_pu[0].sum(), p)
    assert bool(gradient.isfinite().all())


def test_what_does_not_fit_is_refused(network, toy, draw):
    p, q = draw(network, 2)
    zeros = torch.zeros(2, 7, dtype=torch.int64)
    for taps, message in (
        (torch.zeros(2, 6, dtype=torch.int64), r"shape \(2, 6\), expected \[7\] or \[2, 7\]"),
        (zeros.double(), "expected whole numbers"),
        (zeros + 17, "tap of creg1a goes from 17 to 17, expected -16 to 16"),
    ):
        with pytest.raises(GradmapError, match=message):
            solve_power_flow(network, p, q, taps=taps)
    with pytest.raises(GradmapError, match=r"capacitors has shape \(3,\), expected \[4\]"):
        solve_power_flow(network, p, q, capacitors=torch.ones(3, dtype=torch.bool))
    nothing = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(GradmapError, match="has no tap or capacitor that can be moved"):
        solve_power_flow(toy, toy.p_nominal_kw, toy.q_nominal_kvar, taps=nothing)

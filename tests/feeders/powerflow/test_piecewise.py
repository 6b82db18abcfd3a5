"""Laws beside the closed form: the plain table of cases, slopes, gradients."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from gradmap.feeders.model import LoadModel
from gradmap.feeders.powerflow.law_table import LawTable
from gradmap.feeders.powerflow.loads import LoadLaw
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import solve_power_flow

ZIPV = [0.3, 0.2, 0.5, 0.7, 0.4, -0.1, 0.0]
DROPS = [*ZIPV[:6], 0.8]
# model, (vmin, vmax, vlow), ZIPV
CASES = {
    "motor": (LoadModel.MOTOR, (0.95, 1.05, 0.5), ZIPV),
    "ZIP": (LoadModel.ZIP, (0.9, 1.1, 0.5), ZIPV),
    "ZIP that drops out": (LoadModel.ZIP, (0.9, 1.1, 0.5), DROPS),
    "power, vmin below vlow": (LoadModel.CONSTANT_POWER, (0.2, 1.05, 0.5), ZIPV),
    "power, vmin above 1": (LoadModel.CONSTANT_POWER, (1.02, 1.08, 0.5), ZIPV),
    "current, vlow of 0": (LoadModel.CONSTANT_CURRENT, (0.95, 1.05, 0.0), ZIPV),
    "CVR, vmin below vlow": (LoadModel.CVR, (0.3, 1.05, 0.5), ZIPV),
    "fixed kvar": (LoadModel.FIXED_KVAR, (0.95, 1.05, 0.5), ZIPV),
    "fixed reactance": (LoadModel.FIXED_REACTANCE, (0.95, 1.05, 0.5), ZIPV),
    "generator": (LoadModel.GENERATOR, (0.9, 1.1, 0.0), ZIPV),
    "generator across": (LoadModel.GENERATOR_ACROSS, (0.9, 1.1, 0.0), ZIPV),
    "limited generator": (LoadModel.GENERATOR_LIMITED, (0.9, 1.1, 0.0), ZIPV),
}
CVR = (0.8, 2.5)


def plain_gain(model, limits, zipv, u, part):
    """Gain at one voltage; `part` is 0 for P and 1 for Q. As OpenDSS's code reads."""
    vmin, vmax, vlow = limits
    if model == LoadModel.GENERATOR_LIMITED:
        sign = -1.0 if part else 1.0
        return sign / (vmin * u) if u < vmin else u**-2
    if model in (LoadModel.GENERATOR, LoadModel.GENERATOR_ACROSS):
        share = 1.0 if model == LoadModel.GENERATOR else 1 / 3
        return share * vmin**-2 if u <= vmin else share * vmax**-2 if u > vmax else u**-2
    if u <= vlow:
        return 1.0
    if model in (LoadModel.FIXED_KVAR, LoadModel.FIXED_REACTANCE):
        if part and (model == LoadModel.FIXED_REACTANCE or not vmin < u <= vmax):
            return 1.0
        return vmin**-2 if u <= vmin else vmax**-2 if u > vmax else u**-2

    def line(current):
        return (vlow + (current - vlow) / (vmin - vlow) * (u - vlow)) / u

    power = line(1 / vmin) if u <= vmin else vmax**-2 if u > vmax else u**-2
    current = line(1.0) if u <= vmin else vmax**-1 if u > vmax else u**-1
    if model == LoadModel.ZIP:
        z, i, p = zipv[3 * part : 3 * part + 3]
        drop = 1.0
        if zipv[6] > 0:
            drop = 0.5 * (1 + math.tanh(500 * (u - zipv[6])))
        return (z + i * current + p * power) * drop
    if model == LoadModel.CONSTANT_CURRENT:
        return current
    if vmin < u <= vmax and model == LoadModel.MOTOR and part:
        return 1.0
    if vmin < u <= vmax and model == LoadModel.CVR:
        return u ** (CVR[part] - 2)
    return power


def make_law(case, ratio=1.0):
    model, (vmin, vmax, vlow), zipv = CASES[case]
    table = LawTable(
        name=("one",),
        model=np.array([int(model)]),
        vmin_pu=np.array([vmin]),
        vmax_pu=np.array([vmax]),
        vlow_pu=np.array([vlow]),
        cvr_p=np.array([CVR[0]]),
        cvr_q=np.array([CVR[1]]),
        zipv=np.array([zipv]),
        ratio=np.array([ratio]),
    )
    return LoadLaw.from_table(table, np.array([1]), np.array([2]), (2, 4))


def gains(law, r):
    """Gains at inverse voltages `r`: `[2, voltage]`, and all places but the terminal's are 1."""
    work = torch.empty(2, 2, len(r), 4, dtype=r.dtype)
    both = torch.stack(law.gain(r[:, None].expand(-1, 4), (work[0], work[1])))
    elsewhere = both.clone()
    elsewhere[:, 1, :, 2] = 1.0
    assert (elsewhere == 1.0).all()
    return both[:, 1, :, 2]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ratio", [1.0, 1.04])
def test_the_law_is_the_table(case, ratio):
    u = np.linspace(0.05, 1.6, 3001)
    found = gains(make_law(case, ratio), torch.from_numpy(1 / u)).numpy()
    for part in (0, 1):
        expected = [ratio**2 * plain_gain(*CASES[case], x * ratio, part) for x in u]
        np.testing.assert_allclose(found[part], expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("case", CASES)
def test_the_slope_is_the_derivative(case):
    law = make_law(case, 1.03)
    u = torch.tensor([0.3, 0.6, 0.795, 0.85, 0.97, 1.0, 1.03, 1.2, 1.4], dtype=torch.float64)
    r, h = 1 / u, 1e-7
    gain, slope = law.gain_and_slope(r[:, None, None].expand(-1, 1, 4))
    expected = (gains(law, r + h) - gains(law, r - h)) / (2 * h)
    torch.testing.assert_close(slope[1, :, :, 2].T, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gain[1, :, :, 2].T, gains(law, r))


def test_a_dead_terminal_stays_finite():
    for case in CASES:
        found = gains(make_law(case), torch.tensor([1e30, 1e-30], dtype=torch.float64))
        assert torch.isfinite(found).all() or case == "limited generator"


# Not heavier: two of the laws jump at vmin, where no solution may be.
@pytest.mark.parametrize("load", [-1.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(2))
def test_gradients_of_a_solved_network(build_toy, load, seed):
    rng = np.random.default_rng(seed)
    toy = build_toy()
    count = len(toy.terminals)
    laws = [CASES[case] for case in rng.permutation(list(CASES))[:count]]
    terminals = dataclasses.replace(
        toy.terminals,
        model=np.array([int(law[0]) for law in laws]),
        vmin_pu=np.array([law[1][0] for law in laws]),
        vmax_pu=np.array([law[1][1] for law in laws]),
        vlow_pu=np.array([law[1][2] for law in laws]),
        zipv=np.array([law[2] for law in laws]),
    )
    network = Network.from_feeder(dataclasses.replace(toy, terminals=terminals))
    p = (load * network.p_nominal_kw).expand(1, -1).clone().requires_grad_()
    q = (load * network.q_nominal_kvar).expand(1, -1).clone().requires_grad_()

    def voltage(p, q):
        flow = solve_power_flow(network, p, q, tolerance_pu=1e-13, max_iterations=300)
        assert flow.converged.all()
        return torch.view_as_real(flow.v_pu), flow.losses_kw

    assert torch.autograd.gradcheck(voltage, (p, q), eps=1e-4, atol=1e-8, rtol=1e-5)


def test_single_precision(build_toy):
    toy = build_toy()
    zipv = np.tile(DROPS, (len(toy.terminals), 1))
    model = np.full(len(toy.terminals), int(LoadModel.ZIP))
    terminals = dataclasses.replace(toy.terminals, model=model, zipv=zipv)
    network = Network.from_feeder(dataclasses.replace(toy, terminals=terminals))
    power = (network.p_nominal_kw, network.q_nominal_kvar)
    double = solve_power_flow(network, *power).v_pu
    single = network.to(dtype=torch.complex64)
    found = solve_power_flow(single, *(x.float() for x in power)).v_pu
    assert (found - double).abs().max() < 1e-6

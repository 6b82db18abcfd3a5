"""The closed form of the load law against the table of cases."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import LoadModel
from gradmap.feeders.powerflow.loads import LawTable, LoadLaw

MODELS = [
    LoadModel.CONSTANT_POWER,
    LoadModel.CONSTANT_CURRENT,
    LoadModel.CONSTANT_IMPEDANCE,
    LoadModel.CVR,
]
LIMITS = [(0.95, 1.05, 0.5), (0.8, 1.2, 0.5), (1.0, 1.1, 0.7), (0.6, 1.05, 0.59)]


def make_table(model, limits, ratio=1.0, cvr=(0.8, 2.5), strict=True):
    vmin, vmax, vlow = (np.array([value]) for value in limits)
    return LawTable(
        name=("load",),
        model=np.array([model]),
        vmin_pu=vmin,
        vmax_pu=vmax,
        vlow_pu=vlow,
        cvr_p=np.array([cvr[0]]),
        cvr_q=np.array([cvr[1]]),
        zipv=np.zeros((1, 7)),
        ratio=np.array([ratio]),
    )


def make_law(*arguments, **options):
    table = make_table(*arguments, **options)
    return LoadLaw.from_table(table, np.array([0]), np.array([0]), (1, 1))


def gains(law, r):
    work = torch.empty(2, 1, len(r), 1, dtype=r.dtype)
    gain_p, gain_q = law.gain(r[:, None], (work[0], work[1]))
    return gain_p[0, :, 0].clone(), gain_q[0, :, 0].clone()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("ratio", [1.0, 1.04])
def test_law_is_the_table(gain_by_table, model, limits, ratio):
    """Also where the port's base is not the terminal's rated voltage."""
    u = torch.linspace(0.05, 1.6, 4001, dtype=torch.float64)
    law = [torch.tensor(value, dtype=torch.float64) for value in (int(model), *limits)]
    # u is per unit of the port's base; the terminal sees u times ratio.
    for found, power in zip(
        gains(make_law(model, limits, ratio=ratio), 1 / u), (0.8, 2.5), strict=True
    ):
        expected = ratio**2 * gain_by_table(
            u * ratio, *law, torch.tensor(power, dtype=torch.float64)
        )
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("model", MODELS[:3])
@pytest.mark.parametrize("limits", LIMITS)
def test_law_is_continuous_at_every_threshold(model, limits):
    law = make_law(model, limits)
    for threshold in limits:
        sides = torch.tensor([threshold * (1 - 1e-9), threshold, threshold * (1 + 1e-9)])
        found, _ = gains(law, 1 / sides.double())
        assert float(found.max() - found.min()) < 1e-7


@pytest.mark.parametrize("model", MODELS)
def test_slope_is_the_derivative(model):
    law = make_law(model, LIMITS[0])
    u = torch.tensor([0.3, 0.6, 0.8, 0.97, 1.0, 1.03, 1.1, 1.4], dtype=torch.float64)
    r, h = 1 / u, 1e-6
    found_gain, slope = law.gain_and_slope(r[:, None, None])
    upper, lower = gains(law, r + h), gains(law, r - h)
    for part in range(found_gain.shape[2]):
        expected = (upper[part] - lower[part]) / (2 * h)
        torch.testing.assert_close(slope[0, :, part, 0], expected, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(found_gain[0, :, part, 0], gains(law, r)[part])


def test_collapsed_and_huge_voltages_stay_finite():
    law = make_law(LoadModel.CONSTANT_POWER, LIMITS[0])
    found, _ = gains(law, torch.tensor([1e30, 1e-30]))
    torch.testing.assert_close(found, torch.tensor([1.0, 1.05**-2]))


def test_faults_are_named_together():
    table = make_table(LoadModel.CONSTANT_POWER, LIMITS[0])
    table = dataclasses.replace(
        table,
        name=("a", "b", "c"),
        model=np.array([1, 9, 1]),
        vmin_pu=np.array([0.95, 0.95, -0.4]),
        vmax_pu=np.array([1.05, 1.05, 1.05]),
        vlow_pu=np.array([0.5, 0.5, 0.5]),
    )
    with pytest.raises(GradmapError, match=r"terminal b has load model 9.*terminal c has vlow"):
        table.check()

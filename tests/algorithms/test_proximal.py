"""Surrogates: the exact gradient at the rollout, no gain beyond the trust region."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradmap.algorithms.proximal import SURROGATES, clipped_surrogate, quadratic_surrogate

SLOPES = st.floats(-1e3, 1e3).filter(lambda g: abs(g) > 1e-6)
REGIONS = st.floats(1e-3, 0.5)
BY_NAME = pytest.mark.parametrize("name", SURROGATES)


def slope_at(surrogate, gradient, change, region):
    """The surrogate and its derivative by the change, in float64."""
    at = torch.tensor(change, dtype=torch.float64, requires_grad=True)
    value = surrogate(torch.tensor(gradient, dtype=torch.float64), at, region)
    return value.item(), torch.autograd.grad(value, at)[0].item()


@BY_NAME
@given(gradient=SLOPES, region=REGIONS)
def test_at_the_rollout_the_gradient_is_that_of_the_environment(name, gradient, region):
    value, slope = slope_at(SURROGATES[name], gradient, 0.0, region)
    assert value == 0.0
    assert slope == gradient


@BY_NAME
@given(gradient=SLOPES, region=REGIONS, share=st.floats(1.001, 10.0))
def test_beyond_the_region_nothing_is_gained(name, gradient, region, share):
    """Going further down the gradient than the region allows does not lower the surrogate."""
    edge = -region if gradient > 0 else region
    at_edge, _ = slope_at(SURROGATES[name], gradient, edge, region)
    beyond, slope = slope_at(SURROGATES[name], gradient, share * edge, region)
    assert beyond >= at_edge - 1e-9 * abs(at_edge)
    assert slope * edge >= 0.0
    if name == "clip":
        assert slope == 0.0


@given(gradient=SLOPES, region=REGIONS, share=st.floats(1.001, 10.0))
def test_a_clipped_action_that_went_the_wrong_way_is_called_back(gradient, region, share):
    away = share * region if gradient > 0 else -share * region
    value, slope = slope_at(clipped_surrogate, gradient, away, region)
    assert slope == gradient
    assert value == pytest.approx(gradient * away)


@given(gradient=SLOPES, region=REGIONS, share=st.floats(-0.999, 0.999))
def test_inside_the_region_clipping_changes_nothing(gradient, region, share):
    value, slope = slope_at(clipped_surrogate, gradient, share * region, region)
    assert value == pytest.approx(gradient * share * region)
    assert slope == gradient


@given(gradient=SLOPES, region=REGIONS)
def test_the_quadratic_minimum_lies_at_the_edge(gradient, region):
    edge = -region if gradient > 0 else region
    _, slope = slope_at(quadratic_surrogate, gradient, edge, region)
    assert slope == pytest.approx(0.0, abs=1e-9 * abs(gradient))
    lowest, _ = slope_at(quadratic_surrogate, gradient, edge, region)
    for share in (0.5, 1.5):
        assert slope_at(quadratic_surrogate, gradient, share * edge, region)[0] > lowest


@BY_NAME
@given(gradient=SLOPES, region=REGIONS, change=st.floats(-2.0, 2.0))
def test_a_surrogate_is_never_below_the_linear_model(name, gradient, region, change):
    value, _ = slope_at(SURROGATES[name], gradient, change, region)
    assert value >= gradient * change - 1e-9 * abs(gradient)


@BY_NAME
def test_an_action_without_effect_is_left_alone(name):
    for change in (-1.0, 0.0, 0.03, 1.0):
        assert slope_at(SURROGATES[name], 0.0, change, 0.05) == (0.0, 0.0)


@BY_NAME
def test_samples_do_not_mix(name):
    gradient, change = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.01, 0.5, -0.5])
    together = SURROGATES[name](gradient, change, 0.05)
    for k in range(3):
        one = SURROGATES[name](gradient[k : k + 1], change[k : k + 1], 0.05)
        assert torch.equal(one[0], together[k])

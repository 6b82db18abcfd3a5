"""The curves of IEEE 1547-2018: their points, their allowed ranges, their shape."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradmap.baselines.droop_curves import (
    CATEGORY_A,
    CATEGORY_B,
    VoltVar,
    VoltWatt,
    piecewise_linear,
)
from gradmap.feeders.errors import GradmapError

VOLTAGES = torch.linspace(0.8, 1.2, 401, dtype=torch.float64)


def at(values):
    return torch.tensor(values, dtype=torch.float64)


def test_default_volt_watt_is_the_standards():
    limit = VoltWatt().limit(at([0.9, 1.0, 1.06, 1.07, 1.08, 1.10, 1.2]))
    assert limit.tolist() == pytest.approx([1.0, 1.0, 1.0, 0.75, 0.5, 0.0, 0.0])


def test_volt_watt_may_leave_some_power():
    assert VoltWatt(p2_share=0.2).limit(at([1.08, 1.3])).tolist() == pytest.approx([0.6, 0.2])


@pytest.mark.parametrize(
    ("curve", "voltages", "drawn"),
    [
        (CATEGORY_A, [0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2], [-25, -25, -12.5, 0, 12.5, 25, 25]),
        (
            CATEGORY_B,
            [0.8, 0.92, 0.95, 0.98, 1.0, 1.02, 1.05, 1.08, 1.2],
            [-44, -44, -22, 0, 0, 0, 22, 44, 44],
        ),
    ],
)
def test_default_volt_var_is_the_standards(curve, voltages, drawn):
    """Injected at low voltage, drawn at high; in percent of the nameplate."""
    assert (100 * curve.reactive(at(voltages))).tolist() == pytest.approx(drawn, abs=1e-9)


@given(
    st.floats(1.05, 1.09),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
)
def test_every_allowed_volt_watt_curve_falls_from_1_to_p2(v1, stretch, p2):
    curve = VoltWatt(v1, v1 + 0.01 + stretch * (1.10 - v1 - 0.01), p2)
    limit = curve.limit(VOLTAGES)
    assert (limit.diff() <= 1e-12).all()
    assert limit[0] == 1.0
    assert limit[-1].item() == pytest.approx(p2)


@given(st.floats(0.95, 1.05), st.floats(0.02, 0.15), st.floats(0.0, 0.03))
def test_every_allowed_volt_var_curve_rises(vref, reach, half_band):
    low, high = vref - half_band, vref + half_band
    curve = VoltVar("B", vref, low - reach, low, high, high + reach)
    drawn = curve.reactive(VOLTAGES)
    assert (drawn.diff() >= -1e-12).all()
    assert drawn.abs().max() <= 0.44 + 1e-12
    assert curve.reactive(at([vref])).item() == pytest.approx(0.0, abs=1e-9)


def test_points_on_the_edge_of_the_range_are_allowed():
    VoltWatt(1.05, 1.06)
    VoltWatt(1.09, 1.10)
    VoltVar("B", 1.05, 0.87, 1.02, 1.08, 1.23)
    VoltVar("A", 0.95, 0.77, 0.95, 0.95, 1.13, 0.44, 0.0, 0.0, -0.25)


def test_a_step_of_no_width_is_left_out():
    y = piecewise_linear(at([0.5, 1.0, 1.5]), (0.0, 1.0, 1.0, 2.0), (0.0, 1.0, 1.0, 3.0))
    assert y.tolist() == pytest.approx([0.5, 1.0, 2.0])


def test_curves_are_differentiable():
    v_pu = at([1.07, 1.075]).requires_grad_()
    VoltWatt().limit(v_pu).sum().backward()
    assert v_pu.grad.tolist() == pytest.approx([-25.0, -25.0])


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"v1_pu": 1.04, "p2_share": 1.5}, ("v1_pu is 1.04", "p2_share is 1.5")),
        ({"v1_pu": 1.08, "v2_pu": 1.085}, ("v2_pu is 1.085", "1.09 to 1.1")),
        ({"v2_pu": 1.12}, ("v2_pu is 1.12",)),
        ({"v1_pu": float("nan")}, ("v1_pu is nan",)),
    ],
)
def test_volt_watt_outside_the_standard_is_refused(settings, names):
    with pytest.raises(GradmapError) as caught:
        VoltWatt(**settings)
    assert all(name in str(caught.value) for name in names)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"vref_pu": 1.1}, ("vref_pu is 1.1",)),
        ({"category": "A"}, ("v2_pu is 0.98", "v3_pu is 1.02", "q4_share is -0.44")),
        ({"v1_pu": 0.97, "q1_share": 0.5}, ("v1_pu is 0.97", "q1_share is 0.5")),
        ({"v4_pu": 1.19, "q4_share": 0.1}, ("v4_pu is 1.19", "q4_share is 0.1")),
    ],
)
def test_volt_var_outside_the_standard_is_refused(settings, names):
    with pytest.raises(GradmapError) as caught:
        VoltVar(**settings)
    assert all(name in str(caught.value) for name in names)

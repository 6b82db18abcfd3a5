"""The kVA circle: never left, met outside the rim, with a slope everywhere."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradmap.envs.devices.base import DeviceStep
from gradmap.envs.devices.inverter import RIM, Inverters, available_kvar

ROUNDING = 1e-6  # of float32 squares, relative


@given(
    kva=st.floats(1e-2, 1e4),
    load=st.floats(-1.0, 1.0),
    share=st.floats(-1.0, 1.0),
)
def test_the_circle_is_never_left(kva, load, share):
    p, s = torch.tensor(load * kva), torch.tensor(kva)
    q = share * available_kvar(p, s)
    assert p**2 + q**2 <= s**2 * (1.0 + ROUNDING)


def test_outside_the_rim_it_is_the_circle():
    p = torch.linspace(-1.0, 1.0, 201, dtype=torch.float64) * (1.0 - RIM**2) ** 0.5
    room = available_kvar(p, torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(room, (1.0 - p**2).sqrt(), rtol=1e-9, atol=0.0)


def test_a_full_inverter_has_no_room_and_its_slope_an_end():
    for p in (1.0, -1.0):
        at = torch.tensor(p, dtype=torch.float64, requires_grad=True)
        room = available_kvar(at, torch.tensor(1.0, dtype=torch.float64))
        (slope,) = torch.autograd.grad(room, at)
        assert room.item() == 0.0
        assert slope.item() == pytest.approx(-2.0 * p / RIM)


def test_the_slope_is_that_of_finite_differences_up_to_the_full_inverter():
    inside = torch.tensor([0.0, 0.3, -0.9, 0.99, 0.9951, 0.999, -0.99999], dtype=torch.float64)
    kva = torch.tensor(1.0, dtype=torch.float64)
    at = inside.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda p: available_kvar(p, kva), (at,), eps=1e-7)


def test_a_device_without_an_inverter_has_no_reactive_power_and_no_nan():
    p = torch.tensor([0.0, 3.0], requires_grad=True)
    zero = torch.zeros(2)
    done = DeviceStep(p, p, torch.tensor([0.0, 0.7]), *[zero] * 5)
    share = torch.ones(2, requires_grad=True)
    after = Inverters(torch.zeros(2)).add_to(done, share)
    assert after.q_kvar.tolist() == pytest.approx([0.0, 0.7])
    slopes = torch.autograd.grad(after.q_kvar.sum(), (p, share))
    assert all(torch.equal(slope, zero) for slope in slopes)

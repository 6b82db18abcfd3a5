"""Policies in few bits: how numbers are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradmap.experiments.policy_rounding import BITS, EXACT, pack, unpack, unpack_all


def values() -> torch.Tensor:
    draws = torch.Generator().manual_seed(0)
    wide = torch.exp(8.0 * torch.randn(7, 3, 5, generator=draws))
    return wide * torch.randn(7, 3, 5, generator=draws)


@pytest.mark.parametrize("shape", [(), (1,), (7, 3), (5, 0)])
def test_all_bits_are_exact(shape: tuple[int, ...]) -> None:
    exact = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(unpack(*pack(exact)), exact)


def test_what_floats_can_hold_comes_back() -> None:
    odd = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 1e-40, 3e38, torch.nan])
    found = unpack(*pack(odd))
    assert torch.equal(found[:-1], odd[:-1])
    assert bool(found[-1].isnan())
    assert torch.equal(torch.signbit(found[:2]), torch.tensor([False, True]))


@pytest.mark.parametrize("bits", BITS)
def test_rounding_goes_to_the_nearest(bits: int) -> None:
    exact = values()
    error = (unpack(*pack(exact, bits)) - exact).abs()
    # Half of the last bit that is kept.
    assert bool((error <= exact.abs() * 2.0 ** -(bits + 1)).all())
    exponent, rows = pack(exact, bits)
    assert exponent.shape == exact.shape
    assert rows.shape == (1 + bits, 14)


def test_a_carry_reaches_the_exponent() -> None:
    assert unpack(*pack(torch.tensor([1.999, -1.999]), 7)).tolist() == [2.0, -2.0]


def test_arrays_that_are_no_policy_are_refused() -> None:
    exponent, rows = pack(values(), EXACT)
    for wrong in (rows[:1], rows[:, 1:], rows.astype(np.int16), rows[0]):
        with pytest.raises(ValueError, match="floats of shape"):
            unpack_all({"a": exponent, "a.bits": wrong})
    with pytest.raises(ValueError, match="a is uint8"):
        unpack_all({"a": exponent})

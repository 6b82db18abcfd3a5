"""Multipliers: they rise where limits are violated, and stay within their bounds."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gradmap.algorithms.config import PriceConfig
from gradmap.algorithms.multipliers import Multipliers
from gradmap.envs.constraints import Violations

DUAL = PriceConfig(
    kind="dual",
    voltage_usd_per_pu=100.0,
    overload_usd=10.0,
    dual_step=1000.0,
    dual_decay=0.0,
    dual_max=5000.0,
    tolerance_pu=0.0,
)
NAMES = ("over", "under", "overload")


def nothing(core, batch=2):
    nodes, branches = len(core.limits.monitored), len(core.feeder.branches)
    sizes = {"over_pu": nodes, "under_pu": nodes, "overload": branches}
    shape = (batch, core.num_steps)
    return Violations(**{k: torch.zeros(*shape, n, dtype=torch.float64) for k, n in sizes.items()})


def all_usable(batch=2):
    return torch.ones(batch, dtype=torch.bool)


def raised(core, config=DUAL, by=0.1):
    """Multipliers after a step with the same violation everywhere: 1000 times `by`."""
    prices = Multipliers(core, config)
    found = Violations(*(value.fill_(by) for value in vars(nothing(core)).values()))
    prices.ascend(found, all_usable())
    return prices


def test_multipliers_begin_at_zero_for_every_step_and_limit(short_core):
    prices = Multipliers(short_core, DUAL)
    nodes, branches = len(short_core.limits.monitored), len(short_core.feeder.branches)
    assert prices.over.shape == prices.under.shape == (6, nodes)
    assert prices.overload.shape == (6, branches)
    assert prices.over.dtype == short_core.network.real_dtype
    assert tuple(prices.tensors()) == NAMES
    assert all((value == 0.0).all() for value in prices.tensors().values())


def test_a_multiplier_rises_by_the_step_times_the_expected_violation(short_core):
    prices = Multipliers(short_core, DUAL)
    found = nothing(short_core)
    found.over_pu[0, 3, 7] = 0.02
    found.over_pu[1, 3, 7] = 0.01
    found.under_pu[1, 0, 2] = 0.04
    found.overload[0, 5, 1] = 0.5
    for times in (1, 2):
        prices.ascend(found, all_usable())
        assert prices.over[3, 7].item() == pytest.approx(times * 1000.0 * 0.015)
        assert prices.under[0, 2].item() == pytest.approx(times * 1000.0 * 0.02)
        assert prices.overload[5, 1].item() == pytest.approx(times * 1000.0 * 0.25)
        for tensor in prices.tensors().values():
            assert (tensor != 0.0).sum() == 1


def test_below_the_tolerance_a_multiplier_falls_but_not_below_zero(short_core):
    prices = raised(short_core, dataclasses.replace(DUAL, tolerance_pu=0.04))
    assert prices.over[0, 0].item() == pytest.approx(60.0)
    found = nothing(short_core)
    found.over_pu[:, 0, 0] = 0.05
    prices.ascend(found, all_usable())
    assert prices.over[0, 0].item() == pytest.approx(70.0)
    assert prices.over[0, 1].item() == pytest.approx(20.0)
    prices.ascend(found, all_usable())
    assert prices.over[0, 1].item() == 0.0
    assert prices.over.min() >= 0.0


def test_a_multiplier_that_is_not_renewed_is_forgotten(short_core):
    prices = raised(short_core, dataclasses.replace(DUAL, dual_decay=0.1))
    for _ in range(3):
        prices.ascend(nothing(short_core), all_usable())
    for value in prices.tensors().values():
        assert value[0, 0].item() == pytest.approx(100.0 * 0.9**3)


def test_multipliers_are_bounded(short_core):
    prices = Multipliers(short_core, DUAL)
    found = nothing(short_core)
    found.under_pu[:] = 1.0
    for _ in range(20):
        prices.ascend(found, all_usable())
    assert (prices.under == 5000.0).all()


def test_a_failed_day_moves_no_multiplier(short_core):
    found = nothing(short_core, 3)
    found.over_pu[1] = torch.nan
    found.over_pu[2, 0, 0] = 0.03
    prices, alone = Multipliers(short_core, DUAL), Multipliers(short_core, DUAL)
    prices.ascend(found, torch.tensor([True, False, True]))
    assert prices.over.isfinite().all()
    # The mean is over the days that count.
    assert prices.over[0, 0].item() == pytest.approx(1000.0 * 0.03 / 2)
    kept = Violations(*(value[[0, 2]] for value in vars(found).values()))
    alone.ascend(kept, all_usable())
    assert torch.equal(prices.over, alone.over)


def test_days_that_all_failed_raise_no_multiplier(short_core):
    prices = Multipliers(short_core, DUAL)
    found = Violations(*(value.fill_(torch.nan) for value in vars(nothing(short_core)).values()))
    prices.ascend(found, torch.tensor([False, False]))
    assert all((value == 0.0).all() for value in prices.tensors().values())


@pytest.mark.parametrize("kind", ["fixed", "none"])
def test_other_kinds_of_price_never_move(short_core, kind):
    prices = raised(short_core, dataclasses.replace(DUAL, kind=kind, dual_decay=0.1))
    assert all((value == 0.0).all() for value in prices.tensors().values())


def test_a_violation_is_charged_the_shared_price_and_its_multiplier(short_core):
    prices = raised(short_core)
    found = nothing(short_core)
    found.over_pu[0, 2, 3] = 0.02
    found.under_pu[0, 2, 4] = 0.01
    found.overload[1, 4, 0] = 0.2
    expected = torch.zeros(2, 6, dtype=torch.float64)
    for charging, extra in ((Multipliers(short_core, DUAL), 0.0), (prices, 100.0)):
        expected[0, 2], expected[1, 4] = (100.0 + extra) * 0.03, (10.0 + extra) * 0.2
        torch.testing.assert_close(charging.charge(found), expected)


def test_multipliers_can_be_put_away_and_taken_up(short_core):
    first, second = Multipliers(short_core, DUAL), Multipliers(short_core, DUAL)
    found = nothing(short_core)
    found.over_pu[0] = 0.01
    first.ascend(found, all_usable())
    second.load({name: value.clone() for name, value in first.tensors().items()})
    assert all(map(torch.equal, first.tensors().values(), second.tensors().values()))
    second.ascend(found, all_usable())
    assert not torch.equal(first.over, second.over)

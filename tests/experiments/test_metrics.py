"""The quantities, on figures small enough to check by hand."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest

from gradmap.algorithms.config import PriceConfig
from gradmap.experiments.metrics import (
    OVERLOAD_USD,
    QUANTITIES,
    VOLTAGE_USD_PER_PU,
    Band,
    Physics,
    network_by_day,
    summarise,
    unbalance_pct,
)

BAND = Band(0.95, 1.05, np.array([1, 2, 3, 4]))
FEEDER: Any = types.SimpleNamespace(
    node_bus=("source", "a", "a", "a", "b"), node_phase=np.array([1, 1, 2, 3, 1])
)
TURN = np.exp(-2j * np.pi / 3)


def physics(num_days: int = 2) -> Physics:
    """Four steps a day; node 0 is the source's, not monitored, and far outside."""
    v_pu = np.ones((num_days, 4, 5), complex)
    v_pu[..., 1:4] *= np.array([1.0, TURN, TURN**2])
    v_pu[..., 0] = 2.0
    return Physics(
        v_pu=v_pu,
        loading=np.full((num_days, 4, 2), 0.5),
        losses_kw=np.full((num_days, 4), 3.0),
        source_kw=np.arange(4.0) + np.zeros((num_days, 1)),
        converged=np.ones((num_days, 4), bool),
    )


def found(net: Physics, **own: Any) -> dict[str, float]:
    by_day = {**own, **network_by_day(net, BAND, FEEDER, 6.0)}
    return summarise(by_day, net, BAND)


def test_nothing_outside() -> None:
    result = found(physics())
    for name, value in result.items():
        if "violation" in name or "overload" in name or name == "solver_failures":
            assert value == 0, name
    assert result["losses_kwh_per_day"] == pytest.approx(3.0 * 24)
    assert result["source_kwh_per_day"] == pytest.approx(6.0 * 6)
    assert result["source_peak_kw"] == 3.0
    assert result["loading_max_pct"] == 50.0
    assert result["unbalance_max_pct"] == pytest.approx(0.0, abs=1e-9)
    assert result["days"] == 2


def test_shares_have_their_denominators() -> None:
    net = physics()
    net.v_pu[0, 0, 1:3] *= 1.06  # two nodes high in one step
    net.v_pu[1, 2, 4] *= 0.92  # one node low in another
    net.loading[0, 3, 0] = 1.2
    result = found(net)
    assert result["node_step_violation_pct"] == pytest.approx(100 * 3 / (2 * 4 * 4))
    assert result["node_step_over_pct"] == pytest.approx(100 * 2 / 32)
    assert result["node_step_under_pct"] == pytest.approx(100 * 1 / 32)
    assert result["step_violation_pct"] == pytest.approx(100 * 2 / 8)
    assert result["violation_mean_pu"] == pytest.approx((0.01 + 0.01 + 0.03) / 3)
    assert result["violation_max_pu"] == pytest.approx(0.03)
    assert result["violation_p95_pu"] == pytest.approx(np.quantile([0.01, 0.01, 0.03], 0.95))
    assert result["thermal_overload_step_pct"] == pytest.approx(100 / 8)
    assert result["branch_step_overload_pct"] == pytest.approx(100 / 16)
    assert result["loading_max_pct"] == pytest.approx(120)


def test_violations_have_one_price_for_every_method() -> None:
    shared = PriceConfig()
    price = VOLTAGE_USD_PER_PU, OVERLOAD_USD
    assert price == (shared.voltage_usd_per_pu, shared.overload_usd) == (300.0, 30.0)
    net = physics()
    net.v_pu[0, 0, 1:3] *= 1.06
    net.v_pu[1, 2, 4] *= 0.92
    net.loading[0, 3, 0] = 1.2
    net.loading[1, 1, 1] = 1.0 + 0.9e-4
    by_day = network_by_day(net, BAND, FEEDER, 6.0)["violation_usd_per_day"]
    assert by_day == pytest.approx([300 * 0.02 + 30 * 0.2, 300 * 0.03])
    assert found(net)["violation_usd_per_day"] == pytest.approx(by_day.mean())


def test_the_limit_itself_is_no_violation() -> None:
    net = physics()
    net.v_pu[0, 0, 1] = 1.05 + 0.9e-5
    net.v_pu[0, 0, 4] = 0.95 - 0.9e-5
    net.v_pu[0, 1, 4] = 1.05 + 1.1e-5
    assert found(net)["node_step_violation_pct"] == pytest.approx(100 / 32)


def test_a_failed_day_is_counted_and_left_out() -> None:
    net = physics()
    net.converged[1, 2] = False
    net.v_pu[1, 2] = np.nan
    net.loading[1, 2] = np.nan
    net.losses_kw[1, 2] = np.nan
    net.v_pu[1, 0, 1] = 1.2
    result = found(net, cost_usd_per_day=np.array([10.0, 999.0]))
    assert result["solver_failures"] == 1
    assert result["days"] == 1
    assert result["cost_usd_per_day"] == 10.0
    assert result["violation_max_pu"] == result["node_step_violation_pct"] == 0.0
    assert np.isfinite(list(result.values())).all()


def test_no_day_left_gives_no_number() -> None:
    net = physics(1)
    net.converged[:] = False
    assert np.isnan(found(net)["node_step_violation_pct"])


def test_unbalance_is_negative_over_positive_sequence() -> None:
    net = physics(1)
    positive, negative = 1.0, 0.02
    for i, node in enumerate((1, 2, 3)):
        net.v_pu[..., node] = positive * TURN**i + negative * TURN**-i
    assert unbalance_pct(net.v_pu, FEEDER) == pytest.approx(np.full((1, 4, 1), 2.0))


def test_every_quantity_says_what_it_is() -> None:
    own = {name: np.zeros(2) for name in QUANTITIES if name.startswith(("cost", "disc", "clip"))}
    assert set(found(physics(), **own)) == set(QUANTITIES)

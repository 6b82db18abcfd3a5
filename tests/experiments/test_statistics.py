"""Statistics over seeds and days: against scipy, and against answers that are known."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from gradmap.experiments.statistics import (
    FloatArray,
    difference,
    interquartile_mean,
    paired_bootstrap,
    performance_profile,
    pooled_interquartile_mean,
    probability_of_improvement,
    stratified_bootstrap,
    typical_run,
)

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False, width=32)
TABLES = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=NUMBERS)
FEW = settings(max_examples=40, deadline=None)


def noise(num_seeds: int = 10, num_days: int = 24, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(num_seeds, num_days))


@given(arrays(np.float64, st.integers(1, 60), elements=NUMBERS))
def test_the_mean_is_scipy_s(values: FloatArray) -> None:
    assert interquartile_mean(values) == pytest.approx(scipy.stats.trim_mean(values, 0.25))


@given(TABLES)
def test_one_pot_is_scipy_s_over_all(values: FloatArray) -> None:
    expected = scipy.stats.trim_mean(values, 0.25, axis=None)
    assert pooled_interquartile_mean(values) == pytest.approx(expected)
    both = pooled_interquartile_mean(np.stack((values, values + 1)))
    assert both == pytest.approx([expected, expected + 1])


def test_the_mean_leaves_a_quarter_out_at_each_end() -> None:
    assert interquartile_mean([9.0, 1.0, 2.0, 3.0, -50.0]) == 2.0
    assert interquartile_mean([1.0, 2.0, 6.0]) == 3.0
    both = interquartile_mean([[1.0, np.nan, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0, 9.0]])
    assert np.isnan(both[0])
    assert both[1] == 1.0


def test_a_typical_run_keeps_every_day_and_leaves_out_those_that_failed() -> None:
    assert typical_run(np.array([[0.0, 0.0, 0.0, 100.0]])) == 25.0  # no day is an outlier
    assert typical_run(np.array([[1.0, np.nan, 3.0], [4.0, 4.0, 4.0]])) == 3.0
    assert np.isnan(typical_run(np.array([[np.nan, np.nan], [4.0, 4.0]])))


@pytest.mark.parametrize("axis", [0, 1], ids=["seeds", "days"])
def test_an_interval_along_one_axis_is_scipy_s(axis: int) -> None:
    values = np.random.default_rng(3).gamma(2.0, size=40)
    statistic = scipy.stats.trim_mean if axis == 0 else None
    expected = scipy.stats.bootstrap(
        (values,),
        (lambda v, axis: statistic(v, 0.25, axis=axis)) if statistic else np.mean,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    found = stratified_bootstrap(np.expand_dims(values, 1 - axis), resamples=20_000)
    assert found.resampled == ("seeds", "days")[axis]
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.03 * width)
    assert found.high == pytest.approx(expected.high, abs=0.03 * width)


@FEW
@given(TABLES, st.floats(0.1, 10), st.floats(-100, 100))
def test_an_interval_moves_with_its_data(values: FloatArray, scale: float, offset: float) -> None:
    base = stratified_bootstrap(values, resamples=200)
    moved = stratified_bootstrap(scale * values + offset, resamples=200)
    close = {"rel": 1e-6, "abs": 1e-6 * (1 + np.abs(values).max()), "nan_ok": True}
    for end in ("value", "low", "high"):
        assert getattr(moved, end) == pytest.approx(scale * getattr(base, end) + offset, **close)


def test_the_order_of_seeds_and_days_hardly_matters() -> None:
    values = noise() + np.arange(10)[:, None]
    base = stratified_bootstrap(values)
    rng = np.random.default_rng(1)
    for moved in (values[rng.permutation(10)], values[:, rng.permutation(24)]):
        found = stratified_bootstrap(moved)
        assert found.value == pytest.approx(base.value)
        assert (found.low, found.high) == pytest.approx((base.low, base.high), abs=0.1)


@FEW
@given(NUMBERS, st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_constant_data_has_no_width(value: float, seeds: int, days: int, is_whole: bool) -> None:
    values = np.full((seeds, days), value)
    found = stratified_bootstrap(values, resamples=50, runs="whole" if is_whole else "by day")
    close = pytest.approx(value, rel=1e-9, abs=1e-9)
    assert found.value == close
    if found.resampled != "nothing":
        assert found.low == close
        assert found.high == close


def test_an_interval_says_what_was_drawn() -> None:
    values = noise()
    assert stratified_bootstrap(values).resampled == "seeds and days"
    assert stratified_bootstrap(values, resample_days=False).resampled == "seeds"
    assert stratified_bootstrap(values[:1]).resampled == "days"
    assert stratified_bootstrap(values, strata=range(24)).resampled == "seeds"
    alone = stratified_bootstrap(values[:1, :1])
    assert alone.resampled == "nothing"
    assert np.isnan([alone.low, alone.high]).all()
    assert paired_bootstrap(values[:1], values, difference).resampled == "seeds and days"
    assert paired_bootstrap(values[:1], values[:1], difference).resampled == "days"
    lone = paired_bootstrap(values[:1], values, difference, resample_days=False)
    assert lone.resampled == "seeds"
    assert lone.low < lone.value < lone.high


def test_days_are_drawn_within_their_strata() -> None:
    summer = np.array([0.0] * 12 + [1000.0] * 12)
    values = noise() + summer
    within = stratified_bootstrap(values, strata=(summer > 0).astype(int))
    across = stratified_bootstrap(values)
    assert within.high - within.low < 2.0
    assert across.high - across.low > 300.0


def test_coverage_on_normal_data() -> None:
    """Ten seeds that differ as much as days: 95 % is meant, 86 to 97 % is asked of
    the percentile interval, which is known to be short at ten; runs drawn anew on
    each day, as if they were many, hold the truth far less often."""
    rng = np.random.default_rng(5)
    hits = {"whole": 0, "by day": 0}
    for trial in range(300):
        values = rng.normal(size=(10, 1)) + rng.normal(size=(10, 12))
        for runs in hits:
            found = stratified_bootstrap(
                values, resample_days=False, runs=runs, resamples=400, seed=trial
            )
            hits[runs] += found.low <= 0.0 <= found.high
    assert 0.86 <= hits["whole"] / 300 <= 0.97
    assert hits["by day"] / 300 < 0.7


def test_drawn_by_day_it_covers_where_runs_are_independent() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(size=(300, 10, 12))
    found = [
        stratified_bootstrap(each, resample_days=False, runs="by day", resamples=300)
        for each in values
    ]
    assert 0.88 <= np.mean([own.low <= 0.0 <= own.high for own in found]) <= 0.99


@FEW
@given(TABLES)
def test_a_profile_is_the_distribution(values: FloatArray) -> None:
    tau = np.unique(values)
    found = performance_profile(values, tau, resamples=20)
    expected = scipy.stats.ecdf(values.ravel()).cdf
    assert tau.tolist() == expected.quantiles.tolist()
    assert found.share == pytest.approx(expected.probabilities)
    assert found.share[-1] == 1.0
    if found.resampled != "nothing":
        assert (found.low <= found.high).all()
        assert (np.diff(found.low) >= -1e-12).all()


def test_a_profile_s_interval_is_that_of_its_share() -> None:
    values = noise()
    found = performance_profile(values, [-0.5, 0.0], resamples=4000)
    for at, tau in enumerate((-0.5, 0.0)):
        own = stratified_bootstrap((values <= tau) * 1.0, lambda v: v.mean((-2, -1)))
        assert found.share[at] == pytest.approx(own.value)
        assert (found.low[at], found.high[at]) == pytest.approx((own.low, own.high), abs=0.015)


def test_a_day_without_figures_is_never_good_enough() -> None:
    found = performance_profile([[1.0, np.nan], [2.0, 3.0]], [1.0, 2.5, 1e9])
    assert found.share.tolist() == [0.25, 0.5, 0.75]
    assert probability_of_improvement([[1.0]], [[np.nan]]).value == 1.0
    assert probability_of_improvement([[np.nan]], [[np.nan]]).value == 0.5


@FEW
@given(TABLES, st.integers(1, 8), st.integers(0, 9))
def test_improvement_is_mann_and_whitney_s(x: FloatArray, num: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.choice(x.ravel(), size=(num, x.shape[1]))  # ties among them
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's p-value of constant data
        # It counts the pairs in which the first is larger.
        u = scipy.stats.mannwhitneyu(y, x, axis=0).statistic
    found = probability_of_improvement(x, y, resamples=20)
    back = probability_of_improvement(y, x, resamples=20)
    assert found.value == pytest.approx(np.mean(u / (len(x) * num)))
    assert found.value + back.value == pytest.approx(1.0)


def test_improvement_of_what_is_always_better() -> None:
    x = noise()
    found = probability_of_improvement(x, x + 100.0)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    alike = probability_of_improvement(x, noise(8, seed=1))
    assert alike.low < 0.5 < alike.high


def test_a_difference_is_paired_by_day() -> None:
    hard = np.linspace(0.0, 5000.0, 24)
    found = paired_bootstrap(noise() + hard, noise(seed=1) + hard + 3.0, difference)
    assert -4.0 < found.low < -3.0 < found.high < -2.0


def test_the_same_seed_gives_the_same_interval_soon_enough() -> None:
    values = noise()
    begin = time.process_time()
    found = stratified_bootstrap(values)
    assert time.process_time() - begin < 5.0  # a twentieth of a second on an idle core
    assert found == stratified_bootstrap(values)
    assert found != stratified_bootstrap(values, seed=1)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \[seed, day\]"):
        stratified_bootstrap([1.0, 2.0])
    with pytest.raises(ValueError, match="same days"):
        probability_of_improvement(noise(2, 3), noise(2, 4))
    with pytest.raises(ValueError, match="one for each of 24"):
        stratified_bootstrap(noise(), strata=[1, 2])

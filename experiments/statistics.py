"""Statistics over training seeds and days: means, intervals, profiles, who beats whom.

Values are `[seed, day]`: a row is one training run, judged on every day.
Lower is better throughout, as of costs and violations. A value is NaN where a
run's day could not be judged.

The methods are those of R. Agarwal et al., "Deep Reinforcement Learning at the
Edge of the Statistical Precipice", NeurIPS 2021, with one difference that the
data asks for. There a score belongs to one run on one task, so that runs are
drawn anew in each task. Here a run is judged on every day, and its days rise
and fall together: drawn anew on each day, what separates two seeds would
average out, and the interval be too narrow. Runs are therefore drawn whole by
default; `runs="by day"` is the original.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.stats

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Statistic = Callable[[FloatArray], FloatArray]
"""Maps values `[..., seed, day]` to figures `[...]`, or `[..., figure]`."""

PairStatistic = Callable[[FloatArray, FloatArray], FloatArray]
"""Likewise of two methods: `[..., seed, day]` each, on the same days."""

Resampled = Literal["seeds", "days", "seeds and days", "nothing"]
"""What an interval speaks for."""

RESAMPLES = 10_000
"""Resamples of a bootstrap."""

PROFILE_RESAMPLES = 2_000
"""Resamples of a profile, as in the source: it has hundreds of thresholds."""

LEVEL = 0.95
"""Share of the resamples between the ends of an interval."""

_CHUNK = 1 << 22  # numbers held at a time: 32 MiB


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure and its interval.

    Attributes:
        value: The figure of the data as they are.
        low: Lower end of the percentile interval; NaN if nothing could be resampled.
        high: Upper end, likewise.
        resampled: What was drawn anew. `days`: there is one seed, and the
            interval says nothing about other seeds.
    """

    value: float
    low: float
    high: float
    resampled: Resampled


@dataclasses.dataclass(frozen=True)
class Profile:
    """A performance profile: how many runs and days are at least this good.

    Attributes:
        thresholds: Where. `[threshold]`
        share: Share of runs and days at or below the threshold, 0 to 1. `[threshold]`
        low: Lower end of its interval, at each threshold by itself. `[threshold]`
        high: Upper end. `[threshold]`
        resampled: What was drawn anew.
    """

    thresholds: FloatArray
    share: FloatArray
    low: FloatArray
    high: FloatArray
    resampled: Resampled


def interquartile_mean(values: npt.ArrayLike) -> FloatArray:
    """Mean along the last axis without the lowest and the highest quarter.

    A quarter is rounded down: of five values one falls away at each end, of
    three none. NaN where a value is.

    Args:
        values: Values. `[..., value]`
    """
    array = np.asarray(values, np.float64)
    found: FloatArray = np.asarray(scipy.stats.trim_mean(array, 0.25, axis=-1))
    return np.where(np.isnan(array).any(-1), np.nan, found)


def typical_run(values: FloatArray) -> FloatArray:
    """Mean over the days of each run, then the interquartile mean over runs.

    The mean is over all days, not over the middle ones: a year is paid whole,
    and the outer quarters are winter and summer, not outliers. With one seed
    it is the plain mean. A run's NaN days are left out; a run without any
    other day makes it NaN.

    Args:
        values: Values. `[..., seed, day]`
    """
    return interquartile_mean(_mean_of_days(values))


def pooled_interquartile_mean(values: FloatArray) -> FloatArray:
    """Interquartile mean of all runs and days in one pot, the source's own.

    Fit for values that are alike on all days, such as a gap to the optimum.

    Args:
        values: Values. `[..., seed, day]`
    """
    return interquartile_mean(values.reshape(*values.shape[:-2], -1))


def stratified_bootstrap(
    values: npt.ArrayLike,
    statistic: Statistic = typical_run,
    *,
    resample_days: bool = True,
    strata: Sequence[int] | None = None,
    runs: Literal["whole", "by day"] = "whole",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Percentile bootstrap, 95 %, over seeds and days.

    Each resample draws as many runs as there are, with replacement: whole, or
    anew on every day. If days are resampled, as many days as each stratum has
    are drawn from that stratum, the same for all runs: the interval then speaks
    for other days of the same seasons, else for these days only. With one seed
    only days can be drawn, with one day only seeds.

    Args:
        values: Values. `[seed, day]`
        statistic: What to estimate.
        resample_days: Whether days are drawn, too.
        strata: Stratum of each day, such as its season; one for all if left
            out. `[day]`
        runs: Whether a run's days stay together (see the module) or are drawn
            one by one, from the runs of the same day.
        resamples: Number of resamples.
        seed: Seed of the draws: the same values give the same interval.

    Returns:
        The estimate; NaN ends if there is one seed and no day to draw.

    Raises:
        ValueError: If the values are not `[seed, day]`, or empty.
    """
    array = _table(values)
    draws = _Draws.make(array.shape, resample_days, strata, resamples, seed)
    found = [
        statistic(_by_day(array, rows, columns, runs, seed + 1 + start))
        for start, rows, columns in draws.chunks(array.size)
    ]
    return _estimate(statistic(array), found, draws.resampled)


def paired_bootstrap(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    statistic: PairStatistic,
    *,
    resample_days: bool = True,
    strata: Sequence[int] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Percentile bootstrap, 95 %, of what joins two methods: a difference, a ratio.

    Runs are drawn whole, of each method by itself; days are drawn for both
    alike, so that a hard day is hard for both. See `stratified_bootstrap`.

    Args:
        x: Values of one method. `[seed, day]`
        y: Values of the other, on the same days. `[seed, day]`
        statistic: What to estimate.
        resample_days: Whether days are drawn, too.
        strata: Stratum of each day. `[day]`
        resamples: Number of resamples.
        seed: Seed of the draws.

    Raises:
        ValueError: If the values are not `[seed, day]` with the same days, or empty.
    """
    first, second = _table(x), _table(y)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"{first.shape[1]} days beside {second.shape[1]}; expected the same days")
    one = _Draws.make(first.shape, resample_days, strata, resamples, seed)
    # Another stream for the other's runs: equal rows would be drawn alike.
    two = _Draws.make(second.shape, False, None, resamples, seed + 1)
    num = first.shape[0] * second.shape[0] * first.shape[1]
    found = [
        statistic(
            _by_day(first, rows, columns, "whole", 0),
            _by_day(second, two.rows[start : start + len(rows)], columns, "whole", 0),
        )
        for start, rows, columns in one.chunks(num)
    ]
    has_seeds = max(len(first), len(second)) > 1
    has_days = one.resampled in ("days", "seeds and days")
    return _estimate(statistic(first, second), found, _RESAMPLED[has_seeds, has_days])


def performance_profile(
    values: npt.ArrayLike,
    thresholds: npt.ArrayLike,
    *,
    resample_days: bool = True,
    strata: Sequence[int] | None = None,
    resamples: int = PROFILE_RESAMPLES,
    seed: int = 0,
) -> Profile:
    """Share of runs and days with a value at or below each threshold.

    A NaN, a day that could not be judged, is above every threshold.

    Args:
        values: Values, lower is better. `[seed, day]`
        thresholds: Thresholds, rising. `[threshold]`
        resample_days: Whether days are drawn for the interval, too.
        strata: Stratum of each day. `[day]`
        resamples: Number of resamples.
        seed: Seed of the draws.

    Raises:
        ValueError: If the values are not `[seed, day]`, or empty.
    """
    array, tau = _table(values), np.asarray(thresholds, np.float64)
    below = (array[..., None] <= tau).astype(np.float64)
    draws = _Draws.make(array.shape, resample_days, strata, resamples, seed)
    num_seeds, num_days = array.shape
    found = []
    for _, rows, columns in draws.chunks(below.size):
        # A mean is linear in how often each run and day was drawn.
        runs, days = _counts(rows, num_seeds), _counts(columns, num_days)
        drawn = np.tensordot(runs, below, 1)
        found.append((drawn * days[..., None]).sum(1) / array.size)
    low, high = _ends(found, draws.resampled)
    return Profile(tau, np.asarray(below.mean((0, 1))), low, high, draws.resampled)


def probability_of_improvement(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    resample_days: bool = True,
    strata: Sequence[int] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Chance that a run of one method is better, lower, than one of the other on a day.

    For each day it is the share of the pairs of runs in which x is below y, a
    tie counting half: Mann and Whitney's U over the number of pairs. Then the
    mean over days. A NaN is worse than any number, and ties with a NaN.

    Args:
        x: Values of the method. `[seed, day]`
        y: Values of the method it is held against, same days. `[seed, day]`
        resample_days: Whether days are drawn for the interval, too.
        strata: Stratum of each day. `[day]`
        resamples: Number of resamples.
        seed: Seed of the draws.

    Raises:
        ValueError: If the values are not `[seed, day]` with the same days, or empty.
    """
    return paired_bootstrap(
        _worst(x),
        _worst(y),
        _share_of_wins,
        resample_days=resample_days,
        strata=strata,
        resamples=resamples,
        seed=seed,
    )


def difference(x: FloatArray, y: FloatArray) -> FloatArray:
    """Typical run of x less that of y, a statistic for `paired_bootstrap`. `[...]`

    Args:
        x: Values of one method. `[..., seed, day]`
        y: Values of the other. `[..., seed, day]`
    """
    return typical_run(x) - typical_run(y)


_RESAMPLED: dict[tuple[bool, bool], Resampled] = {
    (True, True): "seeds and days",
    (True, False): "seeds",
    (False, True): "days",
    (False, False): "nothing",
}


@dataclasses.dataclass(frozen=True)
class _Draws:
    """Which runs and days each resample holds. `[resample, seed]`, `[resample, day]`"""

    rows: IntArray
    columns: IntArray
    resampled: Resampled

    @classmethod
    def make(
        cls,
        shape: tuple[int, ...],
        resample_days: bool,
        strata: Sequence[int] | None,
        resamples: int,
        seed: int,
    ) -> _Draws:
        num_seeds, num_days = shape
        group = np.zeros(num_days, np.int64) if strata is None else np.asarray(strata)
        if group.shape != (num_days,):
            raise ValueError(f"strata of shape {group.shape}; expected one for each of {num_days}")
        rng = np.random.default_rng(seed)
        rows = rng.integers(num_seeds, size=(resamples, num_seeds))
        columns = np.tile(np.arange(num_days), (resamples, 1))
        if resample_days:
            for own in (np.flatnonzero(group == name) for name in np.unique(group)):
                columns[:, own] = own[rng.integers(len(own), size=(resamples, len(own)))]
        has_days = resample_days and num_days > len(np.unique(group))
        return cls(rows, columns, _RESAMPLED[num_seeds > 1, has_days])

    def chunks(self, size: int) -> Iterator[tuple[int, IntArray, IntArray]]:
        """Resamples, a few at a time: the first's number, runs, days."""
        step = max(1, _CHUNK // max(size, 1))
        for start in range(0, len(self.rows), step):
            part = slice(start, start + step)
            yield start, self.rows[part], self.columns[part]


def _by_day(
    array: FloatArray, rows: IntArray, columns: IntArray, runs: str, seed: int
) -> FloatArray:
    """The values that some resamples hold. `[resample, seed, day]`"""
    if runs == "by day":
        shape = (len(rows), *array.shape)
        each = np.random.default_rng(seed).integers(len(array), size=shape)
        return array[each, columns[:, None, :]]
    return array[rows[:, :, None], columns[:, None, :]]


def _share_of_wins(x: FloatArray, y: FloatArray) -> FloatArray:
    first, second = x[..., :, None, :], y[..., None, :, :]
    is_below, is_tie = first < second, first == second
    return np.asarray(is_below.mean((-3, -2, -1)) + 0.5 * is_tie.mean((-3, -2, -1)))


def _mean_of_days(values: FloatArray) -> FloatArray:
    is_there = ~np.isnan(values)
    if is_there.all():
        return np.asarray(values.mean(-1))
    total, num = np.where(is_there, values, 0.0).sum(-1), is_there.sum(-1)
    return np.where(num > 0, total / np.maximum(num, 1), np.nan)


def _table(values: npt.ArrayLike) -> FloatArray:
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"values of shape {array.shape}; expected [seed, day], none empty")
    return array


def _worst(values: npt.ArrayLike) -> FloatArray:
    array = np.asarray(values, np.float64)
    return np.where(np.isnan(array), np.inf, array)


def _counts(drawn: IntArray, num: int) -> FloatArray:
    """How often each was drawn. `[resample, num]`"""
    flat = (drawn + num * np.arange(len(drawn))[:, None]).ravel()
    return np.bincount(flat, minlength=num * len(drawn)).reshape(-1, num).astype(np.float64)


def _ends(found: Sequence[FloatArray], resampled: Resampled) -> tuple[FloatArray, FloatArray]:
    drawn = np.concatenate(found)
    if resampled == "nothing":
        return np.full(drawn.shape[1:], np.nan), np.full(drawn.shape[1:], np.nan)
    low, high = np.quantile(drawn, ((1.0 - LEVEL) / 2, (1.0 + LEVEL) / 2), axis=0)
    return np.asarray(low), np.asarray(high)


def _estimate(value: FloatArray, found: Sequence[FloatArray], resampled: Resampled) -> Estimate:
    low, high = _ends(found, resampled)
    return Estimate(float(value), float(low), float(high), resampled)

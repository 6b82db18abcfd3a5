"""Compiled loops of the devices' days, on the CPU; see `day_law`.

Arrays are C-contiguous, all float32 or all float64. `rows` says which days are played; what is
given by day, `[day, time, device]` or `[day, device]`, is read where it lies,
and what is made is `[row, time, device]`.

Every loop makes one array of few: with more the compiler cannot rule out that they overlap,
and takes one device at a time instead of a vector of them.
"""

# The compiler infers the types of what is private.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from typing import Any

import numpy as np

from gradmap.feeders.compiled import compiled

Array = np.ndarray[Any, Any]
Arrays = tuple[Array, ...]

# Products are joined with sums; infinite bounds stay what they are.
FUSED: dict[str, Any] = {"fastmath": {"contract", "nsz"}}
# Sums besides in any order, which is how vectors take them.
SUMMED: dict[str, Any] = {"fastmath": {"contract", "nsz", "reassoc"}}

ZERO, ONE, TWO = np.float32(0.0), np.float32(1.0), np.float32(2.0)  # exact; no reason to widen


@compiled(inline="always", **FUSED)
def _move(x, act, offset, keep, gain_up, gain_down, low, high, follow, free, after):
    """The next number, and what it would be without bounds."""
    num = len(x)
    for d in range(num):
        free[d] = offset[d] + keep[d] * x[d]
    for d in range(num):
        free[d] += (gain_up[d] if act[d] > ZERO else gain_down[d]) * act[d]
    for d in range(num):
        lowest = low[d] + follow[d] * x[d]
        after[d] = lowest if free[d] < lowest else free[d]
    for d in range(num):
        highest = high[d] + follow[d] * x[d]
        after[d] = highest if after[d] > highest else after[d]


@compiled(inline="always", **FUSED)
def _draw(x, after, act, up, down, level, obeys, asked, idle, p_kw):
    """Power drawn."""
    num = len(x)
    for d in range(num):
        change = after[d] - x[d]
        p_kw[d] = (up[d] if change >= ZERO else down[d]) * change + level[d] * after[d]
    for d in range(num):
        p_kw[d] += obeys[d] * (asked[d] * act[d] + idle[d])


@compiled(**SUMMED)
def _cost(tariff, p, after, charge, wear, fuel, strain, cold, hot):
    """Cost of a step of all devices."""
    total = ZERO * tariff
    for d in range(len(p)):
        below = cold[d] - after[d]
        above = after[d] - hot[d]
        outside = (below if below > ZERO else ZERO) + (above if above > ZERO else ZERO)
        linear = tariff + charge[d] + fuel[d] * p[d]
        total += linear * p[d] + wear[d] * abs(p[d]) + strain[d] * outside
    return total


@compiled(**SUMMED)
def _clipped(act, p, asked, idle, watched):
    """How far setpoints were from what was drawn, summed over devices."""
    total = ZERO * p[0]
    for d in range(len(p)):
        total += watched[d] * abs(asked[d] * act[d] + idle[d] - p[d])
    return total


@compiled(**SUMMED)
def _worth(worth, after, start):
    """What devices hold at the day's end beyond its start."""
    total = ZERO * worth[0]
    for d in range(len(worth)):
        total += worth[d] * (after[d] - start[d])
    return total


@compiled(**FUSED)
def play(
    base: Array,
    rows: Array,
    given: Arrays,
    motion: Arrays,
    bill: Arrays,
    today: Arrays,
    made: Arrays,
    sums: Arrays,
) -> None:
    """Plays days of devices: `made` and `sums` are filled.

    Args:
        base: Actions before what the feedback adds.
        rows: Which of the days.
        given: Start, gain, state seen and worth of what is left.
        motion: The recursion, its attributes in order.
        bill: The settlement, likewise.
        today: Tariff of a step's energy, $/kW, and sun. `[day, time]` each
        made: Numbers, actions, active and reactive power, and whether the
            numbers were free of bounds and the actions of their ends.
        sums: Cost and what was clipped. `[row]` each
    """
    start, gain, seen, worth = given
    keep, offset, gain_up, gain_down, low, high, follow, seen_scale, seen_offset = motion
    up, down, level, obeys, asked, idle, watched = bill[:7]
    kvar_per_kw, absorbed, charge, wear, fuel, strain, cold, hot = bill[7:]
    tariff, sun = today
    states, actions, p_kw, q_kvar, is_free, is_inside = made
    cost, clipped = sums
    num_rows, num_steps, num = base.shape
    free = np.empty_like(start[0])
    for row in range(num_rows):
        day = rows[row]
        x = start[day]
        spent, led_back = 0.0, 0.0
        for t in range(num_steps):
            asks, answer, known = base[row, t], gain[day, t], seen[day, t]
            act, after, p, q = actions[row, t], states[row, t], p_kw[row, t], q_kvar[row, t]
            inside = is_inside[row, t]
            for d in range(num):
                off = seen_offset[d] + seen_scale[d] * x[d] - known[d]
                act[d] = asks[d] + answer[d] * off
            for d in range(num):
                inside[d] = ONE if abs(act[d]) <= ONE else ZERO
            for d in range(num):
                act[d] = ONE if act[d] > ONE else act[d]  # what is no number stays none
            for d in range(num):
                act[d] = -ONE if act[d] < -ONE else act[d]
            _move(
                x, act, offset[day, t], keep, gain_up[day, t], gain_down[day, t],
                low, high, follow, free, after,
            )  # fmt: skip
            untouched = is_free[row, t]
            for d in range(num):
                untouched[d] = ONE if after[d] == free[d] else ZERO
            _draw(x, after, act, up, down, level, obeys, asked, idle, p)
            light = sun[day, t]
            for d in range(num):
                used = ONE - act[d] if act[d] > ZERO else ONE
                q[d] = kvar_per_kw[d] * p[d] + absorbed[d] * light * used
            spent += _cost(tariff[day, t], p, after, charge, wear, fuel, strain[t], cold, hot)
            led_back += _clipped(act, p, asked, idle, watched[t])
            x = after
        cost[row] = spent - _worth(worth[day], x, start[day])
        clipped[row] = led_back


@compiled(**FUSED)
def back(
    rows: Array,
    given: Arrays,
    motion: Arrays,
    bill: Arrays,
    today: Arrays,
    made: Arrays,
    grads: Arrays,
    to_sums: Arrays,
    to_base: Array,
) -> None:
    """The gradient by the base actions of a gradient by all that `play` made.

    Args:
        rows: As in `play`, and so all that is not named here.
        given: As there.
        motion: As there.
        bill: As there.
        today: As there.
        made: As there, filled.
        grads: By active power, reactive power and, unless of no rows, numbers.
        to_sums: By cost and what was clipped. `[row]` each
        to_base: Is filled.
    """
    start, gain, _, worth = given
    keep, _, gain_up, gain_down, _, _, follow, seen_scale, _ = motion
    up, down, level, obeys, asked, idle, watched = bill[:7]
    kvar_per_kw, absorbed, charge, wear, fuel, strain, cold, hot = bill[7:]
    tariff, sun = today
    states, actions, p_kw, _, is_free, is_inside = made
    to_p, to_q, to_states = grads
    to_cost, to_clipped = to_sums
    num_rows, num_steps, num = to_base.shape
    carried, by_p = np.empty_like(start[0]), np.empty_like(start[0])
    by_setpoint, by_after = np.empty_like(start[0]), np.empty_like(start[0])
    by_change = np.empty_like(start[0])
    for row in range(num_rows):
        day = rows[row]
        dear, led_back, left = to_cost[row], to_clipped[row], worth[day]
        for d in range(num):
            carried[d] = -dear * left[d]
        for t in range(num_steps - 1, -1, -1):
            before = states[row, t - 1] if t > 0 else start[day]
            after, act, p = states[row, t], actions[row, t], p_kw[row, t]
            to_active, to_reactive, wanted = to_p[row, t], to_q[row, t], to_base[row, t]
            price = tariff[day, t]
            for d in range(num):
                worn = wear[d] if p[d] > ZERO else (-wear[d] if p[d] < ZERO else ZERO)
                by_p[d] = dear * (price + charge[d] + worn + TWO * fuel[d] * p[d])
            for d in range(num):
                by_p[d] += to_active[d] + kvar_per_kw[d] * to_reactive[d]
            heeded = watched[t]
            for d in range(num):
                off = asked[d] * act[d] + idle[d] - p[d]
                by_setpoint[d] = ZERO if off == ZERO else (led_back if off > ZERO else -led_back)
            for d in range(num):
                by_setpoint[d] *= heeded[d]
            for d in range(num):
                by_p[d] -= by_setpoint[d]
            for d in range(num):
                by_setpoint[d] += obeys[d] * by_p[d]
            light = sun[day, t]
            for d in range(num):
                drops = absorbed[d] * light if act[d] > ZERO else ZERO
                wanted[d] = asked[d] * by_setpoint[d] - drops * to_reactive[d]
            for d in range(num):
                by_change[d] = (up[d] if after[d] >= before[d] else down[d]) * by_p[d]
            hurt = strain[t]
            for d in range(num):
                outside = (ONE if after[d] > hot[d] else ZERO) - (
                    ONE if after[d] < cold[d] else ZERO
                )
                by_after[d] = dear * hurt[d] * outside
            for d in range(num):
                by_after[d] += carried[d] + by_change[d] + level[d] * by_p[d]
            if len(to_states):
                more = to_states[row, t]
                for d in range(num):
                    by_after[d] += more[d]
            free, inside = is_free[row, t], is_inside[row, t]
            lever_up, lever_down = gain_up[day, t], gain_down[day, t]
            for d in range(num):
                lever = lever_up[d] if act[d] > ZERO else lever_down[d]
                wanted[d] += by_after[d] * lever * free[d]
            for d in range(num):
                wanted[d] *= inside[d]
            answer = gain[day, t]
            for d in range(num):
                kept = follow[d] + free[d] * (keep[d] - follow[d])
                carried[d] = by_after[d] * kept - by_change[d]
            for d in range(num):
                carried[d] += wanted[d] * answer[d] * seen_scale[d]

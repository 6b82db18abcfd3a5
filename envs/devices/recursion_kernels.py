"""Compiled loops of the devices' recursion, on the CPU; see `recursion`.

Arrays are C-contiguous, all float32 or all float64. `rows` says which days are played; what is
given by day, `[day, time, device]` or `[day, device]`, is read where it lies,
and what is made is `[row, time, device]`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradmap.feeders.compiled import compiled

Array = np.ndarray[Any, Any]

# Products are joined with sums; infinite bounds stay what they are.
FUSED: dict[str, Any] = {"fastmath": {"contract", "nsz"}}

ZERO, ONE = np.float32(0.0), np.float32(1.0)  # exact, and no reason to widen


@compiled(**FUSED)
def play(
    base: Array,
    rows: Array,
    start: Array,
    gain: Array,
    seen: Array,
    keep: Array,
    offset: Array,
    gain_up: Array,
    gain_down: Array,
    low: Array,
    high: Array,
    follow: Array,
    seen_scale: Array,
    seen_offset: Array,
    states: Array,
    actions: Array,
    to_state: Array,
    to_action: Array,
    to_before: Array,
) -> None:
    """States and actions, and their derivatives from one step to the next."""
    num_rows, num_steps, num_devices = base.shape
    state = np.empty_like(start[0])
    for row in range(num_rows):
        day = rows[row]
        state[:] = start[day]
        for t in range(num_steps):
            for d in range(num_devices):
                x = state[d]
                answer = gain[day, t, d]
                shift = base[row, t, d] + answer * (seen_offset[d] - seen[day, t, d])
                wanted = shift + answer * seen_scale[d] * x
                action = min(max(wanted, -ONE), ONE)
                lever = gain_up[day, t, d] if action > ZERO else gain_down[day, t, d]
                free = offset[day, t, d] + keep[d] * x + lever * action
                after = min(max(free, low[d] + follow[d] * x), high[d] + follow[d] * x)
                is_free = after == free
                to_state[row, t, d] = lever if is_free else ZERO
                to_before[row, t, d] = keep[d] if is_free else follow[d]
                to_action[row, t, d] = ONE if action == wanted else ZERO
                states[row, t, d] = after
                actions[row, t, d] = action
                state[d] = after


@compiled(**FUSED)
def back(
    grad_states: Array,
    grad_actions: Array,
    rows: Array,
    gain: Array,
    seen_scale: Array,
    to_state: Array,
    to_action: Array,
    to_before: Array,
    grad_base: Array,
) -> None:
    """The gradient by the base actions of a gradient by states and actions."""
    num_rows, num_steps, num_devices = grad_base.shape
    carried = np.empty_like(seen_scale)
    for row in range(num_rows):
        day = rows[row]
        carried[:] = ZERO
        for t in range(num_steps - 1, -1, -1):
            for d in range(num_devices):
                after = carried[d] + grad_states[row, t, d]
                asked = grad_actions[row, t, d] + after * to_state[row, t, d]
                wanted = asked * to_action[row, t, d]
                grad_base[row, t, d] = wanted
                slope = gain[day, t, d] * seen_scale[d]
                carried[d] = after * to_before[row, t, d] + wanted * slope

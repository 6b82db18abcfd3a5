"""Compiled loops for many small networks at once, on the CPU.

A network of a device has layers of some sixteen units. A batched product of
such matrices spends its time on calls and on memory between the layers; here an
agent's samples pass through all its layers while they lie in the first cache.
Samples are the innermost axis, so that every loop is one of vectors, and tiles
of four inputs by four outputs keep what is read in registers. The backward
pass computes the forward one again, which is cheaper than to read it back.

Arrays are float32 and C-contiguous:

- inputs `[block, agent, feature, step]`, and before them those that all agents have in common,
  `[block, feature, step]`, which are then read from a cache; a sample is one step of one of the
  blocks asked for, the steps of a block following each other
- weights `[agent, in, out]` and biases `[agent, 1, out]`, one of each per layer
- outputs `[agent, sample, out]`
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

CHUNK = 192
"""Samples at a time, four days of half hours: with 16 units what a layer reads and writes of
one chunk, 25 kB, lies in the first cache, and loops are long enough to pay for their start."""

LINE = 16
"""Numbers in a cache line."""

# Sums may be taken in any order, as in a library's products.
ANY_ORDER: dict[str, Any] = {"fastmath": True}

ZERO, HALF, ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)

# tanh(x) = x P(x^2) / Q(x^2) on [-8, 8], to 4 units in the last place: the
# coefficients of Eigen's `ptanh` (MathFunctionsImpl.h).
TANH_END = np.float32(7.99881172180175781)
P0, P1, P2, P3, P4, P5, P6 = (
    np.float32(c)
    for c in (
        4.89352455891786e-03,
        6.37261928875436e-04,
        1.48572235717979e-05,
        5.12229709037114e-08,
        -8.60467152213735e-11,
        2.00018790482477e-13,
        -2.76076847742355e-16,
    )
)
Q0, Q1, Q2, Q3 = (
    np.float32(c)
    for c in (
        4.89352518554385e-03,
        2.26843463243900e-03,
        1.18534705686654e-04,
        1.19825839466702e-06,
    )
)


@compiled(inline="always", **ANY_ORDER)
def _sigmoid(z):
    """`1 / (1 + exp(-z))`, by the tangent, which needs no powers of two."""
    x = max(-TANH_END, min(TANH_END, HALF * z))
    s = x * x
    p = P0 + s * (P1 + s * (P2 + s * (P3 + s * (P4 + s * (P5 + s * P6)))))
    q = Q0 + s * (Q1 + s * (Q2 + s * Q3))
    return HALF + HALF * (x * p / q)


@compiled(inline="always", **ANY_ORDER)
def _affine(weight, bias, x, out, num):
    """`out[o] = bias[o] + sum over i of weight[i, o] x[i]`."""
    num_in, num_out = weight.shape
    whole_in, whole_out = num_in // 4 * 4, num_out // 4 * 4
    for o in range(0, whole_out, 4):
        y0, y1, y2, y3 = out[o], out[o + 1], out[o + 2], out[o + 3]
        b0, b1, b2, b3 = bias[o], bias[o + 1], bias[o + 2], bias[o + 3]
        for r in range(num):
            y0[r] = b0
            y1[r] = b1
            y2[r] = b2
            y3[r] = b3
        for i in range(0, whole_in, 4):
            x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
            w00, w10, w20, w30 = weight[i, o], weight[i + 1, o], weight[i + 2, o], weight[i + 3, o]
            p = o + 1
            w01, w11, w21, w31 = weight[i, p], weight[i + 1, p], weight[i + 2, p], weight[i + 3, p]
            p = o + 2
            w02, w12, w22, w32 = weight[i, p], weight[i + 1, p], weight[i + 2, p], weight[i + 3, p]
            p = o + 3
            w03, w13, w23, w33 = weight[i, p], weight[i + 1, p], weight[i + 2, p], weight[i + 3, p]
            for r in range(num):
                v0, v1, v2, v3 = x0[r], x1[r], x2[r], x3[r]
                y0[r] += w00 * v0 + w10 * v1 + w20 * v2 + w30 * v3
                y1[r] += w01 * v0 + w11 * v1 + w21 * v2 + w31 * v3
                y2[r] += w02 * v0 + w12 * v1 + w22 * v2 + w32 * v3
                y3[r] += w03 * v0 + w13 * v1 + w23 * v2 + w33 * v3
        for i in range(whole_in, num_in):
            x0 = x[i]
            w00, w01, w02, w03 = weight[i, o], weight[i, o + 1], weight[i, o + 2], weight[i, o + 3]
            for r in range(num):
                v0 = x0[r]
                y0[r] += w00 * v0
                y1[r] += w01 * v0
                y2[r] += w02 * v0
                y3[r] += w03 * v0
    for o in range(whole_out, num_out):
        y0, b0 = out[o], bias[o]
        for r in range(num):
            y0[r] = b0
        for i in range(num_in):
            x0, w00 = x[i], weight[i, o]
            for r in range(num):
                y0[r] += w00 * x0[r]


@compiled(inline="always", **ANY_ORDER)
def _products(x, grad, to_weight, to_bias, num):
    """`to_weight[i, o] += sum over samples of x[i] grad[o]`, and the biases' share."""
    num_in, num_out = to_weight.shape
    whole_in, whole_out = num_in // 4 * 4, num_out // 4 * 4
    for o in range(0, whole_out, 4):
        g0, g1, g2, g3 = grad[o], grad[o + 1], grad[o + 2], grad[o + 3]
        for i in range(0, whole_in, 4):
            x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
            s00, s01, s02, s03 = ZERO, ZERO, ZERO, ZERO
            s10, s11, s12, s13 = ZERO, ZERO, ZERO, ZERO
            s20, s21, s22, s23 = ZERO, ZERO, ZERO, ZERO
            s30, s31, s32, s33 = ZERO, ZERO, ZERO, ZERO
            for r in range(num):
                v0, v1, v2, v3 = x0[r], x1[r], x2[r], x3[r]
                u0, u1, u2, u3 = g0[r], g1[r], g2[r], g3[r]
                s00 += v0 * u0
                s01 += v0 * u1
                s02 += v0 * u2
                s03 += v0 * u3
                s10 += v1 * u0
                s11 += v1 * u1
                s12 += v1 * u2
                s13 += v1 * u3
                s20 += v2 * u0
                s21 += v2 * u1
                s22 += v2 * u2
                s23 += v2 * u3
                s30 += v3 * u0
                s31 += v3 * u1
                s32 += v3 * u2
                s33 += v3 * u3
            for k, row in enumerate(
                (
                    (s00, s01, s02, s03),
                    (s10, s11, s12, s13),
                    (s20, s21, s22, s23),
                    (s30, s31, s32, s33),
                )
            ):
                for m, value in enumerate(row):
                    to_weight[i + k, o + m] += value
        for i in range(whole_in, num_in):
            x0 = x[i]
            s00, s01, s02, s03 = ZERO, ZERO, ZERO, ZERO
            for r in range(num):
                v0 = x0[r]
                s00 += v0 * g0[r]
                s01 += v0 * g1[r]
                s02 += v0 * g2[r]
                s03 += v0 * g3[r]
            to_weight[i, o] += s00
            to_weight[i, o + 1] += s01
            to_weight[i, o + 2] += s02
            to_weight[i, o + 3] += s03
    for o in range(whole_out, num_out):
        g0 = grad[o]
        for i in range(num_in):
            x0, s00 = x[i], ZERO
            for r in range(num):
                s00 += g0[r] * x0[r]
            to_weight[i, o] += s00
    for o in range(num_out):
        g0, s00 = grad[o], ZERO
        for r in range(num):
            s00 += g0[r]
        to_bias[o] += s00


@compiled(inline="always", **ANY_ORDER)
def _fetch(shared, x, blocks, k, begin, num, out):
    """Copies samples of agent `k`, `begin` and the next `num`, to `out[feature]`."""
    num_shared = shared.shape[1]
    num_features, length = x.shape[2:]
    done = 0
    while done < num:
        block, step = blocks[(begin + done) // length], (begin + done) % length
        more = min(length - step, num - done)
        for f in range(num_shared):
            seen, kept = shared[block, f, step : step + more], out[f, done : done + more]
            for r in range(more):
                kept[r] = seen[r]
        for f in range(num_features):
            seen, kept = x[block, k, f, step : step + more], out[num_shared + f, done : done + more]
            for r in range(more):
                kept[r] = seen[r]
        done += more


@compiled(inline="always", **ANY_ORDER)
def _width(weights):
    """The widest of all layers, the inputs among them."""
    widest = weights[0].shape[1]
    for weight in weights:
        widest = max(widest, weight.shape[2])
    return widest


@compiled(inline="always", **ANY_ORDER)
def _scratch(rows, columns):
    """Rows that begin at cache lines: vectors across two lines take twice as long."""
    room = np.empty(rows * columns + LINE, np.float32)
    skipped = (-(room.ctypes.data // 4)) % LINE
    return room[skipped : skipped + rows * columns].reshape(rows, columns)


@compiled(**ANY_ORDER)
def forward(
    shared: Array,
    x: Array,
    blocks: Array,
    weights: Arrays,
    biases: Arrays,
    out: Array,
    first: int,
    last: int,
) -> None:
    """Passes the samples of the agents from `first` to before `last` through their networks."""
    depth, num_samples = len(weights), out.shape[1]
    width = _width(weights)
    values = _scratch(width, CHUNK)
    sums = _scratch(width, CHUNK)
    for k in range(first, last):
        for begin in range(0, num_samples, CHUNK):
            num = min(CHUNK, num_samples - begin)
            _fetch(shared, x, blocks, k, begin, num, values)
            for layer in range(depth):
                _affine(weights[layer][k], biases[layer][k, 0], values, sums, num)
                if layer < depth - 1:
                    for o in range(weights[layer].shape[2]):
                        z, h = sums[o], values[o]
                        for r in range(num):
                            h[r] = z[r] * _sigmoid(z[r])
            for o in range(out.shape[2]):
                for r in range(num):
                    out[k, begin + r, o] = sums[o, r]


@compiled(**ANY_ORDER)
def forward_slope(
    shared: Array,
    x: Array,
    blocks: Array,
    weights: Arrays,
    biases: Arrays,
    feature: int,
    out: Array,
    slope: Array,
    first: int,
    last: int,
) -> None:
    """As `forward`, and the derivative of the outputs by one input, `[agent, sample, out]`."""
    depth, num_samples = len(weights), out.shape[1]
    width = _width(weights)
    values = _scratch(width, CHUNK)
    sums = _scratch(width, CHUNK)
    moved = _scratch(width, CHUNK)
    moves = _scratch(width, CHUNK)
    nothing = np.zeros(width, np.float32)
    for k in range(first, last):
        for begin in range(0, num_samples, CHUNK):
            num = min(CHUNK, num_samples - begin)
            _fetch(shared, x, blocks, k, begin, num, values)
            for layer in range(depth):
                weight = weights[layer][k]
                _affine(weight, biases[layer][k, 0], values, sums, num)
                if layer == 0:
                    for o in range(weight.shape[1]):
                        moves[o, :num] = weight[feature, o]
                else:
                    _affine(weight, nothing, moved, moves, num)
                if layer < depth - 1:
                    for o in range(weight.shape[1]):
                        z, h, m, d = sums[o], values[o], moves[o], moved[o]
                        for r in range(num):
                            s = _sigmoid(z[r])
                            v = z[r] * s
                            h[r] = v
                            d[r] = m[r] * (s + v * (ONE - s))
            for o in range(out.shape[2]):
                for r in range(num):
                    out[k, begin + r, o] = sums[o, r]
                    slope[k, begin + r, o] = moves[o, r]


@compiled(**ANY_ORDER)
def backward(
    shared: Array,
    x: Array,
    blocks: Array,
    weights: Arrays,
    biases: Arrays,
    grad: Array,
    to_weights: Arrays,
    to_biases: Arrays,
    to_x: Array,
    first: int,
    last: int,
) -> None:
    """Takes a gradient by the outputs back to weights and biases, and to own inputs.

    To those only if `to_x`, `[agent, sample, feature]`, has agents. `turned` holds each
    layer's weights the other way round, so that the same product serves both ways.
    """
    depth, num_samples = len(weights), grad.shape[1]
    width = _width(weights)
    values = _scratch(depth * width, CHUNK).reshape(depth, width, CHUNK)
    slopes = _scratch(depth * width, CHUNK).reshape(depth, width, CHUNK)
    sums = _scratch(width, CHUNK)
    back = _scratch(width, CHUNK)
    turned = np.empty((depth, width, width), np.float32)
    nothing = np.zeros(width, np.float32)
    for k in range(first, last):
        for layer in range(depth):
            to_weights[layer][k, :, :] = ZERO
            to_biases[layer][k, 0, :] = ZERO
            weight = weights[layer][k]
            for i in range(weight.shape[0]):
                for o in range(weight.shape[1]):
                    turned[layer, o, i] = weight[i, o]
        for begin in range(0, num_samples, CHUNK):
            num = min(CHUNK, num_samples - begin)
            _fetch(shared, x, blocks, k, begin, num, values[0])
            for layer in range(depth - 1):
                _affine(weights[layer][k], biases[layer][k, 0], values[layer], sums, num)
                for o in range(weights[layer].shape[2]):
                    z, h, d = sums[o], values[layer + 1, o], slopes[layer + 1, o]
                    for r in range(num):
                        s = _sigmoid(z[r])
                        v = z[r] * s
                        h[r] = v
                        d[r] = s + v * (ONE - s)
            for o in range(grad.shape[2]):
                for r in range(num):
                    back[o, r] = grad[k, begin + r, o]
            for layer in range(depth - 1, -1, -1):
                _products(values[layer], back, to_weights[layer][k], to_biases[layer][k, 0], num)
                num_in, num_out = weights[layer].shape[1:]
                if layer > 0:
                    _affine(turned[layer, :num_out, :num_in], nothing, back, sums, num)
                    for i in range(num_in):
                        g, z, d = back[i], sums[i], slopes[layer, i]
                        for r in range(num):
                            g[r] = z[r] * d[r]
                elif len(to_x):
                    _affine(turned[layer, :num_out, :num_in], nothing, back, sums, num)
                    num_shared = shared.shape[1]
                    for i in range(num_shared, num_in):
                        for r in range(num):
                            to_x[k, begin + r, i - num_shared] = sums[i, r]

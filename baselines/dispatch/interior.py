"""The convex problem of many devices and few limits, by an interior-point method.

Mehrotra's predictor-corrector, for a batch of days at once. Devices meet only
in the limits of the network, so a Newton step is one recursion over time for
each device (`newton.py`) and one small dense system for the limits' prices:

    (J R J^T + W) lambda = J p_hat - h,

with `R` the sum of the devices' responses at each terminal, `J` what a kW there
does to each limit. The limits are elastic: beyond a price they give way, so
that a day that cannot be held has an answer too.

`lower_bound` is weak duality in closed form. For any prices `0 <= lambda <=
limit price` and any multipliers of the state equations, the least of the
Lagrangian over the boxes is below the optimum. It does not depend on how well
the method has converged; its accuracy is that of a sum in float64.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse
from scipy.linalg import lapack

from gradmap.baselines.dispatch.devices import Array, Block
from gradmap.baselines.dispatch.newton import Newton
from gradmap.baselines.dispatch.rows import Rows

_CENTRE = 0.3  # $: product of every variable and its multiplier at the start
_BACK = 0.995  # share of the way to the nearest wall


@dataclasses.dataclass(frozen=True)
class Solution:
    """What the method found.

    Attributes:
        variables: Of each block. `[variable, time, device, batch]`
        price: Of every row, $ per unit of the row. `[batch, time, slot]`
        cost_usd: Cost, without what elastic limits are charged. `[batch]`
        charge_usd: What elastic limits are charged. `[batch]`
        bound_usd: Lower bound of the optimum of cost and charge. `[batch]`
        iterations: Newton steps.
    """

    variables: tuple[Array, ...]
    price: Array
    cost_usd: Array
    charge_usd: Array
    bound_usd: Array
    iterations: int


class _Fleet:
    """A block, its iterates, and its devices gathered by group."""

    def __init__(self, block: Block, group: Array, num_groups: int) -> None:
        self.block = block
        self.newton = Newton(block)
        self.v = block.start.copy()
        self.nu = np.zeros(block.shape[1:])
        self.low = _CENTRE / self.v
        self.high = _CENTRE / (block.upper - self.v)
        time, devices = block.shape[1:3]
        self.group = group
        cells = np.arange(time)[:, None]
        rows = (cells * num_groups + group).ravel()
        ones = np.ones(len(rows))
        columns = np.arange(time * devices)
        shape = (time * num_groups, time * devices)
        whole = scipy.sparse.csr_array((ones, (rows, columns)), shape=shape)
        self._sums = [whole[: k * num_groups, : k * devices] for k in range(time + 1)]

    def gathered(self, values: Array) -> Array:
        """Sums over the devices of each group. `[time, group, batch]`"""
        time, _, batch = values.shape
        return (self._sums[time] @ values.reshape(-1, batch)).reshape(time, -1, batch)

    def hessian(self) -> None:
        """Takes the barrier's diagonal at the iterate, and factors."""
        self.slack = self.block.upper - self.v
        inverse = 1.0 / (self.block.curvature + self.low / self.v + self.high / self.slack)
        self.newton.factor(inverse)

    def aim(self, centre: Array, corrections: tuple[Array, Array] | None) -> Array:
        """Where the devices go without prices; returns their power by group."""
        block = self.block
        rho = -(block.curvature * self.v + block.cost)
        self.centre_low: Array | float = centre
        self.centre_high: Array | float = centre
        if corrections is not None:
            self.centre_low, self.centre_high = centre - corrections[0], centre - corrections[1]
        rho += self.centre_low / self.v - self.centre_high / self.slack
        self._target = self.v + self.newton.inverse * rho
        self._nu_free, p = self.newton.target(self._target)
        return self.gathered(p)

    def move(self, price: Array) -> None:
        """Takes the step at prices by group, `[time, group, batch]`."""
        own = price[:, self.group]
        v, nu = self.newton.move(self._target, self._nu_free, own)
        self.dv, self.dnu = v - self.v, nu - self.nu
        self.dlow = (self.centre_low - self.low * self.dv) / self.v - self.low
        self.dhigh = (self.centre_high + self.high * self.dv) / self.slack - self.high

    def lengths(self) -> tuple[Array, Array]:
        """How far variables and multipliers may go. `[batch]` each"""
        primal = np.maximum(-self.dv / self.v, self.dv / self.slack).max((0, 1, 2))
        dual = np.maximum(-self.dlow / self.low, -self.dhigh / self.high).max((0, 1, 2))
        return primal, dual

    def gap_after(self, primal: Array, dual: Array) -> Array:
        """Sum of all products after a step. `[batch]`"""
        move = primal * self.dv
        low = (self.v + move) * (self.low + dual * self.dlow)
        high = (self.slack - move) * (self.high + dual * self.dhigh)
        return (low + high).sum((0, 1, 2))

    def advance(self, primal: Array, dual: Array) -> None:
        """Makes the step."""
        self.v += primal * self.dv
        self.nu += dual * self.dnu
        self.low += dual * self.dlow
        self.high += dual * self.dhigh

    def cost(self) -> Array:
        """Cost, $. `[batch]`"""
        each = self.v * (self.block.cost + 0.5 * self.block.curvature * self.v)
        return each.sum((0, 1, 2)) + self.block.constant

    def bound(self, price: Array) -> Array:
        """The least of the block's Lagrangian over its boxes, $. `[batch]`"""
        block = self.block
        reduced = block.cost + self.newton.pull(self.nu, price[:, self.group])
        curvature = np.broadcast_to(block.curvature, block.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            best = np.where(curvature > 0, -reduced / curvature, np.where(reduced < 0, np.inf, 0.0))
        best = np.clip(best, 0.0, block.upper)
        least = (best * (reduced + 0.5 * curvature * best)).sum((0, 1, 2))
        rows = (self.nu * block.drift).sum((0, 1))
        total: Array = least - rows + block.constant
        return total


class _Limits:
    """The rows `J p + slack - excess = h`, and the iterates of their prices."""

    def __init__(self, rows: Rows, price_max: float) -> None:
        self.rows = rows
        shape = rows.right.shape
        self.price_max = price_max
        self.price = np.full(shape, min(1.0, 0.1 * price_max))
        self.rest = price_max - self.price
        self.slack = np.full(shape, 1.0)
        self.excess = _CENTRE / self.rest
        # Slots without a row are met from the start: no coefficient, right side 1.
        self.steps = np.flatnonzero(rows.is_used.any((0, 2)))

    def by_group(self, price: Array) -> Array:
        """Prices of power that the rows' prices make. `[time, group, batch]`"""
        found = np.matmul(price[:, :, None], self.rows.per_kw)[:, :, 0]
        return np.ascontiguousarray(found.transpose(1, 2, 0))

    def left(self, power: Array) -> Array:
        """`J p` of powers by group. `[batch, time, slot]`"""
        p = power.transpose(2, 0, 1)[..., None]
        found: Array = np.matmul(self.rows.per_kw, p)[..., 0]
        return found

    def factor(self, response: Array) -> None:
        """Factors `J R J^T + W`; `response` is `[time, time, group, batch]`, upper half."""
        self.width = self.slack / self.price + self.excess / self.rest
        steps, per_kw = self.steps, self.rows.per_kw
        batch, _, slots, _ = per_kw.shape
        size = len(steps) * slots
        self._factors = []
        if not size:
            return
        for b in range(batch):
            own = per_kw[b, steps]
            right = own.transpose(0, 2, 1)
            matrix = np.zeros((len(steps), slots, len(steps), slots))
            mine = np.ascontiguousarray(response[..., b])
            for i, t in enumerate(steps):
                scaled = own[i] * mine[t, steps[i:], None]
                matrix[i, :, i:] = np.matmul(scaled, right[i:]).transpose(1, 0, 2)
            square = matrix.reshape(size, size)
            square[np.diag_indices(size)] += self.width[b, steps].ravel()
            factor, info = lapack.dpotrf(square.T, lower=1, overwrite_a=1)
            if info:
                square[np.diag_indices(size)] *= 1.0 + 1e-9
                factor, info = lapack.dpotrf(square.T, lower=1)
            self._factors.append(factor)

    def aim(
        self, free: Array, centre: Array, corrections: tuple[Array, Array] | None
    ) -> Array:
        """Solves for the prices; `free` is power by group without them."""
        low = high = centre[:, None, None]
        if corrections is not None:
            low, high = low - corrections[0], high - corrections[1]
        self._low, self._high = low, high
        right = self.left(free) - self.rows.right + low / self.price - high / self.rest
        right += self.width * self.price
        price = self.price.copy()
        for b, factor in enumerate(self._factors):
            part, _ = lapack.dpotrs(factor, right[b, self.steps].ravel(), lower=1)
            price[b, self.steps] = part.reshape(len(self.steps), -1)
        self.dprice = price - self.price
        self.dslack = (low - self.slack * self.dprice) / self.price - self.slack
        self.dexcess = (high + self.excess * self.dprice) / self.rest - self.excess
        return self.by_group(price)

    def lengths(self) -> tuple[Array, Array]:
        """As for a fleet."""
        primal = np.maximum(-self.dslack / self.slack, -self.dexcess / self.excess)
        dual = np.maximum(-self.dprice / self.price, self.dprice / self.rest)
        return primal.max((1, 2)), dual.max((1, 2))

    def gap_after(self, primal: Array, dual: Array) -> Array:
        """As for a fleet."""
        along, across = primal[:, None, None], dual[:, None, None]
        change = across * self.dprice
        low = (self.slack + along * self.dslack) * (self.price + change)
        high = (self.excess + along * self.dexcess) * (self.rest - change)
        return (low + high).sum((1, 2))

    def advance(self, primal: Array, dual: Array) -> None:
        """As for a fleet."""
        self.slack += primal[:, None, None] * self.dslack
        self.excess += primal[:, None, None] * self.dexcess
        self.price += dual[:, None, None] * self.dprice
        self.rest -= dual[:, None, None] * self.dprice


def solve_interior(
    blocks: Sequence[Block],
    group: Sequence[Array],
    rows: Rows,
    *,
    price_max: float,
    tolerance: float = 1e-5,
    max_iterations: int = 60,
) -> Solution:
    """Solves the problem of each day of a batch.

    Args:
        blocks: The fleets.
        group: Group of each block's devices. `[device]` each
        rows: The limits of the network.
        price_max: Price at which a limit gives way, $ per unit of a row.
        tolerance: Gap between cost and bound that is small enough, as a share
            of the cost.
        max_iterations: Newton steps at most.

    Returns:
        The solution; how good it is shows in its cost and its bound.
    """
    num_groups = rows.per_kw.shape[-1]
    fleets = [_Fleet(*pair, num_groups) for pair in zip(blocks, group, strict=True)]
    limits = _Limits(rows, price_max)
    num = sum(2.0 * np.prod(block.shape[:3]) for block in blocks)
    num += 2.0 * np.prod(rows.right.shape[1:])
    best = np.full(len(rows.right), -np.inf)
    best_price = limits.price.copy()
    for iteration in range(max_iterations + 1):
        bound = _bound(fleets, limits)
        is_better = bound > best
        best = np.where(is_better, bound, best)
        best_price[is_better] = limits.price[is_better]
        cost = sum((fleet.cost() for fleet in fleets), np.zeros(len(best)))
        charge = price_max * limits.excess.sum((1, 2))
        gap = np.abs(cost + charge - best) + _missed(fleets, limits)
        if iteration == max_iterations or (gap <= tolerance * (1.0 + np.abs(cost))).all():
            break
        _step([*fleets], limits, num)
    return Solution(
        variables=tuple(fleet.v for fleet in fleets),
        price=np.where(rows.is_used, best_price, 0.0),
        cost_usd=cost,
        charge_usd=np.where(rows.is_used, price_max * limits.excess, 0.0).sum((1, 2)),
        bound_usd=best,
        iterations=iteration,
    )


def _bound(fleets: Sequence[_Fleet], limits: _Limits) -> Array:
    used = np.where(limits.rows.is_used, limits.price, 0.0)
    price = limits.by_group(used)
    total = sum((fleet.bound(price) for fleet in fleets), np.zeros(len(used)))
    return total - (used * limits.rows.right).sum((1, 2))


def _missed(fleets: Sequence[_Fleet], limits: _Limits) -> Array:
    """What is left of the equations, at their multipliers, $. `[batch]`"""
    power = sum(fleet.gathered(fleet.newton.power(fleet.v)) for fleet in fleets)
    rows = limits.left(power) + limits.slack - limits.excess - limits.rows.right
    missed = np.where(limits.rows.is_used, np.abs(rows * limits.price), 0.0).sum((1, 2))
    for fleet in fleets:
        missed = missed + np.abs(fleet.newton.residual(fleet.v) * fleet.nu).sum((0, 1))
    return missed


def _step(fleets: list[_Fleet], limits: _Limits, num: float) -> None:
    """One predictor, one corrector."""
    wanted = np.zeros(limits.rows.right.shape[1], dtype=bool)
    wanted[limits.steps] = True
    size = (len(wanted), len(wanted), limits.rows.per_kw.shape[-1], len(limits.price))
    response = np.zeros(size) if len(limits.steps) else np.zeros((0,))
    for fleet in fleets:
        fleet.hessian()
        for t, row in fleet.newton.responses(wanted):
            response[t, t:] += fleet.gathered(row)
    limits.factor(response)
    everyone: list[_Fleet | _Limits] = [*fleets, limits]
    nothing = np.zeros(len(limits.price))
    before = sum(each.gap_after(nothing, nothing) for each in _moved(fleets, limits, nothing))
    ahead = _lengths(everyone, 1.0)
    after = sum(each.gap_after(*ahead) for each in everyone)
    share = np.clip(after / before, 0.0, 1.0) ** 3
    centre = np.maximum(share * before / num, 1e-13)
    _moved(fleets, limits, centre, is_corrected=True)
    lengths = _lengths(everyone, _BACK)
    for each in everyone:
        each.advance(*lengths)


def _moved(
    fleets: list[_Fleet], limits: _Limits, centre: Array, is_corrected: bool = False
) -> list[_Fleet | _Limits]:
    """Finds the direction towards a centre, with the predictor's products or not."""
    free: Array | float = 0.0
    for fleet in fleets:
        products = (fleet.dv * fleet.dlow, -fleet.dv * fleet.dhigh) if is_corrected else None
        free = free + fleet.aim(centre, products)
    products = None
    if is_corrected:
        products = (limits.dslack * limits.dprice, -limits.dexcess * limits.dprice)
    assert isinstance(free, np.ndarray)
    price = limits.aim(free, centre, products)
    for fleet in fleets:
        fleet.move(price)
    return [*fleets, limits]


def _lengths(everyone: Sequence[_Fleet | _Limits], back: float) -> tuple[Array, Array]:
    """Step lengths of variables and of multipliers, 1 at most. `[batch]` each"""
    rates = [each.lengths() for each in everyone]
    primal, dual = (np.maximum.reduce(column) for column in zip(*rates, strict=True))
    return tuple(np.minimum(1.0, back / np.maximum(rate, 1e-12)) for rate in (primal, dual))

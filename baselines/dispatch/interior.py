"""The convex problem of many devices and few limits, by an interior-point method.

Mehrotra's predictor-corrector. Devices meet only in the limits of the network,
so a Newton step is one recursion over time for all devices (`newton.py`) and
one small dense system for the limits' prices:

    (J R J^T + W) d lambda = J p_hat - h,

with `R` the sum of the devices' responses at each terminal, `J` what a kW there
does to each limit and `p_hat` where devices would go. The limits are elastic:
beyond a price they give way, so that a day that cannot be held has an answer too.

The lower bound is weak duality in closed form. For any prices `0 <= lambda <=
limit price` and any multipliers of the state equations, the least of the
Lagrangian over the boxes is below the optimum. It does not depend on how well
the method has converged; its accuracy is that of a sum in float64.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
from scipy.linalg import lapack

from gradmap.baselines.dispatch.devices import Array, Block
from gradmap.baselines.dispatch.newton import Newton
from gradmap.baselines.dispatch.rows import Rows

_CENTRE = 0.3  # $: product of every variable and its multiplier at the start
_BACK = 0.995  # share of the way to the nearest wall
_SHORT = 1e-6  # a step shorter than this leads nowhere
_LEAST = 1e-12  # smallest entry of the inverse Hessian: a pivot of 0 ends a recursion


@dataclasses.dataclass(frozen=True)
class Solution:
    """What the method found for a day.

    Attributes:
        variables: Of each block. `[variable, time, device]`
        price: Of every row, $ per unit of the row. `[time, slot]`
        cost_usd: Cost, without what elastic limits are charged.
        charge_usd: What elastic limits are charged.
        bound_usd: Lower bound of the optimum of cost and charge.
        iterations: Newton steps.
    """

    variables: tuple[Array, ...]
    price: Array
    cost_usd: float
    charge_usd: float
    bound_usd: float
    iterations: int


class _Fleet:
    """A block, its iterates, and its devices gathered by group."""

    def __init__(self, block: Block, group: Any, num_groups: int) -> None:
        self.block = block
        self.newton = Newton(block)
        self.v = block.start.copy()
        self.nu = np.zeros(block.shape[1:])
        self.low = _CENTRE / self.v
        self.high = _CENTRE / (block.upper - self.v)
        self.group = group
        self.dv = self.dlow = self.dhigh = np.zeros(block.shape)
        ones, devices = np.ones(len(group)), np.arange(len(group))
        self._sum = scipy.sparse.csr_array((ones, (group, devices)), shape=(num_groups, len(group)))

    def gathered(self, values: Array) -> Array:
        """Sums over the devices of each group. `[time, group]`"""
        total: Array = (self._sum @ values.T).T
        return total

    def hessian(self, price: Array) -> None:
        """Takes gradient and Hessian at the iterate and its prices, and factors.

        All that follows is in changes from the iterate: near the optimum they
        are small, where the quantities themselves would cancel.
        """
        self.slack = self.block.upper - self.v
        self._by_v, self._by_slack = 1.0 / self.v, 1.0 / self.slack
        diagonal = self.low * self._by_v + self.high * self._by_slack + self.block.curvature
        self.newton.factor(np.maximum(1.0 / diagonal, _LEAST))
        self._slope = -(self.block.curvature * self.v + self.block.cost)
        self._slope -= self.newton.pull(self.nu, price[:, self.group])
        self._missed = self.newton.residual(self.v)
        self._power = self.newton.power(self.v)

    def aim(self, centre: float, is_corrected: bool) -> Array:
        """Where the devices go at the prices as they are; returns their power by group."""
        rho = self._slope
        if is_corrected:
            # Products that the predictor's step would leave, taken off.
            self._centre_low = centre - self.dv * self.dlow
            self._centre_high = centre + self.dv * self.dhigh
            rho = rho + self._centre_low * self._by_v - self._centre_high * self._by_slack
        self._target = self.newton.inverse * rho
        self._nu_free, p = self.newton.target(self._target, self._missed)
        return self.gathered(self._power + p)

    def move(self, price: Array, is_corrected: bool) -> None:
        """Takes the direction at a change of prices by group, `[time, group]`."""
        self.dv, self.dnu = self.newton.move(self._target, self._nu_free, price[:, self.group])
        # By how many times each wall would be passed, and the multipliers' change.
        self._to_low, self._to_high = -self.dv * self._by_v, self.dv * self._by_slack
        self.dlow = self.low * (self._to_low - 1.0)
        self.dhigh = self.high * (self._to_high - 1.0)
        if is_corrected:
            self.dlow += self._centre_low * self._by_v
            self.dhigh += self._centre_high * self._by_slack

    def lengths(self) -> tuple[float, float]:
        """How many times over the nearest wall a whole step would go."""
        primal = max(self._to_low.max(), self._to_high.max())
        dual = max((-self.dlow / self.low).max(), (-self.dhigh / self.high).max())
        return primal, dual

    def gap_after(self, primal: float, dual: float) -> float:
        """Sum of all products after a step."""
        low = _products(self.v, primal * self.dv, self.low, dual * self.dlow)
        return low + _products(self.slack, -primal * self.dv, self.high, dual * self.dhigh)

    def advance(self, primal: float, dual: float) -> None:
        """Makes the step."""
        self.v += primal * self.dv
        self.nu += dual * self.dnu
        self.low += dual * self.dlow
        self.high += dual * self.dhigh

    def cost(self) -> float:
        """Cost, $."""
        block = self.block
        each = self.v * (block.cost + 0.5 * block.curvature * self.v)
        return float(each.sum()) + block.constant

    def bound(self, price: Array, block: Block) -> float:
        """The least of a block's Lagrangian over its boxes, $."""
        reduced = block.cost + self.newton.pull(self.nu, price[:, self.group])
        least = (np.minimum(reduced, 0.0) * block.upper).sum((1, 2))
        for k in np.flatnonzero(block.curvature.any((1, 2))):
            curvature = block.curvature[k]
            best = np.clip(-reduced[k] / curvature, 0.0, block.upper[k])
            least[k] = (best * (reduced[k] + 0.5 * curvature * best)).sum()
        return float(least.sum() - (self.nu * block.drift).sum()) + block.constant


def _products(x: Array, dx: Array, z: Array, dz: Array) -> float:
    return float(np.vdot(x + dx, z + dz))


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
        self.dprice = self.dslack = self.dexcess = np.zeros(shape)
        self.steps = np.flatnonzero(rows.is_used.any(1))

    def by_group(self, price: Array) -> Array:
        """Prices of power that the rows' prices make. `[time, group]`"""
        found: Array = np.matmul(price[:, None], self.rows.per_kw)[:, 0]
        return found

    def left(self, power: Array) -> Array:
        """`J p` of powers by group. `[time, slot]`"""
        found: Array = np.matmul(self.rows.per_kw, power[..., None])[..., 0]
        return found

    def factor(self, response: Array) -> None:
        """Factors `J R J^T + W`; `response` is `[time, time, group]`, upper half."""
        self.width = self.slack / self.price + self.excess / self.rest
        steps, is_used = self.steps, self.rows.is_used
        own = [self.rows.per_kw[t, is_used[t]] for t in steps]
        edges = np.cumsum([0, *map(len, own)])
        square = np.zeros((edges[-1], edges[-1]))
        stacked = np.concatenate(own) if own else np.zeros((0, response.shape[-1]))
        repeats = np.diff(edges)
        for i, t in enumerate(steps):
            # Each row of the later steps, weighted by the response to this one.
            weights = np.repeat(response[t, steps[i:]], repeats[i:], axis=0)
            later = stacked[edges[i] :] * weights
            square[edges[i] : edges[i + 1], edges[i] :] = own[i] @ later.T
        square[np.diag_indices(len(square))] += self.width[is_used]
        self._factor = _cholesky(square) if len(square) else square

    def aim(self, free: Array, centre: float, is_corrected: bool) -> Array:
        """Solves for the prices' change; `free` is power by group without it."""
        low: Array | float = 0.0
        high: Array | float = 0.0
        if is_corrected:
            low = centre - self.dslack * self.dprice
            high = centre + self.dexcess * self.dprice
        right = self.left(free) - self.rows.right + low / self.price - high / self.rest
        is_used = self.rows.is_used
        self.dprice = np.zeros(is_used.shape)
        if len(self._factor):
            self.dprice[is_used], _ = lapack.dpotrs(self._factor, right[is_used], lower=1)
        dslack = (low - self.slack * self.dprice) / self.price - self.slack
        dexcess = (high + self.excess * self.dprice) / self.rest - self.excess
        # Slots without a row stand still, and hold nobody up.
        self.dslack, self.dexcess = (np.where(is_used, x, 0.0) for x in (dslack, dexcess))
        return self.by_group(self.dprice)

    def lengths(self) -> tuple[float, float]:
        """As for a fleet."""
        primal = max((-self.dslack / self.slack).max(), (-self.dexcess / self.excess).max())
        dual = max((-self.dprice / self.price).max(), (self.dprice / self.rest).max())
        return primal, dual

    def gap_after(self, primal: float, dual: float) -> float:
        """As for a fleet."""
        change, is_used = dual * self.dprice, self.rows.is_used
        low = (self.slack + primal * self.dslack) * (self.price + change)
        high = (self.excess + primal * self.dexcess) * (self.rest - change)
        return float((low + high)[is_used].sum())

    def advance(self, primal: float, dual: float) -> None:
        """As for a fleet."""
        self.slack += primal * self.dslack
        self.excess += primal * self.dexcess
        self.price += dual * self.dprice
        self.rest -= dual * self.dprice

    @property
    def used_price(self) -> Array:
        """Prices, 0 in empty slots."""
        return np.where(self.rows.is_used, self.price, 0.0)

    @property
    def charge(self) -> float:
        """What giving way costs, $."""
        return float(self.price_max * self.excess[self.rows.is_used].sum())


def _cholesky(square: Array) -> Array:
    """Lower factor of a matrix whose upper half is given, in Fortran's order."""
    factor, info = lapack.dpotrf(square.T, lower=1)
    if info:  # rounding: some rows nearly repeat others
        square[np.diag_indices(len(square))] *= 1.0 + 1e-8
        factor, info = lapack.dpotrf(square.T, lower=1)
    return np.asarray(factor)


def solve_interior(
    blocks: Sequence[Block],
    group: Sequence[Any],
    rows: Rows,
    *,
    price_max: float,
    tolerance: float = 1e-5,
    max_iterations: int = 80,
    plain: Sequence[Block] | None = None,
) -> Solution:
    """Solves the problem of one day.

    Args:
        blocks: The fleets.
        group: Group of each block's devices. `[device]` each, int64
        rows: The limits of the network.
        price_max: Price at which a limit gives way, $ per unit of a row.
        tolerance: Gap between cost and bound that is small enough, as a share
            of the cost.
        max_iterations: Newton steps at most.
        plain: Blocks whose optimum the bound is for, where `blocks` charge
            something more; None if they are the same.

    Returns:
        The solution; how good it is shows in its cost and its bound.
    """
    num_groups = rows.per_kw.shape[-1]
    fleets = [_Fleet(*pair, num_groups) for pair in zip(blocks, group, strict=True)]
    limits = _Limits(rows, price_max)
    best, best_plain, best_price = -np.inf, -np.inf, limits.used_price
    iterations = 0
    while True:
        bound = _bound(fleets, limits, blocks)
        if bound > best:
            best, best_price = bound, limits.used_price
            best_plain = best if plain is None else _bound(fleets, limits, plain)
        cost, charge = sum(fleet.cost() for fleet in fleets), limits.charge
        gap = abs(cost + charge - best) + _missed(fleets, limits)
        is_done = gap <= tolerance * (1.0 + abs(cost)) or iterations == max_iterations
        if is_done or not _step(fleets, limits):
            break
        iterations += 1
    variables = tuple(fleet.v for fleet in fleets)
    return Solution(variables, best_price, cost, charge, best_plain, iterations)


def _bound(fleets: Sequence[_Fleet], limits: _Limits, blocks: Sequence[Block]) -> float:
    """Weak duality at the iterate's multipliers, $."""
    price = limits.used_price
    through = limits.by_group(price)
    least = sum(f.bound(through, block) for f, block in zip(fleets, blocks, strict=True))
    return least - float((price * limits.rows.right).sum())


def _missed(fleets: Sequence[_Fleet], limits: _Limits) -> float:
    """What is left of the equations, at their multipliers, $."""
    power = sum(fleet.gathered(fleet.newton.power(fleet.v)) for fleet in fleets)
    rows = limits.left(np.asarray(power)) + limits.slack - limits.excess - limits.rows.right
    missed = float(np.abs(rows * limits.used_price).sum())
    return missed + sum(
        float(np.abs(fleet.newton.residual(fleet.v) * fleet.nu).sum()) for fleet in fleets
    )


def _step(fleets: list[_Fleet], limits: _Limits) -> bool:
    """One predictor, one corrector; False where rounding ends the method."""
    time, _, num_groups = limits.rows.per_kw.shape
    wanted = np.asarray(limits.rows.is_used.any(1))
    response = np.zeros((time, time, num_groups))
    price = limits.by_group(limits.used_price)
    for fleet in fleets:
        fleet.hessian(price)
        for t, row in fleet.newton.responses(wanted):
            response[t, t:] += fleet.gathered(row)
    limits.factor(response)
    everyone: list[_Fleet | _Limits] = [*fleets, limits]
    _direct(fleets, limits, 0.0, is_corrected=False)
    before = sum(each.gap_after(0.0, 0.0) for each in everyone)
    ahead = _lengths(everyone, 1.0)
    after = sum(each.gap_after(*ahead) for each in everyone)
    num = 2 * (sum(fleet.v.size for fleet in fleets) + int(limits.rows.is_used.sum()))
    share = min(max(after / before, 0.0), 1.0) ** 3
    centre = max(share * before / num, 1e-13)
    _direct(fleets, limits, centre, is_corrected=True)
    lengths = _lengths(everyone, _BACK)
    if not min(lengths) > _SHORT:  # nor where they are not numbers
        return False
    for each in everyone:
        each.advance(*lengths)
    return True


def _direct(fleets: list[_Fleet], limits: _Limits, centre: float, is_corrected: bool) -> None:
    """Finds the direction towards a centre, with the predictor's products or not."""
    free = sum(fleet.aim(centre, is_corrected) for fleet in fleets)
    price = limits.aim(np.asarray(free), centre, is_corrected)
    for fleet in fleets:
        fleet.move(price, is_corrected)


def _lengths(everyone: Sequence[_Fleet | _Limits], back: float) -> tuple[float, float]:
    """Step lengths of variables and of multipliers, 1 at most."""
    primal, dual = np.max([each.lengths() for each in everyone], axis=0)  # NaN if there is one
    first, second = (float(back / max(rate, back)) for rate in (primal, dual))
    return first, second

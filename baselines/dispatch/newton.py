"""One fleet inside the interior-point method: its Newton system, by recursion over time.

With `H` the diagonal Hessian of cost and barrier and `A` the rows of the state
equation, `M = A H^-1 A^T` is tridiagonal in time for each device. All that
the network needs of a device is how its power answers to a price of power at
each step: the matrix `R`, `[time, time]`, of every device.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from gradmap.baselines.dispatch.devices import Array, Block


class Newton:
    """Factors and solves the Newton systems of a block.

    Args:
        block: The fleet.
    """

    def __init__(self, block: Block) -> None:
        self.block = block
        self._controls = block.num_controls
        self._sign = block.sign[:, None, None]
        self._is_plain = len(block.sign) == 1 and block.sign[0] == 1.0  # the state is its part
        self._k = block.power_control[:, None, None]

    def state(self, v: Array) -> Array:
        """The state `x` of the variables. `[time, device]`"""
        parts = v[self._controls :]
        x: Array = parts[0] if self._is_plain else (self._sign * parts).sum(0)
        return x

    def power(self, v: Array) -> Array:
        """Power drawn, without constant, kW. `[time, device]`"""
        block = self.block
        p = np.zeros(block.shape[1:])
        for k, u in zip(block.power_control, v[: self._controls], strict=True):
            if k:
                p += k * u
        return p + block.power_state * self.state(v) if block.power_state else p

    def residual(self, v: Array) -> Array:
        """By how much the state equation is missed. `[time, device]`"""
        missed: Array = self.follow(v) - self.block.drift
        return missed

    def follow(self, v: Array) -> Array:
        """The state equation's left side, without the drift. `[time, device]`"""
        block, x = self.block, self.state(v)
        left = x.copy()
        left[1:] -= block.decay * x[:-1]
        for gain, u in zip(block.gain, v[: self._controls], strict=True):
            left -= gain * u
        return left

    def pull(self, nu: Array, price: Array) -> Array:
        """What the rows' multipliers and the prices of power add to the cost.

        Args:
            nu: Multiplier of the state equation. `[time, device]`
            price: Price of power, $/kW. `[time, device]`
        """
        block = self.block
        out = np.empty(block.shape)
        for c, (gain, k) in enumerate(zip(block.gain, block.power_control, strict=True)):
            np.multiply(gain, -nu, out=out[c])
            if k:
                out[c] += k * price
        along = nu.copy()
        along[:-1] -= block.decay * nu[1:]
        if block.power_state:
            along += block.power_state * price
        for s, sign in enumerate(block.sign):
            np.multiply(along, sign, out=out[self._controls + s])
        return out

    def factor(self, inverse: Array) -> None:
        """Factors the system at a diagonal `H^-1`, `[variable, time, device]`."""
        block, decay = self.block, self.block.decay
        self.inverse = inverse
        controls, parts = inverse[: self._controls], inverse[self._controls :]
        hx = parts.sum(0)
        diagonal = hx + (block.gain**2 * controls).sum(0)
        diagonal[1:] += decay**2 * hx[:-1]
        self._w = (self._k**2 * controls).sum(0) + block.power_state**2 * hx
        self._same = block.power_state * hx - (block.gain * self._k * controls).sum(0)
        self._next = -decay * block.power_state * hx[:-1] if block.power_state else None
        off = -decay * hx[:-1]
        self._lower = np.empty_like(off)
        self._pivot = diagonal
        for t in range(len(off)):
            np.divide(off[t], self._pivot[t], out=self._lower[t])
            self._pivot[t + 1] -= self._lower[t] * off[t]

    def _solve(self, right: Array) -> Array:
        """`M^-1 right`, in place. `[time, device]`"""
        for t in range(len(self._lower)):
            right[t + 1] -= self._lower[t] * right[t]
        right /= self._pivot
        for t in reversed(range(len(self._lower))):
            right[t] -= self._lower[t] * right[t + 1]
        return right

    def _couple(self, price: Array) -> Array:
        """`A H^-1 C^T price`. `[time, device]`"""
        out: Array = self._same * price
        if self._next is not None:
            out[1:] += self._next * price[:-1]
        return out

    def target(self, target: Array, missed: Array) -> tuple[Array, Array]:
        """How multipliers and power change without prices of power.

        Args:
            target: By how much the variables would change but for the state
                equation.
            missed: By how much that is missed now. `[time, device]`

        Returns:
            Changes of its multipliers, and of power drawn.
        """
        nu = self._solve(self.follow(target) + missed)
        p = self.power(target) - self._couple_back(nu)
        return nu, p

    def _couple_back(self, nu: Array) -> Array:
        """`C H^-1 A^T nu`. `[time, device]`"""
        out: Array = self._same * nu
        if self._next is not None:
            out[:-1] += self._next * nu[1:]
        return out

    def move(self, target: Array, nu: Array, price: Array) -> tuple[Array, Array]:
        """How variables and multipliers change with prices of power.

        Args:
            target: As in `target`.
            nu: What `target` returned.
            price: Change of the prices of power. `[time, device]`

        Returns:
            Changes of the variables, and of the multipliers.
        """
        nu = nu - self._solve(self._couple(price))
        return target - self.inverse * self.pull(nu, price), nu

    def responses(self, wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[int, Array]]:
        """How power answers to prices: rows of `R`, the last step's first.

        Args:
            wanted: Whether the row of a step is asked for. `[time]`

        Yields:
            A step `t`, and by how much a price of 1 $/kW at `t` lowers power
            at the steps from `t` on. `[time - t, device]`
        """
        num = len(self._pivot)
        row = np.empty(self._pivot.shape)  # of M^-1, from t on
        ahead = np.empty(self._pivot.shape) if self._next is not None else None
        for t in reversed(range(num)):
            if ahead is not None:
                ahead[t + 1 :] = row[t + 1 :]  # the row of t + 1
            if t + 1 < num:
                row[t + 1 :] *= -self._lower[t]
                row[t] = 1.0 / self._pivot[t] - self._lower[t] * row[t + 1]
            else:
                row[t] = 1.0 / self._pivot[t]
            if not wanted[t]:
                if not wanted[:t].any():
                    return
                continue
            left = self._same[t] * row[t:]
            if self._next is not None and ahead is not None and t + 1 < num:
                left[1:] += self._next[t] * ahead[t + 1 :]
                left[0] += self._next[t] * row[t + 1]
            out = -left * self._same[t:]
            if self._next is not None and t + 1 < num:
                out[:-1] -= left[1:] * self._next[t:]
            out[0] += self._w[t]
            yield t, out

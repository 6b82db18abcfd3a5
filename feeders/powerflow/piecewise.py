"""Load laws of which the closed form knows nothing, piece by piece.

Motors, loads of a fixed Q, ZIP loads with a drop-out, generators, and every law whose thresholds
lie elsewhere than `0 < vlow < vmin <= 1 < vmax`. In terms of `r = 1 / u`, with
`u` the voltage across the terminal per unit of its rated one, the gain is

    nominal                       u <= vlow
    line0 + line1 r               vlow < u <= vmin
    flat                          u > vmax
    c0 + c1 r + c2 r^2 + k r^w    elsewhere,

each with coefficients of its own for P and for Q, times the drop-out
`1 / (1 + exp(-1000 (u - v_out)))` above `vlow` where the law has one. Source:
OpenDSS, `Load.pas` and `Generator.pas`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradmap.feeders.model import FloatArray, IntArray, LoadModel

_DROP_OUT_SLOPE = 1000.0  # per unit of u; OpenDSS writes it as a tanh of 500 u


class Segments(NamedTuple):
    """Coefficients of one law per unit of its own rated voltage, see above."""

    nominal: float
    line0: float
    line1: float
    flat: float
    c0: float = 0.0
    c1: float = 0.0
    c2: float = 0.0
    k: float = 0.0
    w: float = 0.0


class Thresholds(NamedTuple):
    """Where the segments of a law end, per unit of rated voltage."""

    vlow: float
    vmin: float
    vmax: float


_IMPEDANCE = Segments(nominal=1.0, line0=1.0, line1=0.0, flat=1.0, c0=1.0)


def _falling(at: Thresholds, current_at_vmin: float, flat: float) -> Segments:
    """Below `vmin` the current falls on a straight line to that of the impedance."""
    slope = (current_at_vmin - at.vlow) / (at.vmin - at.vlow) if at.vmin > at.vlow else 0.0
    # OpenDSS: a vmax of 0 means the nominal impedance.
    flat = flat if at.vmax else 1.0
    return Segments(nominal=1.0, line0=slope, line1=at.vlow * (1.0 - slope), flat=flat)


def _power(at: Thresholds) -> Segments:
    """Constant power, without what holds in range."""
    current = 1.0 / at.vmin if at.vmin else 0.0
    return _falling(at, current, at.vmax**-2 if at.vmax else 1.0)


def _current(at: Thresholds) -> Segments:
    return _falling(at, 1.0, at.vmax**-1 if at.vmax else 1.0)._replace(c1=1.0)


def _generator(at: Thresholds, outside: float) -> Segments:
    below = outside * (at.vmin**-2 if at.vmin else 1.0)
    above = outside * (at.vmax**-2 if at.vmax else 1.0)
    return Segments(nominal=below, line0=below, line1=0.0, flat=above, c2=1.0)


def _fixed(at: Thresholds) -> tuple[Segments, Segments]:
    """P, and Q while in range; outside it nothing falls on a line, and Q stays at its reactance."""
    p = _generator(at, 1.0)._replace(nominal=1.0)
    return p, _IMPEDANCE._replace(c0=0.0, c2=1.0)


def _limited(at: Thresholds, sign: float) -> Segments:
    most = sign / at.vmin if at.vmin else 0.0  # without vmin there is no limit
    return Segments(nominal=0.0, line0=0.0, line1=most, flat=0.0, c2=1.0)


def _mixed(at: Thresholds, shares: FloatArray) -> Segments:
    """Sum of impedance, current and power; the nominal impedance is whole."""
    parts = (_IMPEDANCE, _current(at), _power(at)._replace(c2=1.0))
    summed = np.array(parts).T @ shares
    return Segments(*summed)._replace(nominal=1.0)


def segments(
    model: LoadModel, at: Thresholds, cvr: tuple[float, float], zipv: FloatArray
) -> tuple[Segments, Segments]:
    """Coefficients of a terminal's law.

    Args:
        model: The law.
        at: Its thresholds.
        cvr: Exponents of P and Q, for `LoadModel.CVR`.
        zipv: Shares of P and of Q, `[7]`, for `LoadModel.ZIP`.

    Returns:
        The coefficients of P and of Q.
    """
    power = _power(at)
    if model == LoadModel.CONSTANT_IMPEDANCE:
        return _IMPEDANCE, _IMPEDANCE
    if model == LoadModel.CONSTANT_CURRENT:
        return _current(at), _current(at)
    if model == LoadModel.MOTOR:
        return power._replace(c2=1.0), power._replace(c0=1.0)
    if model == LoadModel.CVR:
        return power._replace(k=1.0, w=2.0 - cvr[0]), power._replace(k=1.0, w=2.0 - cvr[1])
    if model == LoadModel.FIXED_KVAR:
        return _fixed(at)
    if model == LoadModel.FIXED_REACTANCE:
        return _fixed(at)[0], _IMPEDANCE
    if model == LoadModel.ZIP:
        return _mixed(at, zipv[0:3]), _mixed(at, zipv[3:6])
    if model in (LoadModel.GENERATOR, LoadModel.GENERATOR_ACROSS):
        outside = 1.0 if model == LoadModel.GENERATOR else 1.0 / 3.0
        return _generator(at, outside), _generator(at, outside)
    if model == LoadModel.GENERATOR_LIMITED:
        return _limited(at, 1.0), _limited(at, -1.0)
    return power._replace(c2=1.0), power._replace(c2=1.0)


@dataclasses.dataclass(frozen=True, eq=False)
class PiecewiseLaw:
    """The laws of some terminals, referred to the base voltage of their ports.

    Attributes:
        slot: Slot of each terminal, int64. `[special]`
        port: Port of each terminal, int64. `[special]`
        r_vlow: `r` at `vlow`; at and above it the impedance is nominal.
            `[special]`
        r_vmin: `r` at `vmin`; at and above it the line holds. `[special]`
        r_vmax: `r` at `vmax`; below it the law is flat. `[special]`
        nominal: Coefficients, for P and then for Q, `[2, 1, special]`.
        line0: See `nominal`.
        line1: See `nominal`.
        flat: See `nominal`.
        c0: See `nominal`.
        c1: See `nominal`.
        c2: See `nominal`.
        k: See `nominal`.
        w: See `nominal`.
        ratio: Base voltage of the port over the rated one. `[special]`
        v_out: Voltage at which the load drops out, per unit of rated voltage;
            0 where it does not. `[special]`
        has_power: Whether any law holds a power of the voltage.
        has_drop_out: Whether any load drops out.
    """

    slot: Tensor
    port: Tensor
    r_vlow: Tensor
    r_vmin: Tensor
    r_vmax: Tensor
    nominal: Tensor
    line0: Tensor
    line1: Tensor
    flat: Tensor
    c0: Tensor
    c1: Tensor
    c2: Tensor
    k: Tensor
    w: Tensor
    ratio: Tensor
    v_out: Tensor
    has_power: bool
    has_drop_out: bool

    @classmethod
    def build(
        cls,
        laws: list[tuple[Segments, Segments]],
        thresholds: FloatArray,
        v_out: FloatArray,
        ratio: FloatArray,
        place: tuple[IntArray, IntArray],
    ) -> PiecewiseLaw:
        """Refers laws to their ports' bases.

        Args:
            laws: Coefficients of each terminal, for P and for Q.
            thresholds: vlow, vmin, vmax per unit of rated voltage; 0 and
                infinity are allowed. `[special, 3]`
            v_out: Voltage at which the load drops out, or 0. `[special]`
            ratio: Base voltage of the port over the rated one. `[special]`
            place: Slot and port of each terminal, `[special]` each.

        Returns:
            The laws in float64 on the CPU.
        """
        table = np.array(laws).transpose(2, 1, 0)  # [coefficient, 2, special]
        parts = dict(zip(Segments._fields, table, strict=True))
        # How often r appears in each term; r of the terminal is r over ratio.
        power = {"line1": 1.0, "c1": 1.0, "c2": 2.0, "k": parts["w"]}
        for name in Segments._fields[:-1]:
            parts[name] = parts[name] * ratio ** (2.0 - power.get(name, 0.0))
        with np.errstate(divide="ignore"):
            r_vlow, r_vmin, r_vmax = (ratio[:, None] / thresholds).T
        return cls(
            slot=torch.from_numpy(np.asarray(place[0], dtype=np.int64)),
            port=torch.from_numpy(np.asarray(place[1], dtype=np.int64)),
            r_vlow=torch.from_numpy(r_vlow.copy()),
            r_vmin=torch.from_numpy(r_vmin.copy()),
            r_vmax=torch.from_numpy(r_vmax.copy()),
            **{name: torch.from_numpy(part.copy())[:, None] for name, part in parts.items()},
            ratio=torch.from_numpy(ratio.copy()),
            v_out=torch.from_numpy(v_out.copy()),
            has_power=bool(parts["k"].any()),
            has_drop_out=bool((v_out > 0).any()),
        )

    def to(self, device: torch.device | str, dtype: torch.dtype) -> PiecewiseLaw:
        """Moves the laws to a device and a real dtype."""
        moved: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                kept = dtype if value.is_floating_point() else value.dtype
                moved[field.name] = value.to(device, kept)
        return dataclasses.replace(self, **moved)

    def gain(self, r: Tensor) -> Tensor:
        """Evaluates the gains.

        Args:
            r: Inverse port voltage magnitude, `[batch, port]`, per unit.

        Returns:
            Gains of P and then Q, `[2, batch, special]`.
        """
        return self._evaluate(r[:, self.port], with_slope=False)[0]

    def gain_and_slope(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluates the gains and their derivatives with respect to `r`.

        Args:
            r: Inverse port voltage magnitude, `[batch, port]`, per unit.

        Returns:
            Gains, then derivatives, `[2, batch, special]` each: for P, then Q.
        """
        return self._evaluate(r[:, self.port], with_slope=True)

    def put(self, values: Tensor, into_p: Tensor, into_q: Tensor) -> None:
        """Writes values of these terminals over those of all.

        Args:
            values: `[2, batch, special]`.
            into_p: Where those of P go, `[slot, batch, port]`.
            into_q: Where those of Q go, likewise.
        """
        for one, into in zip(values, (into_p, into_q), strict=True):
            into[self.slot, :, self.port] = one.T

    def _evaluate(self, r: Tensor, with_slope: bool) -> tuple[Tensor, Tensor]:
        is_nominal, is_low, is_high = r >= self.r_vlow, r >= self.r_vmin, r < self.r_vmax
        inside = self.c0 + r * (self.c1 + self.c2 * r)
        power = self.k * r**self.w if self.has_power else None
        gain = inside if power is None else inside + power
        gain = torch.where(is_high, self.flat, gain)
        gain = torch.where(is_low, self.line0 + self.line1 * r, gain)
        gain = torch.where(is_nominal, self.nominal, gain)
        slope = gain  # unused unless asked for
        if with_slope:
            slope = self.c1 + 2.0 * self.c2 * r
            if power is not None:
                slope = slope + self.w * power / r
            slope = torch.where(is_low, self.line1, slope)
            slope = slope.masked_fill((is_high & ~is_low) | is_nominal, 0.0)
        if not self.has_drop_out:
            return gain, slope
        share = torch.sigmoid(_DROP_OUT_SLOPE * (self.ratio / r - self.v_out))
        share = share.masked_fill(is_nominal | (self.v_out <= 0), 1.0)
        if with_slope:
            change = -_DROP_OUT_SLOPE * share * (1.0 - share) * self.ratio / r**2
            slope = slope * share + gain * change
        return gain * share, slope

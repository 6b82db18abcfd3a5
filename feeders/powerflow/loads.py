"""The load law: what a terminal draws at a voltage, as OpenDSS has it.

With `u` the voltage across a terminal per unit of its own rated voltage, the
terminal draws the current `conj(S) g(u) u e^(j angle)`. In range `g` is
`u^-2` for constant power, `u^-1` for constant current and 1 for constant
impedance. Above `vmax` the terminal is an impedance; below `vmin` its current
falls on a straight line to that of the nominal impedance at `vlow`. In terms
of `r = 1 / u` all of it is

    g = min(max(r, 1 / vmax)^e, max(line(r), 1)),      e = 2, 1 or 0,

with a straight line in `r`, which costs five passes over the data and no
branch. Every other law, and every other order of the thresholds, is left to
`PiecewiseLaw`, terminal by terminal. Source: OpenDSS, `Load.pas`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from gradmap.feeders.model import FloatArray, IntArray, LoadModel
from gradmap.feeders.powerflow.law_table import CLOSED_FORM, LawTable
from gradmap.feeders.powerflow.piecewise import PiecewiseLaw


@dataclasses.dataclass(frozen=True, eq=False)
class CvrLaw:
    """Terminals whose P and Q follow a power of the voltage, `[slot, 1, port]`.

    In range `g_p = u^(w_p - 2)` and `g_q = u^(w_q - 2)`; elsewhere the law of
    constant power holds, and OpenDSS jumps at the ends of the range.

    Attributes:
        power_p: `2 - w_p`, exponent of `r`.
        power_q: `2 - w_q`.
        r_first: Lower end of the range in `r`; above `r_last` where the
            terminal is of another model, so that it is never in range.
        r_last: Upper end of the range in `r`.
        scale_p: Factor that refers `r^power_p` to the port's base voltage.
        scale_q: The same for Q.
    """

    power_p: Tensor
    power_q: Tensor
    r_first: Tensor
    r_last: Tensor
    scale_p: Tensor
    scale_q: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class LoadLaw:
    """Load laws of all terminals by slot and port, `[slot, 1, port]`.

    Several terminals may share a port (a load and a device beside it): they
    stand in different slots, so that one broadcast evaluates all of them.

    Attributes:
        r_min: `r` at `vmax`; the law is flat below it.
        c0: Coefficients of the law in range, `c0 + c1 t + c2 t^2` with
            `t = max(r, r_min)`; one of them is not zero.
        c1: See `c0`.
        c2: See `c0`.
        line0: The low-voltage line, `line0 + line1 r`.
        line1: See `line0`.
        floor: The gain of the nominal impedance.
        cvr: The terminals that follow a power of the voltage, or `None`.
        piecewise: The terminals whose law is none of the above, or `None`.
    """

    r_min: Tensor
    c0: Tensor
    c1: Tensor
    c2: Tensor
    line0: Tensor
    line1: Tensor
    floor: Tensor
    cvr: CvrLaw | None = None
    piecewise: PiecewiseLaw | None = None

    @classmethod
    def from_table(
        cls, table: LawTable, slot: IntArray, port: IntArray, shape: tuple[int, int]
    ) -> LoadLaw:
        """Lays the laws of terminals out by slot and port.

        Args:
            table: The laws.
            slot: Slot of each terminal, `[terminal]`.
            port: Port of each terminal, `[terminal]`.
            shape: Number of slots and of ports; a place without a terminal
                gets gain 1.

        Returns:
            The law in float64 on the CPU.

        Raises:
            GradmapError: If a law is none of OpenDSS's.
        """
        table.check()
        piecewise = table.piecewise(slot, port)
        if piecewise is not None:
            table = table.without_special()
        ratio = table.ratio
        power = np.array([CLOSED_FORM[LoadModel(model)] for model in table.model.tolist()])
        r_vmin, r_vlow = 1 / table.vmin_pu, 1 / table.vlow_pu
        at_vmin = np.where(power == 2, r_vmin**2, r_vmin)
        slope = np.where(power == 0, 0.0, (1 - at_vmin) / (r_vlow - r_vmin))
        gain = ratio**2  # current and voltage both referred to the port's base
        columns = {
            "r_min": ratio / table.vmax_pu,
            "c0": np.where(power == 0, gain, 0.0),
            "c1": np.where(power == 1, gain / ratio, 0.0),
            "c2": np.where(power == 2, gain / ratio**2, 0.0),
            "line0": gain * (1 - slope * r_vlow),
            "line1": gain * slope / ratio,
            "floor": gain,
        }

        def place(values: FloatArray, empty: float) -> Tensor:
            full = np.full(shape, empty)
            full[slot, port] = values
            return torch.from_numpy(full).unsqueeze(1)

        empty = dict.fromkeys(columns, 0.0) | {"c0": 1.0, "line0": 1.0, "floor": 1.0}
        laid = {key: place(value, empty[key]) for key, value in columns.items()}
        is_cvr = table.model == LoadModel.CVR
        if not is_cvr.any():
            return cls(**laid, cvr=None, piecewise=piecewise)
        w_p, w_q = 2 - table.cvr_p, 2 - table.cvr_q
        cvr = CvrLaw(
            power_p=place(np.where(is_cvr, w_p, 0.0), 0.0),
            power_q=place(np.where(is_cvr, w_q, 0.0), 0.0),
            r_first=place(np.where(is_cvr, ratio / table.vmax_pu, np.inf), np.inf),
            r_last=place(np.where(is_cvr, ratio / table.vmin_pu, -np.inf), -np.inf),
            scale_p=place(gain / ratio**w_p, 1.0),
            scale_q=place(gain / ratio**w_q, 1.0),
        )
        return cls(**laid, cvr=cvr, piecewise=piecewise)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> LoadLaw:
        """Moves the tables to a device and a real dtype."""
        moved = {key: value.to(device, dtype) for key, value in _tensors(self).items()}
        cvr = None
        if self.cvr is not None:
            cvr = CvrLaw(**{k: v.to(device, dtype) for k, v in _tensors(self.cvr).items()})
        piecewise = None if self.piecewise is None else self.piecewise.to(device, dtype)
        return dataclasses.replace(self, **moved, cvr=cvr, piecewise=piecewise)

    def gain(self, r: Tensor, work: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Evaluates the gains of P and Q without allocating.

        Args:
            r: Inverse port voltage magnitude, `[batch, port]`, per unit.
            work: Two buffers, `[slot, batch, port]`; both are overwritten.

        Returns:
            `g_p` and `g_q`, `[slot, batch, port]`: one tensor twice unless for
            some terminal they differ.
        """
        first, second = work
        torch.maximum(r, self.r_min, out=first)
        torch.addcmul(self.c1, self.c2, first, out=second)
        torch.addcmul(self.c0, second, first, out=second)
        torch.addcmul(self.line0, self.line1, r, out=first)
        torch.clamp(first, self.floor, second, out=first)
        if self.cvr is None and self.piecewise is None:
            return first, first
        gain_p, gain_q = (
            (first, second.copy_(first)) if self.cvr is None else self._cvr_gain(r, first)
        )
        if self.piecewise is not None:
            self.piecewise.put(self.piecewise.gain(r), gain_p, gain_q)
        return gain_p, gain_q

    def _cvr_gain(self, r: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        assert self.cvr is not None
        cvr = self.cvr
        in_range = (r >= cvr.r_first) & (r < cvr.r_last)
        gain_p = torch.where(in_range, cvr.scale_p * r**cvr.power_p, gain)
        return gain_p, torch.where(in_range, cvr.scale_q * r**cvr.power_q, gain)

    def gain_and_slope(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluates the gains and their derivatives with respect to `r`.

        At a threshold the derivative is that of one side.

        Args:
            r: Inverse port voltage magnitude, `[batch, 1, port]`, per unit.

        Returns:
            Gains and derivatives, `[slot, batch, 1, port]`, or, if for some
            terminal they differ, `[slot, batch, 2, port]`: for P, then for Q.
        """
        r = r.squeeze(1)
        t = torch.maximum(r, self.r_min)
        inside = torch.addcmul(self.c1, self.c2, t)
        slope = torch.addcmul(inside, self.c2, t).mul_(r > self.r_min)
        inside = torch.addcmul(self.c0, inside, t)
        line = torch.addcmul(self.line0, self.line1, r)
        slope = torch.where(inside <= line, slope, self.line1 * (line > self.floor))
        gain = torch.clamp(line, self.floor, inside)
        if self.cvr is None and self.piecewise is None:
            return gain.unsqueeze(2), slope.unsqueeze(2)
        gains, slopes = (gain, gain), (slope, slope)
        if self.cvr is not None:
            gains = self._cvr_gain(r, gain)
            slopes = self._cvr_slope(r, gains, slope)
        both_gains, both_slopes = torch.stack(gains, dim=2), torch.stack(slopes, dim=2)
        if self.piecewise is not None:
            special_gain, special_slope = self.piecewise.gain_and_slope(r)
            self.piecewise.put(special_gain, *both_gains.unbind(2))
            self.piecewise.put(special_slope, *both_slopes.unbind(2))
        return both_gains, both_slopes

    def _cvr_slope(
        self, r: Tensor, gains: tuple[Tensor, Tensor], slope: Tensor
    ) -> tuple[Tensor, Tensor]:
        assert self.cvr is not None
        cvr = self.cvr
        in_range = (r >= cvr.r_first) & (r < cvr.r_last)
        slope_p = torch.where(in_range, cvr.power_p * gains[0] / r, slope)
        return slope_p, torch.where(in_range, cvr.power_q * gains[1] / r, slope)


def _tensors(record: LoadLaw | CvrLaw) -> dict[str, Tensor]:
    fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    return {key: value for key, value in fields.items() if isinstance(value, Tensor)}

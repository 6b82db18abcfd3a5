"""Voltage droop by IEEE Std 1547-2018: volt-watt and volt-VAr curves.

Both are piecewise linear in the voltage at the own terminal and constant
beyond their outer points. Points and allowed ranges are those of the
standard: clause 5.4.2 with its Table 10 for volt-watt, clause 5.3.3 with its
Table 8 for volt-VAr, clause 5.2 with its Table 7 for the reactive power that
a device must be capable of. The standard's time responses (5 to 10 s) are far
below a step of the task and are left out.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor

from gradmap.feeders.errors import raise_faults

Category = Literal["A", "B"]
"""Performance category for voltage regulation: A the least that stability asks
for, B for feeders with many inverters."""

ROUNDING_PU = 1e-9
"""What 1.09 + 0.01 and 1.10 differ by in binary, with plenty to spare."""


def _outside(name: str, value: float, low: float, high: float) -> list[str]:
    """Says so if a value is outside its range, or not a number."""
    if low - ROUNDING_PU <= value <= high + ROUNDING_PU:
        return []
    return [f"{name} is {value:g}, IEEE 1547-2018 allows {low:g} to {high:g}"]


@dataclasses.dataclass(frozen=True)
class VoltWatt:
    """Volt-watt: the most active power that may be fed in, falling with voltage.

    Attributes:
        v1_pu: Voltage up to which rated power is allowed; 1.05 to 1.09.
        v2_pu: Voltage from which `p2_share` is left; `v1_pu` + 0.01 to 1.10.
        p2_share: What is left there, over rated power; 0 to 1. The standard's
            default is the lesser of 0.2 and the least power that the device
            can run at, and 0 for storage; the task's generators run down to 0.

    Raises:
        GradmapError: If a point is outside the standard's range.
    """

    v1_pu: float = 1.06
    v2_pu: float = 1.10
    p2_share: float = 0.0

    def __post_init__(self) -> None:
        faults = _outside("v1_pu", self.v1_pu, 1.05, 1.09)
        faults += _outside("v2_pu", self.v2_pu, self.v1_pu + 0.01, 1.10)
        faults += _outside("p2_share", self.p2_share, 0.0, 1.0)
        raise_faults("volt-watt curve", faults)

    def limit(self, v_pu: Tensor) -> Tensor:
        """Returns the most that may be fed in, over rated power.

        Args:
            v_pu: Voltage magnitude over the rated voltage, any shape.

        Returns:
            From 1 down to `p2_share`, same shape and dtype.
        """
        return piecewise_linear(v_pu, (self.v1_pu, self.v2_pu), (1.0, self.p2_share))


@dataclasses.dataclass(frozen=True)
class VoltVar:
    """Volt-VAr: reactive power as a function of voltage.

    Shares are of the nameplate apparent power and count what is *injected*,
    as the standard does; `reactive` returns what is drawn, as the rest of the
    package counts.

    Attributes:
        category: `A` or `B`; sets what is allowed.
        vref_pu: Reference voltage; 0.95 to 1.05.
        v1_pu: `vref_pu` - 0.18 to `v2_pu` - 0.02.
        v2_pu: Lower end of the dead band: `vref_pu`; down to 0.03 less in B.
        v3_pu: Upper end of the dead band: `vref_pu`; up to 0.03 more in B.
        v4_pu: `v3_pu` + 0.02 to `vref_pu` + 0.18.
        q1_share: Injected up to `v1_pu`; 0 up to the capability, 0.44.
        q2_share: Injected at `v2_pu`; from -0.25 in A, -0.44 in B, to 0.44.
        q3_share: Injected at `v3_pu`; likewise.
        q4_share: Injected from `v4_pu`; from -0.25 in A, -0.44 in B, to 0.

    Raises:
        GradmapError: If a point is outside the standard's range.
    """

    category: Category = "B"
    vref_pu: float = 1.0
    v1_pu: float = 0.92
    v2_pu: float = 0.98
    v3_pu: float = 1.02
    v4_pu: float = 1.08
    q1_share: float = 0.44
    q2_share: float = 0.0
    q3_share: float = 0.0
    q4_share: float = -0.44

    def __post_init__(self) -> None:
        vref = self.vref_pu
        half_band = 0.0 if self.category == "A" else 0.03
        absorb = -0.25 if self.category == "A" else -0.44
        faults = _outside("vref_pu", vref, 0.95, 1.05)
        faults += _outside("v1_pu", self.v1_pu, vref - 0.18, self.v2_pu - 0.02)
        faults += _outside("v2_pu", self.v2_pu, vref - half_band, vref)
        faults += _outside("v3_pu", self.v3_pu, vref, vref + half_band)
        faults += _outside("v4_pu", self.v4_pu, self.v3_pu + 0.02, vref + 0.18)
        faults += _outside("q1_share", self.q1_share, 0.0, 0.44)
        faults += _outside("q2_share", self.q2_share, absorb, 0.44)
        faults += _outside("q3_share", self.q3_share, absorb, 0.44)
        faults += _outside("q4_share", self.q4_share, absorb, 0.0)
        raise_faults(f"volt-VAr curve of category {self.category}", faults)

    def reactive(self, v_pu: Tensor) -> Tensor:
        """Returns the reactive power *drawn*, over nameplate apparent power.

        Args:
            v_pu: Voltage magnitude over the rated voltage, any shape.

        Returns:
            Negative (injected) at low voltage, positive at high; same shape
            and dtype.
        """
        injected = (self.q1_share, self.q2_share, self.q3_share, self.q4_share)
        points = (self.v1_pu, self.v2_pu, self.v3_pu, self.v4_pu)
        return -piecewise_linear(v_pu, points, injected)


CATEGORY_A = VoltVar("A", 1.0, 0.9, 1.0, 1.0, 1.1, 0.25, 0.0, 0.0, -0.25)
"""Default volt-VAr curve of category A: no dead band."""

CATEGORY_B = VoltVar()
"""Default volt-VAr curve of category B."""


def piecewise_linear(x: Tensor, points: tuple[float, ...], values: tuple[float, ...]) -> Tensor:
    """Interpolates between points, constant beyond the outer ones.

    Args:
        x: Where, any shape.
        points: Abscissae, none below the one before; of two equal ones the
            step between their values is left out.
        values: Ordinates of the points.

    Returns:
        The ordinates at `x`, same shape and dtype, differentiable.
    """
    y = torch.full_like(x, values[0])
    for i in range(len(points) - 1):
        width = points[i + 1] - points[i]
        if width > 0:
            share = ((x - points[i]) / width).clamp(0.0, 1.0)
            y = y + (values[i + 1] - values[i]) * share
    return y

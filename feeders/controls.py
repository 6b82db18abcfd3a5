"""What can move in a feeder, and what moves it: taps, capacitors, their controls.

The taps and capacitors at which a feeder was read are in its admittance
already. This says how the admittance changes with them, and holds the settings
of their controls as OpenDSS gives them.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import numpy as np
import scipy.sparse as sp

from gradmap.feeders.arrays import BoolArray, ComplexArray, FloatArray, Frozen, IntArray

GREATEST, LEAST, MEAN = -1, -2, -3
"""In place of a phase: of all phases the greatest, the least, or their mean."""


class CapacitorKind(enum.IntEnum):
    """What a capacitor's control looks at."""

    VOLTAGE = 1
    KVAR = 2
    CURRENT = 3
    TIME = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Adjustable(Frozen):
    """Regulated transformers and switched capacitors: how their admittance follows.

    Elements are counted regulators first, then capacitors. At the gain `g` of
    an element its admittance among its wires (conductors that are not at
    ground) is `fixed + g linear + g^2 square`: for a regulator `g` is one over
    the turns ratio of its tap, for a capacitor 1 if it is on and 0 if not.

    Attributes:
        element: Element of each wire. `[wire]`
        node: Node of each wire. `[wire]`
        conductor: Conductor of `Branches` that the wire is, or -1. `[wire]`
        row: First wire of each entry. `[entry]`
        column: Second wire, of the same element. `[entry]`
        fixed_siemens: See above, complex128. `[entry]`
        linear_siemens: Likewise. `[entry]`
        square_siemens: Likewise. `[entry]`
    """

    element: IntArray
    node: IntArray
    conductor: IntArray
    row: IntArray
    column: IntArray
    fixed_siemens: ComplexArray
    linear_siemens: ComplexArray
    square_siemens: ComplexArray


@dataclasses.dataclass(frozen=True, eq=False)
class Capacitors(Frozen):
    """Shunt capacitors that can be switched. All `[capacitor]`.

    Attributes:
        name: The capacitor's name.
        bus: Its bus.
        kvar: Rated reactive power of all phases, kvar.
        is_on: Whether it is part of the feeder's admittance.
    """

    name: tuple[str, ...]
    bus: tuple[str, ...]
    kvar: FloatArray
    is_on: BoolArray

    def __len__(self) -> int:
        """Number of capacitors."""
        return len(self.name)


@dataclasses.dataclass(frozen=True, eq=False)
class RegulatorControls(Frozen):
    """How each regulator's control goes about it, beside `Regulators`.

    Attributes:
        held: Why the regulator stays where it is, "" if it moves. `[regulator]`
        delay_s: Time out of band before it moves, s. `[regulator]`
        is_inverse: Whether the delay is the shorter, the farther the voltage
            is out of band. `[regulator]`
        max_change: Most positions of one move. `[regulator]`
        direction: +1 if a higher tap raises the voltage, -1. `[regulator]`
        winding_v: Rated voltage of the regulated winding, V. `[regulator]`
        probe_ratio: Ratio of the voltage transformer in use. `[regulator]`
        limit_v: Voltage at which the tap goes down whatever the set point,
            on the control's scale, V; 0 for none. `[regulator]`
        phase: Which of its probes counts, or `GREATEST`, `LEAST`. `[regulator]`
        probe_regulator: Regulator of each measurement. `[probe]`
        probe_from: Node measured. `[probe]`
        probe_to: Node measured against, or ground, -1. `[probe]`
        probe_wire: Wire of `Adjustable` whose current into the winding
            compensates for the line's drop, or -1. `[probe]`
    """

    held: tuple[str, ...]
    delay_s: FloatArray
    is_inverse: BoolArray
    max_change: IntArray
    direction: IntArray
    winding_v: FloatArray
    probe_ratio: FloatArray
    limit_v: FloatArray
    phase: IntArray
    probe_regulator: IntArray
    probe_from: IntArray
    probe_to: IntArray
    probe_wire: IntArray


@dataclasses.dataclass(frozen=True, eq=False)
class CapacitorControls(Frozen):
    """Controls of capacitors.

    Attributes:
        name: The control's name. `[control]`
        capacitor: Index of its capacitor. `[control]`
        kind: What it looks at, a `CapacitorKind`. `[control]`
        on: Setting at which it closes: V or A on the scale of its transformers,
            kvar, or hour of the day. `[control]`
        off: Setting at which it opens. `[control]`
        on_delay_s: Time before it closes, s. `[control]`
        off_delay_s: Time before it opens, s. `[control]`
        pt_ratio: Ratio of the voltage transformer. `[control]`
        ct_ratio: Ratio of the current transformer. `[control]`
        phase: Which of its probes counts, or `GREATEST`, `LEAST`, `MEAN`.
            `[control]`
        low_v: Voltage below which it closes whatever `kind`, on its scale, V;
            0 for none. `[control]`
        high_v: Voltage above which it opens, V; 0 for none. `[control]`
        probe_control: Control of each measured conductor. `[probe]`
        probe_from: Its node. `[probe]`
        probe_to: Node that its voltage is measured against, or ground, -1.
            `[probe]`
        current_siemens: Sparse `[probe, node]` complex128: times the node
            voltages the current into the monitored terminal, A.
    """

    name: tuple[str, ...]
    capacitor: IntArray
    kind: IntArray
    on: FloatArray
    off: FloatArray
    on_delay_s: FloatArray
    off_delay_s: FloatArray
    pt_ratio: FloatArray
    ct_ratio: FloatArray
    phase: IntArray
    low_v: FloatArray
    high_v: FloatArray
    probe_control: IntArray
    probe_from: IntArray
    probe_to: IntArray
    current_siemens: sp.csr_matrix


@dataclasses.dataclass(frozen=True, eq=False)
class Controls(Frozen):
    """All that can move in a feeder.

    Attributes:
        adjustable: How the admittance follows.
        capacitors: The switched capacitors.
        regulator: Controls of the regulators; without rows if nothing is known.
        capacitor: Controls of the capacitors.
        held: Why a capacitor's control is not followed, a phrase each.
    """

    adjustable: Adjustable
    capacitors: Capacitors
    regulator: RegulatorControls
    capacitor: CapacitorControls
    held: tuple[str, ...] = ()

    @classmethod
    def none(cls, num_nodes: int = 0) -> Controls:
        """Nothing can move.

        Args:
            num_nodes: Number of nodes of the feeder.
        """
        whole, real = np.zeros(0, np.int64), np.zeros(0)
        some, phasor = np.zeros(0, np.bool_), np.zeros(0, np.complex128)
        adjustable: list[Any] = [whole] * 5 + [phasor] * 3
        regulator: list[Any] = [(), real, some, whole, whole, *[real] * 3, *[whole] * 5]
        capacitor: list[Any] = [(), whole, whole, *[real] * 6, whole, real, real, *[whole] * 3]
        capacitor.append(sp.csr_matrix(np.zeros((0, num_nodes), np.complex128)))
        return cls(
            Adjustable(*adjustable),
            Capacitors((), (), real, some),
            RegulatorControls(*regulator),
            CapacitorControls(*capacitor),
        )

"""What the circuit's generators, PV systems and storage are rated at."""

from __future__ import annotations

import dataclasses

import numpy as np

from gradmap.feeders.arrays import FloatArray, Frozen


@dataclasses.dataclass(frozen=True, eq=False)
class Plants(Frozen):
    """Ratings of generators, PV systems and storage, all phases together.

    A snapshot says at what power an element stands; this says what it could
    do. All `[plant]`, in the circuit's order; energies and efficiencies are
    those of storage, 0 and 1 for the others.

    Attributes:
        name: Name of the element, `pvsystem.roof`, as `Terminals.load` has it.
        kind: Its class: `generator`, `pvsystem` or `storage`.
        p_rated_kw: Active power at most: a generator's `kW`, a PV system's
            `Pmpp` (times `%Pmpp`), a storage's `kWrated` (times `%kWrated`).
        s_rated_kva: Apparent power at most, `kVA`.
        capacity_kwh: Energy of a full storage, `kWhrated`.
        stored_kwh: Energy in it, `kWhstored`.
        reserve_kwh: Energy that it keeps, `%reserve` of the full one.
        charge_efficiency: Of charging, `%EffCharge`, 0 to 1.
        discharge_efficiency: Of discharging, `%EffDischarge`, 0 to 1.
    """

    name: tuple[str, ...]
    kind: tuple[str, ...]
    p_rated_kw: FloatArray
    s_rated_kva: FloatArray
    capacity_kwh: FloatArray
    stored_kwh: FloatArray
    reserve_kwh: FloatArray
    charge_efficiency: FloatArray
    discharge_efficiency: FloatArray

    def __len__(self) -> int:
        """Number of them."""
        return len(self.name)

    @classmethod
    def none(cls) -> Plants:
        """A circuit without any, or of a file from before they were kept."""
        nothing = np.zeros(0)
        return cls((), (), *[nothing] * 7)

"""Load laws of terminals as plain arrays, and which of them need their own form."""

from __future__ import annotations

import dataclasses

import numpy as np

from gradmap.feeders.errors import raise_faults
from gradmap.feeders.model import BoolArray, FloatArray, IntArray, LoadModel
from gradmap.feeders.powerflow.piecewise import PiecewiseLaw, Thresholds, segments

CLOSED_FORM = {
    LoadModel.CONSTANT_POWER: 2,
    LoadModel.CONSTANT_CURRENT: 1,
    LoadModel.CONSTANT_IMPEDANCE: 0,
    LoadModel.CVR: 2,  # outside its range; inside, `CvrLaw` takes over
}
"""Laws that the closed form covers: the exponent of `r` in range."""


@dataclasses.dataclass(frozen=True, eq=False)
class LawTable:
    """Load laws of terminals as plain arrays, all `[terminal]`.

    Attributes:
        name: Name of each terminal, for messages.
        model: `LoadModel` value.
        vmin_pu: Lower end of the range, per unit of rated voltage.
        vmax_pu: Upper end of the range.
        vlow_pu: Where the nominal impedance begins.
        cvr_p: Exponent of active power, for `LoadModel.CVR`.
        cvr_q: Exponent of reactive power, for `LoadModel.CVR`.
        zipv: Shares and drop-out, for `LoadModel.ZIP`. `[terminal, 7]`
        ratio: Base voltage of the terminal's port over its rated voltage.
    """

    name: tuple[str, ...]
    model: IntArray
    vmin_pu: FloatArray
    vmax_pu: FloatArray
    vlow_pu: FloatArray
    cvr_p: FloatArray
    cvr_q: FloatArray
    zipv: FloatArray
    ratio: FloatArray

    def check(self) -> None:
        """Refuses what is no law of OpenDSS.

        Raises:
            GradmapError: Names every terminal with an unknown model, or with a
                threshold that is negative or not finite.
        """
        known = sorted(int(model) for model in LoadModel)
        faults = [
            f"terminal {name} has load model {model}, expected one of {known}"
            for name, model in zip(self.name, self.model.tolist(), strict=True)
            if model not in known
        ]
        limits = self.thresholds()
        good = (np.isfinite(limits) & (limits >= 0)).all(axis=1)
        faults += [
            f"terminal {self.name[k]} has vlow, vmin, vmax of {limits[k, 0]:g}, "
            f"{limits[k, 1]:g}, {limits[k, 2]:g}, expected 0 or more"
            for k in np.flatnonzero(~good)
        ]
        raise_faults("load laws", faults)

    def thresholds(self) -> FloatArray:
        """The voltages vlow, vmin and vmax, per unit. `[terminal, 3]`"""
        return np.stack([self.vlow_pu, self.vmin_pu, self.vmax_pu], axis=1)

    def is_special(self) -> BoolArray:
        """Whether the closed form does not cover a terminal. `[terminal]`"""
        covered = (self.vlow_pu > 0) & (self.vlow_pu < self.vmin_pu)
        covered &= (self.vmin_pu <= 1) & (self.vmin_pu < self.vmax_pu)
        special: BoolArray = ~(covered & np.isin(self.model, list(CLOSED_FORM)))
        return special

    def piecewise(self, slot: IntArray, port: IntArray) -> PiecewiseLaw | None:
        """The laws that the closed form does not cover, or `None`.

        Args:
            slot: Slot of each terminal, `[terminal]`.
            port: Port of each terminal, `[terminal]`.
        """
        chosen = np.flatnonzero(self.is_special())
        if not len(chosen):
            return None
        thresholds = self.thresholds()[chosen]
        model = self.model[chosen]
        laws = [
            segments(
                LoadModel(model[i]),
                Thresholds(*thresholds[i].tolist()),
                (float(self.cvr_p[k]), float(self.cvr_q[k])),
                self.zipv[k],
            )
            for i, k in enumerate(chosen)
        ]
        # No straight line and no impedance stands above a generator's limit.
        thresholds[model >= LoadModel.GENERATOR, 0] = 0.0
        thresholds[model == LoadModel.GENERATOR_LIMITED, 2] = np.inf
        v_out = np.where(model == LoadModel.ZIP, self.zipv[chosen, 6], 0.0)
        place = (slot[chosen], port[chosen])
        return PiecewiseLaw.build(laws, thresholds, v_out, self.ratio[chosen], place)

    def without_special(self) -> LawTable:
        """The table with a constant impedance where `piecewise` holds the law."""
        is_special = self.is_special()

        def plain(values: FloatArray, value: float) -> FloatArray:
            return np.where(is_special, value, values)

        return dataclasses.replace(
            self,
            model=np.where(is_special, LoadModel.CONSTANT_IMPEDANCE, self.model),
            vmin_pu=plain(self.vmin_pu, 0.95),
            vmax_pu=plain(self.vmax_pu, 1.05),
            vlow_pu=plain(self.vlow_pu, 0.5),
        )

"""The installer's schedule under IEEE 1547 volt-watt curves.

Volt-watt (clause 5.4.2) caps what generators and discharging batteries feed
in by the voltage measured at their own terminal. The standard has nothing to
say on loads; that charging batteries and heat pumps are capped by the same
curve mirrored at 1 p.u. when the voltage is low is our addition, so that
droop has an answer to under-voltage.

The standard's default curve runs from 1.06 to 1.10 p.u., outside the task's
band of 0.95 to 1.05, where it would do nothing; `DroopConfig.shift_pu` moves
it into the band, and 0 leaves it as it is. The cap rests on the voltage of
the step before, which is half an hour old; the standard's own response is
seconds. A steep curve can therefore swing from step to step, as it can not in
the field.

Volt-VAr (clause 5.3.3) is not applied: no device of the task takes a reactive
setpoint, reactive power is a fixed function of active power in every fleet.
`gradmap.baselines.droop_curves` has the curves for when one does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradmap.baselines.droop_config import DroopConfig
from gradmap.baselines.droop_curves import VoltWatt
from gradmap.baselines.schedule import ScheduledPolicy
from gradmap.envs.core import Core


class DroopPolicy(ScheduledPolicy):
    """Time-of-use batteries, thermostats, price-following generators, under volt-watt.

    Args:
        core: The environment.
        config: Settings.

    Raises:
        GradmapError: If the curve is not one that the standard allows.
    """

    def __init__(self, core: Core, config: DroopConfig | None = None) -> None:
        self.config = config or DroopConfig()
        self.curve = VoltWatt(self.config.v1_pu, self.config.v2_pu, self.config.p2_share)
        super().__init__(core, self.config)

    def curtail(self, share: Tensor, deviation_pu: Tensor) -> Tensor:
        """Caps power by the curve; see `ScheduledPolicy.curtail`."""
        limit = self.curve.limit(1.0 + deviation_pu + self.config.shift_pu)
        return torch.minimum(share, limit)

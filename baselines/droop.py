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

Volt-VAr (clause 5.3.3) is applied where the task leaves reactive power to the
agents (`TaskConfig.reactive`): the standard's default curve of category B,
whose slopes lie inside the task's band already, on the same voltage. Its
reactive power is a share of the nameplate apparent power, and what the action
means is a share of the room that the active power leaves: the policy takes its
own setpoint for that power. Where a battery cannot follow, as it is full or
empty, there is more room than that and a little more reactive power. In other
tasks reactive power follows from active power, and nothing is left to say.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradmap.baselines.droop_config import DroopConfig
from gradmap.baselines.droop_curves import CATEGORY_B, VoltWatt
from gradmap.baselines.schedule import ScheduledPolicy
from gradmap.envs.core import Core
from gradmap.envs.devices.battery import BatteryFleet
from gradmap.envs.devices.inverter import available_kvar
from gradmap.envs.devices.pv_inverter import PVInverterFleet
from gradmap.envs.observations import FEATURES, MORE_FEATURES, VOLTAGE_SCALE


class DroopPolicy(ScheduledPolicy):
    """Time-of-use batteries, thermostats, price-following generators, under volt-watt.

    And under volt-VAr, where the task leaves reactive power to the agents.

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

    def reactive(self, observation: Tensor, active: Tensor) -> Tensor | None:
        """Follows the volt-VAr curve; see `ScheduledPolicy.reactive` and the module."""
        inverters = self._core.inverters
        if inverters is None:
            return None
        v_pu = 1.0 + VOLTAGE_SCALE * observation[..., FEATURES.index("own_voltage")]
        wanted_kvar = CATEGORY_B.reactive(v_pu) * inverters.kva
        room_kvar = available_kvar(self._carried_kw(observation, active), inverters.kva)
        # No inverter, no room: 0 over a milliwatt.
        return (wanted_kvar / room_kvar.clamp_min(1e-6)).clamp(-1.0, 1.0)

    def _carried_kw(self, observation: Tensor, active: Tensor) -> Tensor:
        """Active power that the inverters are told to carry. `[batch, agent]`"""
        parts = zip(self._fleets, active.split(self._sizes, dim=1), strict=True)
        seen = observation.split(self._sizes, dim=1)
        power = []
        for (fleet, action), own in zip(parts, seen, strict=True):
            if isinstance(fleet, BatteryFleet):
                power.append(action * fleet.p_max_kw)
            elif isinstance(fleet, PVInverterFleet):
                sun = own[..., len(FEATURES) + MORE_FEATURES.index("own_available")]
                power.append(-fleet.fed_share(action) * sun * fleet.p_max_kw)
            else:
                power.append(torch.zeros_like(action))
        return torch.cat(power, dim=1)

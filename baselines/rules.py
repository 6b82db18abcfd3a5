"""Rules that an installer would program: price, comfort and droop by voltage."""

from __future__ import annotations

from torch import Tensor

from gradmap.baselines.rules_config import RulesConfig
from gradmap.baselines.schedule import ScheduledPolicy
from gradmap.envs.core import Core


class RulesPolicy(ScheduledPolicy):
    """Time-of-use batteries, thermostats, price-following generators, all with droop.

    Args:
        core: The environment.
        config: Settings.
    """

    def __init__(self, core: Core, config: RulesConfig | None = None) -> None:
        self.config = config or RulesConfig()
        super().__init__(core, self.config)

    def curtail(self, share: Tensor, deviation_pu: Tensor) -> Tensor:
        """Scales power down along a line; see `ScheduledPolicy.curtail`."""
        start, end = self.config.droop_start_pu, self.config.droop_end_pu
        return share * ((end - deviation_pu) / (end - start)).clamp(0.0, 1.0)

"""Self-supervised learning: one optimiser step for each environment gradient.

The policies are differentiated through the environment straight to their
weights. With multipliers it is the primal-dual form, with a fixed price the
penalty form, and without any price every device is selfish.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor

from gradmap.algorithms.learner import GradientLearner
from gradmap.algorithms.rollout import Rollout, rollout
from gradmap.envs.constraints import Violations


class SelfSupervised(GradientLearner):
    """Plain gradient steps through the environment, no reuse."""

    def update(self, days: Tensor) -> tuple[Rollout, Violations]:
        """One environment gradient, one optimiser step; see `GradientLearner`."""
        done = rollout(self.core, self.actors, days)
        loss, found = self._lagrangian(done.outcome)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        outcome = dataclasses.replace(done.outcome, cost_usd=done.outcome.cost_usd.detach())
        detached = Violations(**{k: v.detach() for k, v in vars(found).items()})
        return dataclasses.replace(done, outcome=outcome), detached

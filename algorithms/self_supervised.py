"""Self-supervised learning: one optimiser step for each environment gradient.

The policies are differentiated through the environment straight to their
weights. With multipliers it is the primal-dual form, with a fixed price the
penalty form, and without any price every device is selfish.
"""

from __future__ import annotations

from torch import Tensor

from gradmap.algorithms.learner import GradientLearner
from gradmap.algorithms.rollout import Rollout, rollout


class SelfSupervised(GradientLearner):
    """Plain gradient steps through the environment, no reuse."""

    def update(self, days: Tensor) -> Rollout:
        """One environment gradient, one optimiser step; see `GradientLearner`."""
        done = rollout(self.core, self.actors, days)
        self.optimiser.zero_grad(set_to_none=True)
        self.objective(done.outcome).backward()
        self.optimiser.step()
        return done

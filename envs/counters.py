"""How much of the environment a method has used."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Counters:
    """How much a method has used.

    Attributes:
        iterations: Outer iterations.
        env_gradients: Environment gradients, each over one batch of days; a rollout
            with a model of it, made in place of one, counts alike.
        env_steps: Steps of single scenarios, all agents together.
        power_flow_solves: Power-flow solutions of single scenarios; the
            adjoint solve of a backward pass counts as one more.
    """

    iterations: int = 0
    env_gradients: int = 0
    env_steps: int = 0
    power_flow_solves: int = 0

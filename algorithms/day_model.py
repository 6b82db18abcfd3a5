"""A model of the days of one rollout, in which policies improve without a power flow.

Three things make it: the devices, exactly as they are (each agent's own
physics); the network to first order around the rollout's power flows; and each
policy's reaction to its own device, to first order in the device's state. What
is left out (reactions to the voltage, and all second orders) the caller mends
by the environment's gradient, with which the model must agree at the rollout.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from gradmap.algorithms.networks import Actors
from gradmap.algorithms.rollout import Rollout
from gradmap.envs.core import Core
from gradmap.envs.devices.days import Feedback
from gradmap.envs.observations import FEATURES
from gradmap.envs.outcome import Outcome, join_outcome
from gradmap.feeders.powerflow.linear import LinearPowerFlow
from gradmap.feeders.powerflow.solve import PowerFlow
from gradmap.feeders.powerflow.sparse_linear import SparseLinearPowerFlow, linear_power_flow

OWN_STATE = FEATURES.index("own_state")

LinearFeeder = LinearPowerFlow | SparseLinearPowerFlow
"""The network to first order, dense or sparse."""


def linear_feeder(core: Core) -> LinearFeeder:
    """The network to first order at the usual base load and sun of the training days.

    Args:
        core: The environment.
    """
    p_kw, q_kvar = core.usual_power("train")
    num_loads = core.network.num_load_terminals
    agents = torch.arange(num_loads, 2 * num_loads, device=core.device)
    return linear_power_flow(core.network, p_kw, q_kvar, agents)


def own_state_gain(actors: Actors, observation: Tensor) -> Tensor:
    """How each action answers to the agent's own device, all else equal.

    Args:
        actors: The agents' networks.
        observation: What they saw. `[batch, time, agent, feature]`

    Returns:
        Derivative of the action by the observed own state, of the shape of
        `Rollout.action`.
    """
    seen = observation.flatten(0, 1).transpose(0, 1).contiguous()
    slope: Tensor = actors.slope(seen, OWN_STATE)
    return slope.transpose(0, 1).reshape(*observation.shape[:3], *slope.shape[2:])


class DayModel:
    """What the days of a rollout would have been under other actions.

    Args:
        core: The environment.
        feeder: From `linear_feeder`.
        done: The rollout.
        gain: From `own_state_gain`, of the policies that made it.
    """

    def __init__(self, core: Core, feeder: LinearFeeder, done: Rollout, gain: Tensor) -> None:
        self.core = core
        self.feeder = feeder
        self.days = done.days
        self.is_usable = done.outcome.is_usable
        self._devices = core.device_days(done.days)
        self._feedback = Feedback(gain, done.observation[..., OWN_STATE].contiguous())
        self._p_kw = done.outcome.p_kw.detach()
        self._q_kvar = done.outcome.q_kvar.detach()
        flow, shape = done.outcome.flow, done.outcome.is_usable.shape
        self._u = flow.u.detach().reshape(*shape, -1)
        self._j = flow.j.detach().reshape(*shape, -1)
        self._flow = flow

    def outcome(self, action: Tensor, rows: Tensor) -> Outcome:
        """Plays some of the days with other actions.

        Args:
            action: What the policies choose for the observations of the
                rollout; where a device's state has moved away from the
                rollout's, the reaction to it is added. `[row, time, *action_shape]`
            rows: Which days of the rollout. `[row]`, int64

        Returns:
            The outcome, differentiable in the actions; that of the rollout
            for the rollout's actions. `[row, time, ...]`
        """
        done = self._devices.play(action, self._feedback, rows)
        changes = (
            self.core.sum_by_terminal(done.p_kw - self._p_kw[rows]),
            self.core.sum_by_terminal(done.q_kvar - self._q_kvar[rows]),
        )
        flow = self.feeder.move(self._flow_of(rows), *changes)
        return join_outcome(done, flow, self.is_usable[rows])

    def _flow_of(self, rows: Tensor) -> PowerFlow:
        flow, tapped = self._flow, self._flow.tapped
        if tapped is not None:
            steps = torch.arange(self.is_usable.shape[1], device=rows.device)
            tapped = tapped.rows((rows[:, None] * len(steps) + steps).flatten())
        return dataclasses.replace(
            flow,
            tapped=tapped,
            converged=flow.converged[rows],
            iterations=flow.iterations[rows],
            residual=flow.residual[rows],
            u=self._u[rows].flatten(0, 1),
            j=self._j[rows].flatten(0, 1),
        )

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
from gradmap.envs.devices.day_law import Feedback, Played
from gradmap.envs.observations import FEATURES, NUM_PUBLIC
from gradmap.feeders.powerflow.nearby import LinearFeeder, NearbyFlows
from gradmap.feeders.powerflow.sparse_linear import linear_power_flow

OWN_STATE = FEATURES.index("own_state")

BUSY = 0.5
"""Loading, over the rating, that a branch must have somewhere in a rollout to be followed in
the model of it: what a few steps of learning move does not double a current."""


def linear_feeder(core: Core) -> LinearFeeder:
    """The network to first order at the usual base load and sun of the training days.

    Args:
        core: The environment.
    """
    p_kw, q_kvar = core.usual_power("train")
    num_loads = core.network.num_load_terminals
    agents = torch.arange(num_loads, 2 * num_loads, device=core.device)
    return linear_power_flow(core.network, p_kw, q_kvar, agents)


def own_state_gain(actors: Actors, done: Rollout) -> Tensor:
    """How each action answers to the agent's own device, all else equal.

    Args:
        actors: The agents' networks.
        done: What they saw.

    Returns:
        Derivative of the action by the observed own state, of the shape of
        `Rollout.action`.
    """
    return actors.slope(done.public, done.own, OWN_STATE).contiguous()


@dataclasses.dataclass(frozen=True)
class ModelDays:
    """What some days came to under other actions.

    Attributes:
        devices: What the devices did. `[row, ...]`
        v_pu: Voltage magnitudes of the monitored nodes. `[row, time, monitored]`
        loading: Branch currents over their ratings; 0 for branches that are nowhere
            near it in the rollout, see `BUSY`. `[row, time, branch]`
        usable: Days whose power flows all converged. `[row]`, bool
    """

    devices: Played
    v_pu: Tensor
    loading: Tensor
    usable: Tensor


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
        self.days = done.days
        self._usable = done.outcome.is_usable[:, -1]
        self._devices = core.device_days(done.days)
        self._feedback = Feedback(gain, done.own[..., OWN_STATE - NUM_PUBLIC].contiguous())
        powers = (done.outcome.p_kw.detach(), done.outcome.q_kvar.detach())
        self._p_kw, self._q_kvar = (core.sum_by_terminal(x) for x in powers)
        flow = done.outcome.flow
        # A step that did not converge says nothing, and has NaN.
        loading = flow.branch_loading.detach().nan_to_num(0.0).amax((0, 1))
        self._busy = (loading >= BUSY * core.limits.loading_max).nonzero().flatten()
        self._flows = NearbyFlows(feeder, flow, core.limits.monitored, self._busy)

    def play(self, action: Tensor, rows: Tensor) -> ModelDays:
        """Plays some of the days with other actions.

        Args:
            action: What the policies choose for the observations of the
                rollout; where a device's state has moved away from the
                rollout's, the reaction to it is added. `[row, time, *action_shape]`
            rows: Which days of the rollout. `[row]`, int64

        Returns:
            What came of them, differentiable in the actions; that of the
            rollout for the rollout's actions.
        """
        devices = self._devices.play(action, self._feedback, rows)
        p_kw = self.core.sum_by_terminal(devices.p_kw) - self._p_kw[rows]
        q_kvar = self.core.sum_by_terminal(devices.q_kvar) - self._q_kvar[rows]
        v_pu, busy = self._flows.move(rows, p_kw, q_kvar)
        idle = busy.new_zeros(*busy.shape[:2], len(self.core.feeder.branches))
        loading = idle.index_copy(-1, self._busy, busy)
        return ModelDays(devices, v_pu, loading, self._usable[rows])

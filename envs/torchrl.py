"""The TorchRL environment: whole batches of days, agents grouped by device type.

env = make_torchrl_env(num_agents=100, batch_size=8)
env.set_seed(0)
day = env.rollout(env.core.num_steps)
day["next", "battery", "reward"]  # [batch, time, battery, 1]
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import torch
from torch import Tensor

from gradmap.envs.catalog import make
from gradmap.envs.config import TaskConfig
from gradmap.envs.constraints import violations
from gradmap.envs.core import Core
from gradmap.envs.days import Calendar
from gradmap.envs.outcome import Outcome
from gradmap.envs.reward import RewardConfig, reward_terms
from gradmap.envs.state import State
from gradmap.feeders.errors import GradmapError

try:
    from tensordict import TensorDict, TensorDictBase
    from torchrl.data import Bounded, Categorical, Composite, Unbounded
    from torchrl.envs import EnvBase
except ModuleNotFoundError as error:
    raise GradmapError("TorchRL is not installed; pip install 'gradmap[torchrl]'") from error

NETWORK_INFO = ("over_pu", "under_pu", "overload")


class FeederTorchEnv(EnvBase):
    """A batch of days on the feeder, stepped together, as a TorchRL `EnvBase`.

    There is a group of agents for each device type, by its name (`battery`,
    `heat_pump`, `generator`; one without agents is left out). What a tensordict
    holds, `[batch]` being `env.batch_size`, all float32 but the flags:

    - `(group, "observation")`, `[batch, agent, feature]`: what each agent sees;
    - `(group, "action")`, `[batch, agent, 1]`, or `[batch, agent, 2]` where reactive
      power is free: in [-1, 1], beyond counts as the nearest end;
    - `(group, "reward")`, `[batch, agent, 1]`: minus the agent's own cost minus
      its share of the priced violation, $; see `gradmap.envs.reward`;
    - `(group, "info", "cost_usd")`, `[batch, agent, 1]`: the own cost alone, $;
    - `"state"`, `[batch, feature]`: what a central critic may see, see
      `Core.observe_global`;
    - `("info", ...)`, `[batch, 1]`: the step's violations, unpriced (`over_pu`
      and `under_pu` summed over nodes, `overload` over branches; 0 at midnight,
      NaN where the power flow failed), and `converged`, whether it did not fail;
    - `"done"` and `"terminated"`, `[batch, 1]`: true after the day's last step.
      Time is observed, so the end is part of the task and never a truncation.

    All days of the batch have the same time of day: a reset begins them all
    anew. `reset(split=..., day=...)` chooses other days than the next ones of
    `split`; `day` is an ISO date or an index, one or a sequence of one each.
    Nothing here carries a gradient; for gradients use the core.

    Args:
        core: The environment.
        batch_size: Days in a batch; None takes the core's.
        reward: How violations are priced in the reward.
        split: Days that a reset draws from: `train`, `validation` or `test`.

    Attributes:
        core: The environment.
        calendar: Chooses the days; `set_seed` seeds it.
        state: State of the core, None before the first reset.
        group_map: Names of the agents by group, in the order of the group.

    Raises:
        GradmapError: If the batch is empty or the split unknown.
    """

    def __init__(
        self,
        core: Core,
        batch_size: int | None = None,
        reward: RewardConfig | None = None,
        split: str = "train",
    ) -> None:
        batch = core.batch_size if batch_size is None else batch_size
        calendar = Calendar(core, batch)
        core.days(split)  # a misspelt split is an error here, not in the first reset
        super().__init__(device=core.device, batch_size=(batch,))
        self.core = core
        self.calendar = calendar
        self.reward = reward or RewardConfig()
        self.split = split
        self.state: State | None = None
        self.group_map: dict[str, list[str]] = {}
        for name, kind in zip(core.agent_names, core.agent_kinds, strict=True):
            self.group_map.setdefault(kind, []).append(name)
        self._members = {
            group: torch.tensor(
                [k for k, kind in enumerate(core.agent_kinds) if kind == group],
                device=core.device,
            )
            for group in self.group_map
        }
        self._make_specs()

    def _make_specs(self) -> None:
        """Sets the specs; those of single days are expanded to the batch by TorchRL."""
        core, device = self.core, self.core.device

        def column(*shape: int) -> Unbounded:
            return Unbounded((*shape, 1), device=device)

        sizes = {group: len(names) for group, names in self.group_map.items()}
        observation = {
            group: Composite(
                observation=Unbounded((num, core.num_features), device=device),
                info=Composite(cost_usd=column(num), shape=(num,)),
                shape=(num,),
            )
            for group, num in sizes.items()
        }
        flag = Categorical(2, (1,), dtype=torch.bool, device=device)
        info = Composite({name: column() for name in NETWORK_INFO} | {"converged": flag.clone()})
        state = Unbounded((core.num_global_features,), device=device)
        self.full_observation_spec_unbatched = Composite(
            {**observation, "info": info, "state": state}, device=device
        )
        numbers = core.num_actions
        action = {
            group: Composite(action=Bounded(-1.0, 1.0, (num, numbers), device=device), shape=(num,))
            for group, num in sizes.items()
        }
        self.full_action_spec_unbatched = Composite(action, device=device)
        reward = {g: Composite(reward=column(num), shape=(num,)) for g, num in sizes.items()}
        self.full_reward_spec_unbatched = Composite(reward, device=device)
        self.full_done_spec_unbatched = Composite(
            done=flag.clone(), terminated=flag.clone(), device=device
        )

    def _set_seed(self, seed: int | None) -> None:
        self.calendar.seed(seed)

    def _reset(
        self,
        tensordict: TensorDictBase | None = None,
        *,
        split: str | None = None,
        day: str | int | Sequence[str | int] | None = None,
    ) -> TensorDictBase:
        mask = None if tensordict is None else tensordict.get("_reset", None)
        if mask is not None and not mask.all():
            raise GradmapError(
                f"a reset of {int(mask.sum())} of {mask.numel()} days was asked for; they share "
                "the time of day: reset all of them, or make one environment for each"
            )
        options = {"split": split or self.split} | ({} if day is None else {"day": day})
        self.state = self.core.reset(self.calendar.choose(options))
        return self._observe(self.state)

    @torch.no_grad()
    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        if self.state is None:
            raise GradmapError("no day has begun; call reset first")
        self.state, outcome = self.core.step(self.state, self._joint_action(tensordict))
        return self._observe(self.state, outcome)

    def _joint_action(self, tensordict: TensorDictBase) -> Tensor:
        """Puts the groups' actions into the core's order. `[batch, *action_shape]`"""
        core, num = self.core, self.core.num_actions
        joint = torch.empty(*self.batch_size, core.num_agents, num, device=core.device)
        for group, members in self._members.items():
            action = tensordict.get((group, "action"), None)
            expected = (*self.batch_size, len(members), num)
            if action is None or tuple(action.shape) != expected:
                found = "missing" if action is None else f"of shape {tuple(action.shape)}"
                raise GradmapError(
                    f"({group!r}, 'action') is {found}, expected [batch, agent, {num}] = {expected}"
                )
            joint[:, members] = action.to(joint.dtype)
        if not joint.isfinite().all():
            worst = int((~joint.isfinite()).any(-1).any(0).nonzero()[0])
            name = self.core.agent_names[worst]
            raise GradmapError(f"the action of {name} is not finite; expected -1 to 1")
        return joint.reshape(*self.batch_size, *core.action_shape)

    @torch.no_grad()
    def _observe(self, state: State, outcome: Outcome | None = None) -> TensorDictBase:
        """What a reset gives, or a step if there is an outcome."""
        core, batch = self.core, self.batch_size
        cost = torch.zeros(*batch, core.num_agents, device=core.device)
        info = {name: torch.zeros(*batch, 1, device=core.device) for name in NETWORK_INFO}
        info["converged"] = ~state.is_failed.unsqueeze(-1)
        parts = {"observation": core.observe(state)}
        if outcome is not None:
            found = violations(outcome.flow, core.limits)
            parts["reward"] = reward_terms(outcome, found, self.reward).sum(-1, keepdim=True)
            cost = outcome.cost_usd.sum(-1)
            for name in NETWORK_INFO:
                info[name] = getattr(found, name).sum(-1, keepdim=True).to(torch.float32)
            info["converged"] = outcome.flow.converged.unsqueeze(-1)
        done = torch.full((*batch, 1), core.is_done(state), device=core.device)
        result = TensorDict(
            {
                "state": core.observe_global(state),
                "info": TensorDict(info, batch),
                "done": done,
                "terminated": done.clone(),
            },
            batch,
            device=core.device,
        )
        for group, members in self._members.items():
            shape = (*batch, len(members))
            own = TensorDict({key: value[:, members] for key, value in parts.items()}, shape)
            own["info"] = TensorDict({"cost_usd": cost[:, members].unsqueeze(-1)}, shape)
            result[group] = own
        return result

    def to(self, device: torch.device | str) -> FeederTorchEnv:
        """Stays where the core is.

        Args:
            device: The core's device.

        Returns:
            The environment itself.

        Raises:
            GradmapError: If it is another device than the core's.
        """
        if torch.empty(0, device=device).device != self.device:
            raise GradmapError(
                f"the environment is on {self.device} and cannot move to {device}; "
                f"make it there: make_torchrl_env(..., device={str(device)!r})"
            )
        return self


def make_torchrl_env(
    task: str | TaskConfig = "ieee123-mixed-v1",
    *,
    num_agents: int | None = None,
    batch_size: int = 8,
    device: torch.device | str = "cpu",
    seed: int | None = None,
    reward: RewardConfig | None = None,
    split: str = "train",
    feeder_file: str | pathlib.Path | None = None,
    scenario_file: str | pathlib.Path | None = None,
) -> FeederTorchEnv:
    """Makes the TorchRL environment of a task.

    Args:
        task: Name of a published task, or a configuration of one's own.
        num_agents: Number of agents, in place of the task's.
        batch_size: Days that are stepped together.
        device: Torch device of the core.
        seed: Seed of the fleet, in place of the task's; `env.set_seed` seeds
            the choice of days.
        reward: How violations are priced in the reward.
        split: Days that a reset draws from: `train`, `validation` or `test`.
        feeder_file: A saved feeder, to do without OpenDSS.
        scenario_file: Saved scenarios, to do without the profile package.

    Returns:
        The environment.

    Raises:
        GradmapError: If the task or the split is unknown, or a file does not fit.
    """
    core = make(
        task,
        num_agents=num_agents,
        batch_size=batch_size,
        device=device,
        seed=seed,
        feeder_file=feeder_file,
        scenario_file=scenario_file,
    )
    return FeederTorchEnv(core, batch_size, reward, split)

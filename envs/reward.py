"""The scalar reward of the reinforcement-learning interfaces."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from gradmap.envs.constraints import Violations
from gradmap.envs.outcome import COST_TERMS, Outcome

REWARD_TERMS = (*COST_TERMS, "network")
"""Parts of the reward; each is minus a cost, and they sum to the reward."""


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """How the network's violation enters an agent's reward.

    Attributes:
        voltage_usd_per_pu: Price of a p.u. of violation at one node for one step.
        overload_usd: Price of a branch's loading beyond its rating, by the
            rating, for one step.
        share: Each agent pays this share of the priced violation of the whole
            network; None divides it evenly by the number of agents.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    voltage_usd_per_pu: float = 1000.0
    overload_usd: float = 10.0
    share: float | None = None


def reward_terms(outcome: Outcome, found: Violations, config: RewardConfig) -> Tensor:
    """Splits every agent's reward into its terms.

    A step whose power flow failed has no violation to price: its network term
    is 0 and `is_usable` of the outcome says so.

    Args:
        outcome: What the step brought. `[..., agent]`
        found: Its violations. `[..., monitored]` and `[..., branch]`
        config: How they are priced.

    Returns:
        The terms in the order of `REWARD_TERMS`, float32. `[..., agent, term]`
    """
    priced = config.voltage_usd_per_pu * (found.over_pu.sum(-1) + found.under_pu.sum(-1))
    priced = priced + config.overload_usd * found.overload.sum(-1)
    priced = torch.where(outcome.is_usable, priced, torch.zeros_like(priced))
    num_agents = outcome.p_kw.shape[-1]
    share = 1.0 / num_agents if config.share is None else config.share
    network = (share * priced).to(torch.float32).unsqueeze(-1).expand_as(outcome.p_kw)
    return -torch.cat((outcome.cost_usd, network.unsqueeze(-1)), dim=-1)

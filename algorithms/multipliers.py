"""Prices of the network's constraints, and their dual ascent."""

from __future__ import annotations

import torch
from torch import Tensor

from gradmap.algorithms.config import PriceConfig
from gradmap.envs.constraints import Violations
from gradmap.envs.core import Core


class Multipliers:
    """One multiplier for each step of the day and each limit of the network.

    What a violation is charged is the price that all limits share, plus its
    limit's own multiplier: an augmented Lagrangian with the exact penalty in
    place of a quadratic one.

    Args:
        core: The environment.
        config: How constraints are priced.

    Attributes:
        over: Multipliers of high voltage, $ per p.u. and step, from 0.
            `[time, monitored]`
        under: Multipliers of low voltage, likewise.
        overload: Multipliers of overload, $ per rating and step.
            `[time, branch]`
    """

    def __init__(self, core: Core, config: PriceConfig) -> None:
        self.config = config
        steps, nodes = core.num_steps, len(core.limits.monitored)
        branches = len(core.feeder.branches)
        real = core.network.real_dtype

        def zeros(size: int) -> Tensor:
            return torch.zeros((steps, size), dtype=real, device=core.device)

        self.over, self.under, self.overload = zeros(nodes), zeros(nodes), zeros(branches)

    def charge(self, found: Violations, step: int | slice | None = None) -> Tensor:
        """Prices the violations of a batch of days, or of one of their steps.

        Args:
            found: Violations. `[batch, time, ...]`, or `[batch, ...]` of a step
            step: The step, or the steps of a part of the day; None for whole days.

        Returns:
            The price of each step. `[batch, time]`, or `[batch]` of a step
        """
        nodes, branches = self.charge_by_limit(found, step)
        return nodes.sum(-1) + branches.sum(-1)

    def charge_by_limit(
        self, found: Violations, step: int | slice | None = None
    ) -> tuple[Tensor, Tensor]:
        """Prices every violation by itself; see `charge`.

        Args:
            found: Violations. `[batch, time, ...]`, or `[batch, ...]` of a step
            step: The step, or the steps of a part of the day; None for whole days.

        Returns:
            The price at each node, `[..., monitored]`, and of each branch,
            `[..., branch]`.
        """
        now = slice(None) if step is None else step
        voltage, overload = self.config.voltage_usd_per_pu, self.config.overload_usd
        over = found.over_pu * (voltage + self.over[now])
        under = found.under_pu * (voltage + self.under[now])
        return over + under, found.overload * (overload + self.overload[now])

    @torch.no_grad()
    def ascend(self, found: Violations, usable: Tensor) -> None:
        """Moves the multipliers along the expected violation; see `PriceConfig`.

        Args:
            found: Violations. `[batch, time, ...]`
            usable: Days whose power flows all converged. `[batch]`, bool
        """
        if self.config.kind != "dual":
            return
        weight = usable.to(self.over.dtype) / usable.sum().clamp_min(1)
        pairs = (
            (self.over, found.over_pu),
            (self.under, found.under_pu),
            (self.overload, found.overload),
        )
        for multiplier, violation in pairs:
            mean = torch.einsum("b,btj->tj", weight, violation.nan_to_num(0.0))
            multiplier *= 1.0 - self.config.dual_decay
            multiplier += self.config.dual_step * (mean - self.config.tolerance_pu)
            multiplier.clamp_(0.0, self.config.dual_max)

    def tensors(self) -> dict[str, Tensor]:
        """The multipliers by name."""
        return {"over": self.over, "under": self.under, "overload": self.overload}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Takes multipliers over from `tensors`."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])

"""What a step brought: powers, costs by kind, and the power flow."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from gradmap.envs.devices.base import DeviceStep
from gradmap.feeders.powerflow.regulation import Settled
from gradmap.feeders.powerflow.solve import PowerFlow

COST_TERMS = ("energy", "fuel", "wear", "discomfort")
"""Parts of an agent's cost, in the order of `Outcome.cost_usd`."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One step of a batch, or a day of it with a time axis after the batch.

    Costs and network quantities stay apart: no weight joins them here.

    Attributes:
        setpoint_kw: Power that each action asked for. `[..., agent]`
        p_kw: Power drawn, after projection on what the device can do.
            `[..., agent]`
        q_kvar: Reactive power drawn. `[..., agent]`
        cost_usd: Own cost by `COST_TERMS`. `[..., agent, term]`
        discomfort_kh: Kelvin hours outside the comfort band. `[..., agent]`
        flow: The power flow, leading axes the same.
        is_usable: False where a power flow of the day, up to this step, did
            not converge. `[...]`, bool
        tap_operations: Positions that each regulator moved by, without a
            column where taps are fixed. `[..., regulator]`, int64
        capacitor_operations: Times that each capacitor switched, likewise.
            `[..., capacitor]`, int64
    """

    setpoint_kw: Tensor
    p_kw: Tensor
    q_kvar: Tensor
    cost_usd: Tensor
    discomfort_kh: Tensor
    flow: PowerFlow
    is_usable: Tensor
    tap_operations: Tensor
    capacitor_operations: Tensor

    @property
    def clipped_kw(self) -> Tensor:
        """How far each setpoint was from what the device could do. `[..., agent]`"""
        return (self.setpoint_kw - self.p_kw).abs()


def stack_outcomes(outcomes: Sequence[Outcome]) -> Outcome:
    """Joins the steps of a day along a new time axis after the batch.

    Args:
        outcomes: Outcomes in the order of time, `[batch, ...]` each.

    Returns:
        One outcome, `[batch, time, ...]`.
    """
    parts = {
        field.name: torch.stack([getattr(o, field.name) for o in outcomes], dim=1)
        for field in dataclasses.fields(Outcome)
        if field.name != "flow"
    }
    return Outcome(flow=PowerFlow.stack([o.flow for o in outcomes], dim=1), **parts)


def join_outcome(
    done: DeviceStep, flow: PowerFlow, is_usable: Tensor, settled: Settled | None = None
) -> Outcome:
    """Puts an outcome together; the order of the cost is that of `COST_TERMS`.

    Args:
        done: What the devices did. `[..., agent]` each
        flow: The power flow, leading axes the same.
        is_usable: Whether it and those before it converged. `[...]`, bool
        settled: Where regulators and capacitors went; None where they are fixed.
    """
    if settled is None:
        regulators = capacitors = is_usable.new_zeros((*is_usable.shape, 0), dtype=torch.int64)
    else:
        regulators, capacitors = settled.tap_operations, settled.capacitor_operations
    costs = (done.energy_usd, done.fuel_usd, done.wear_usd, done.discomfort_usd)
    return Outcome(
        setpoint_kw=done.setpoint_kw,
        p_kw=done.p_kw,
        q_kvar=done.q_kvar,
        cost_usd=torch.stack(costs, dim=-1),
        discomfort_kh=done.discomfort_kh,
        flow=flow,
        is_usable=is_usable,
        tap_operations=regulators,
        capacitor_operations=capacitors,
    )

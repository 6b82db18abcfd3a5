"""Settings of the methods that learn through the environment's gradient."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, get_args

from gradmap.feeders.errors import raise_faults

PriceKind = Literal["dual", "fixed", "none"]
Proximal = Literal["clip", "quadratic"]
Surrogate = Literal["model", "mended", "gradient"]


@dataclasses.dataclass(frozen=True)
class PriceConfig:
    """How constraints are priced during learning.

    Attributes:
        kind: `dual` adds multipliers, moved by dual ascent, to the shared
            price; `fixed` charges the shared price alone; `none` leaves the
            network out.
        voltage_usd_per_pu: Shared price of a p.u. of voltage violation for
            one step at one node.
        overload_usd: Shared price of loading a branch by its rating beyond
            its rating for one step.
        dual_step: Step of the ascent: how much a multiplier rises, in its
            unit, for an expected violation of 1.
        dual_decay: Share of a multiplier that each step forgets. The first
            policies violate limits that later ones never come near; without
            forgetting, their prices would stay.
        dual_max: Upper bound of every multiplier.
        tolerance_pu: Expected violation that is not worth pricing; below it
            multipliers fall.
        margin_pu: Learning sees a voltage band narrower by this much at each
            end, so that what is learnt holds on days not seen.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    kind: PriceKind = "dual"
    voltage_usd_per_pu: float = 300.0
    overload_usd: float = 30.0
    dual_step: float = 5e4
    dual_decay: float = 0.03
    dual_max: float = 1e5
    tolerance_pu: float = 0.0
    margin_pu: float = 0.0

    def __post_init__(self) -> None:
        faults = []
        if self.kind not in get_args(PriceKind):
            faults.append(
                f"kind is {self.kind!r}, expected one of {', '.join(get_args(PriceKind))}"
            )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name != "kind" and not value >= 0:
                faults.append(f"{field.name} is {value}, expected 0 or more")
        if self.dual_decay >= 1:
            faults.append(f"dual_decay is {self.dual_decay}, expected less than 1")
        raise_faults("price", faults)


@dataclasses.dataclass(frozen=True)
class LearnerConfig:
    """Settings of a learner.

    Attributes:
        hidden: Width of each hidden layer of every agent's network.
        days_per_batch: Scenario-days in one rollout.
        learning_rate: Of Adam.
        learning_rate_final: Fraction of `learning_rate` left when the budget
            is used up; the rate falls along a half cosine.
        adam_beta2: Share of the mean square of the gradients, by which Adam
            divides, that a step keeps. The first gradients are tens of times
            the later ones: a long memory of them holds the steps down for as
            long.
        average: Share of the averaged weights that an iteration keeps; the
            policy that is judged and saved has them, the rollouts do not. It
            takes the noise of the last batches out. 0 for none.
        surrogate: What of a rollout is used many times. `gradient` is the
            environment's gradient alone, as in the paper: each sample by
            itself, all else standing still. `model` plays the days of the
            rollout again, with devices as they are and the network to first
            order, and needs no backward pass through the environment; see
            `DayModel`. `mended` is the model with what it leaves out of the
            environment's gradient added, so that at the rollout the two agree.
        reuse_passes: Passes over the samples of a rollout.
        minibatches: Optimiser steps in one pass, each on a share of the
            samples, or of the days where there is a model. With one pass of one
            step and `gradient` or `mended`, an environment gradient is used
            once, as self-supervision does.
        trust_region: Largest change of an action, on its [-1, 1] scale, that
            reuse of a gradient still gains from: of all of it with `gradient`, of
            what the model leaves out with `mended`. `model` has none.
        trust_region_final: Fraction of `trust_region` left when the budget is
            used up; it falls along a line. All agents move at once, each as
            if the others stood still, so the end needs smaller changes.
        proximal: `clip` stops the gain at the trust region, `quadratic`
            charges the square of the change instead.
        projection_usd_per_kwh: Charge, in learning only, on setpoints that a
            device cannot follow. It leads an action back to where the device
            responds; costs and reward do not contain it.
        price: How constraints are priced.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    hidden: tuple[int, ...] = (16, 16)
    days_per_batch: int = 8
    learning_rate: float = 1e-2
    learning_rate_final: float = 0.1
    adam_beta2: float = 0.999
    average: float = 0.8
    surrogate: Surrogate = "model"
    reuse_passes: int = 4
    minibatches: int = 4
    trust_region: float = 0.12
    trust_region_final: float = 0.12
    proximal: Proximal = "quadratic"
    projection_usd_per_kwh: float = 0.02
    price: PriceConfig = PriceConfig()

    def __post_init__(self) -> None:
        faults = []
        for name in ("days_per_batch", "reuse_passes", "minibatches"):
            if getattr(self, name) < 1:
                faults.append(f"{name} is {getattr(self, name)}, expected 1 or more")
        for name in ("learning_rate", "trust_region"):
            if not getattr(self, name) > 0:
                faults.append(f"{name} is {getattr(self, name)}, expected more than 0")
        if not 0 <= self.adam_beta2 < 1:
            faults.append(f"adam_beta2 is {self.adam_beta2}, expected 0 or more, less than 1")
        if not 0 <= self.average < 1:
            faults.append(f"average is {self.average}, expected 0 or more, less than 1")
        if not 0 <= self.learning_rate_final <= 1:
            faults.append(f"learning_rate_final is {self.learning_rate_final}, expected 0 to 1")
        if not 0 < self.trust_region_final <= 1:
            faults.append(
                f"trust_region_final is {self.trust_region_final}, expected more than 0, at most 1"
            )
        if not self.projection_usd_per_kwh >= 0:
            faults.append(
                f"projection_usd_per_kwh is {self.projection_usd_per_kwh}, expected 0 or more"
            )
        for name, kind in (("proximal", Proximal), ("surrogate", Surrogate)):
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(get_args(kind))
                faults.append(f"{name} is {getattr(self, name)!r}, expected one of {known}")
        if not self.hidden or min(self.hidden) < 1:
            faults.append(f"hidden is {self.hidden}, expected one or more positive widths")
        raise_faults("learner", faults)

"""Judges a policy on whole days, by the torch power flow or by OpenDSS."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from gradmap.algorithms.rollout import Rollout, rollout
from gradmap.envs.core import Core
from gradmap.envs.observations import FEATURES
from gradmap.envs.outcome import COST_TERMS
from gradmap.envs.policy import Policy
from gradmap.experiments.metrics import Band, FloatArray, Physics, network_by_day, summarise
from gradmap.feeders.errors import GradmapError

Engine = Literal["torch", "opendss"]


@dataclasses.dataclass(frozen=True)
class Played:
    """Days under a policy.

    Attributes:
        days: Index of each day in the scenario set. `[day]`
        p_kw: Power drawn by each agent. `[day, time, agent]`
        q_kvar: Reactive power drawn by each agent. `[day, time, agent]`
        action: What each agent's policy chose. `[day, time, *Core.action_shape]`
        own_state: Each agent's own state before the step, as its policy sees
            it. `[day, time, agent]`
        by_day: Quantities of the agents. `[day]` each
        physics: The network, by the torch power flow.
        taps: Position of every regulator in each step, where they are alive;
            None where they are fixed. `[day, time, regulator]`
        capacitors: What is on of the switched capacitors, likewise.
            `[day, time, capacitor]`
    """

    days: npt.NDArray[np.int64]
    p_kw: FloatArray
    q_kvar: FloatArray
    action: npt.NDArray[np.float32]
    own_state: npt.NDArray[np.float32]
    by_day: dict[str, FloatArray]
    physics: Physics
    taps: npt.NDArray[np.int64] | None = None
    capacitors: npt.NDArray[np.bool_] | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        engine: `torch` or `opendss`.
        dates: Date of each day, ISO.
        metrics: Quantities of `gradmap.experiments.metrics.QUANTITIES`, and
            the energy drawn by each device type, kWh per day.
        by_day: The same for every day. `[day]` each
        v_pu: Voltage magnitude of the monitored nodes, float32.
            `[day, time, monitored]`
    """

    engine: Engine
    dates: tuple[str, ...]
    metrics: dict[str, float]
    by_day: dict[str, FloatArray]
    v_pu: npt.NDArray[np.float32]


def evaluate(
    core: Core, policy: Policy, days: torch.Tensor, batch: int = 8, engine: Engine = "torch"
) -> Evaluation:
    """Runs a policy over days and judges it.

    Args:
        core: The environment.
        policy: The policy.
        days: Index of each day. `[day]`
        batch: Days run together.
        engine: Whose voltages and currents are judged. OpenDSS replays the
            powers that the agents drew under the torch power flow.
    """
    return judge(core, play(core, policy, days, batch), engine)


def pick_days(core: Core, split: str, num: int | None = None) -> torch.Tensor:
    """Days of a split, or some of them spread evenly over it.

    Args:
        core: The environment.
        split: `train`, `validation` or `test`.
        num: How many at most; None for all.

    Raises:
        GradmapError: If the split is unknown or has no days.
    """
    days = core.days(split)
    if len(days) == 0:
        raise GradmapError(f"split {split!r} has no days; hold out some in task.scenarios")
    if num is None or num >= len(days):
        return days
    spread = (torch.arange(num, device=days.device) * len(days)) // num
    return days[spread]


@torch.no_grad()
def play(core: Core, policy: Policy, days: torch.Tensor, batch: int = 8) -> Played:
    """Runs a policy over days.

    Args:
        core: The environment.
        policy: The policy.
        days: Index of each day. `[day]`
        batch: Days run together.
    """
    parts = [_read(core, rollout(core, policy, some)) for some in days.split(batch)]

    def join(pick: Any) -> Any:
        return np.concatenate([pick(part) for part in parts])

    names = [field.name for field in dataclasses.fields(Physics)]
    return Played(
        days=join(lambda part: part.days),
        p_kw=join(lambda part: part.p_kw),
        q_kvar=join(lambda part: part.q_kvar),
        action=join(lambda part: part.action),
        own_state=join(lambda part: part.own_state),
        by_day={name: join(lambda part, n=name: part.by_day[n]) for name in parts[0].by_day},
        physics=Physics(
            **{name: join(lambda part, n=name: getattr(part.physics, n)) for name in names}
        ),
        taps=None if core.regulation is None else join(lambda part: part.taps),
        capacitors=None if core.regulation is None else join(lambda part: part.capacitors),
    )


def judge(core: Core, played: Played, engine: Engine = "torch") -> Evaluation:
    """Judges days that have been run.

    Args:
        core: The environment that ran them.
        played: The days.
        engine: Whose voltages and currents are judged.
    """
    if engine == "opendss":
        # Here, not above: a training machine need not have OpenDSS.
        from gradmap.experiments.replay import replay

        physics = replay(core, played)
    else:
        physics = played.physics
    band = Band(core.limits.vmin_pu, core.limits.vmax_pu, core.limits.monitored.cpu().numpy())
    by_day = {**played.by_day, **network_by_day(physics, band, core.feeder, core.dt_hours)}
    return Evaluation(
        engine=engine,
        dates=tuple(core.scenarios.date[day] for day in played.days),
        metrics=summarise(by_day, physics, band),
        by_day=by_day,
        v_pu=np.abs(physics.v_pu[..., band.monitored]).astype(np.float32),
    )


def _array(tensor: torch.Tensor) -> Any:
    array = tensor.detach().cpu().numpy()
    wide = np.complex128 if np.iscomplexobj(array) else np.float64
    return array if array.dtype.kind in "bi" else array.astype(wide)


def _read(core: Core, run: Rollout) -> Played:
    """Takes the arrays out of a rollout."""
    outcome, flow = run.outcome, run.outcome.flow
    cost = outcome.cost_usd.double().sum((1, 2))
    by_day = {"cost_usd_per_day": _array(cost.sum(-1))}
    for term, name in enumerate(COST_TERMS):
        by_day[f"cost_{name}_usd_per_day"] = _array(cost[:, term])
    num_pumps = max(core.agent_kinds.count("heat_pump"), 1)
    by_day["discomfort_kh"] = _array(outcome.discomfort_kh.double().sum((1, 2))) / num_pumps
    by_day["clipped_kwh_per_day"] = core.dt_hours * _array(outcome.clipped_kw.double().sum((1, 2)))
    energy = core.dt_hours * outcome.p_kw.double().sum(1)
    for kind in dict.fromkeys(core.agent_kinds):
        own = torch.tensor([k == kind for k in core.agent_kinds], device=energy.device)
        by_day[f"{kind}_kwh_per_day"] = _array(energy[:, own].sum(-1))
    if core.regulation is not None:
        for name in ("tap_operations", "capacitor_operations"):
            by_day[f"{name}_per_day"] = _array(getattr(outcome, name).sum((1, 2)).double())
    physics = Physics(
        v_pu=_array(flow.v_pu),
        loading=_array(flow.branch_loading),
        losses_kw=_array(flow.losses_kw),
        source_kw=_array(flow.source_kw),
        converged=_array(flow.converged),
    )
    return Played(
        days=_array(run.days),
        p_kw=_array(outcome.p_kw),
        q_kvar=_array(outcome.q_kvar),
        action=run.action.float().cpu().numpy(),
        own_state=run.observation[..., FEATURES.index("own_state")].float().cpu().numpy(),
        by_day=by_day,
        physics=physics,
        taps=None if core.regulation is None else _array(flow.taps),
        capacitors=None if core.regulation is None else _array(flow.capacitors),
    )

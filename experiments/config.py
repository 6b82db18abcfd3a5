"""What a run and a comparison are made of; unknown keys are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import ConfigDict, Field
from tyro.conf import Fixed, Suppress

from gradmap.algorithms.config import LearnerConfig
from gradmap.baselines.droop_config import DroopConfig
from gradmap.baselines.foresight_config import ForesightConfig
from gradmap.baselines.gippo_config import GIPPOConfig
from gradmap.baselines.receding_config import RecedingConfig
from gradmap.baselines.rllib.config import PPOSettings
from gradmap.baselines.rules_config import RulesConfig
from gradmap.baselines.shac_config import SHACConfig
from gradmap.envs.config import TaskConfig

Split = Literal[
    "train",
    "validation",
    "test",
    "cold-snap",
    "hot-sunny",
    "price-spike",
    "load-growth",
    "offline",
]
"""Days that a policy can be judged on: those of the task, and the test days under stress."""


class _Model(pydantic.BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Budget(_Model):
    """How long to train: whichever is used up first ends the run.

    With iterations alone, a run gives the same numbers whether or not it was
    stopped and resumed. With seconds, how far it comes depends on the machine,
    and so do schedules that follow the share of the budget used; every row of
    the metrics holds that share.

    Attributes:
        seconds: Wall-clock seconds spent in iterations; evaluation and saving
            do not count.
        iterations: Outer iterations.
        env_steps: Steps of single scenarios, all agents together.
        power_flow_solves: Power flows of single scenarios; the adjoint solve
            of a gradient counts as one more.
    """

    seconds: Annotated[float, Field(gt=0)] | None = 240.0
    iterations: Annotated[int, Field(ge=0)] | None = None
    env_steps: Annotated[int, Field(ge=1)] | None = None
    power_flow_solves: Annotated[int, Field(ge=1)] | None = None

    @pydantic.model_validator(mode="after")
    def _is_bounded(self) -> Budget:
        given = dict(self)
        if all(value is None for value in given.values()):
            raise ValueError(f"{', '.join(given)} are all none, expected at least one")
        return self

    def share(self, used: Mapping[str, float]) -> float:
        """Share of the budget that is used, 0 to 1; of several limits, the largest.

        Args:
            used: What has been used, by the names of this class.
        """
        shares = [1.0 if not limit else used[name] / limit for name, limit in self.limits().items()]
        return min(max(shares), 1.0)

    def limits(self) -> dict[str, float]:
        """The limits that are given, by name."""
        return {name: limit for name, limit in self if limit is not None}


class Validation(_Model):
    """When and on what a policy in training is judged.

    Attributes:
        every: Iterations between two judgements.
        reference_every: The same for a reference, which is judged on all the
            days that it knows.
        num_days: Validation days, spread evenly over those there are; none
            for all.
    """

    every: Annotated[int, Field(ge=1)] = 10
    reference_every: Annotated[int, Field(ge=1)] = 50
    num_days: Annotated[int, Field(ge=1)] | None = 8


class Selection(_Model):
    """The rule by which the best checkpoint is kept, one for all methods.

    The least of `cost + price * max(0, violation - allowed)` over the
    validation days is best: cost in $ a day, violation in percent of
    node-steps. The price is so high that violations decide first, and cost
    between policies that keep the allowance, which is the one that a `Target`
    asks for: about a tenth of what selfish devices do. A method that knows
    nothing of the network is selected on cost alone.

    Attributes:
        price_usd_per_pct: Price of a percentage point of node-steps, $ a day.
        allowed_pct: Node-steps in violation that cost nothing, percent.
    """

    price_usd_per_pct: Annotated[float, Field(ge=0)] = 1000.0
    allowed_pct: Annotated[float, Field(ge=0)] = 0.5


class Target(_Model):
    """The level on validation days to which training times are measured.

    A method has reached it at its first judgement with at most
    `node_step_violation_pct` of node-steps in violation and a cost at most
    `cost_margin_pct` above the least cost that any method of the comparison
    had at so few violations.

    Attributes:
        node_step_violation_pct: Node-steps in violation, percent.
        cost_margin_pct: Margin over the least cost, percent of its size. The
            first counts; the others show how much the result hangs on it.
    """

    node_step_violation_pct: Annotated[float, Field(ge=0)] = 0.5
    cost_margin_pct: Annotated[tuple[float, ...], Field(min_length=1)] = (5.0, 10.0, 2.0)


class _Shared(_Model):
    task: TaskConfig = TaskConfig()
    threads: Annotated[int, Field(ge=1)] = 1
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    budget: Budget = Budget()
    validation: Validation = Validation()
    selection: Selection = Selection()
    evaluation_batch: Annotated[int, Field(ge=1)] = 8
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 30.0


class RunConfig(_Shared):
    """One run: a method, a task, a seed and a budget.

    The settings of methods stand in the sections of `SECTIONS`, of which a
    method reads its own.

    Attributes:
        task: The task.
        seed: Seed of the learner: weights, order of days, minibatches.
        threads: Threads of torch on the CPU.
        device: `auto` (the GPU when there is one), `cpu` or `cuda`.
        budget: How long to train.
        validation: When and on what the policy is judged.
        selection: Which checkpoint is best.
        evaluation_batch: Days evaluated at once.
        checkpoint_seconds: Seconds between two savings of the latest state.
        method: Name of the method.
        learner: Settings of GradMAP and of the self-supervised methods.
        shac: Settings of SHAC.
        gippo: Settings of PPO helped by the analytic gradient.
        ppo: Settings of IPPO and MAPPO.
        rules: Settings of the rules.
        droop: Settings of the droop curves.
        receding: Settings of the receding-horizon controller.
        foresight: Settings of the perfect-foresight optimiser.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    method: Suppress[Fixed[str]] = "gradmap"
    learner: LearnerConfig = LearnerConfig()
    shac: SHACConfig = SHACConfig()
    gippo: GIPPOConfig = GIPPOConfig()
    ppo: PPOSettings = PPOSettings()
    rules: RulesConfig = RulesConfig()
    droop: DroopConfig = DroopConfig()
    receding: RecedingConfig = RecedingConfig()
    foresight: ForesightConfig = ForesightConfig()


class CompareConfig(_Shared):
    """A comparison: methods, tasks and seeds, each run with the same budget.

    Attributes:
        task: The task of all methods.
        threads: Threads of torch in each worker.
        device: `auto` (the GPU when there is one), `cpu` or `cuda`.
        budget: How long each run trains.
        validation: When and on what policies are judged.
        selection: Which checkpoint is best.
        evaluation_batch: Days evaluated at once.
        checkpoint_seconds: Seconds between two savings of the latest state.
        methods: Methods in the table's order; none for all.
        settings: By method, what differs from the method's own settings.
        tasks: By name, what differs from `task`, for several tasks; a table
            each. None for `task` alone.
        seeds: Seeds of the learners. A method without randomness runs for the
            first alone.
        reference_budget: Budget of the references, which compete with nobody;
            none for the same.
        workers: Runs at the same time; none for as many as there are cores,
            and for one on a GPU.
        target: The level to which training times are measured.
        splits: Days to judge on: the first for the table, the others to see
            how policies bear what they have not seen.
        opendss: Whether to replay the policies in OpenDSS, on the first split.
    """

    methods: tuple[str, ...] = ()
    settings: Suppress[Fixed[dict[str, dict[str, Any]]]] = {}
    tasks: Suppress[Fixed[dict[str, dict[str, Any]]]] = {}
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    reference_budget: Suppress[Fixed[Budget | None]] = None
    workers: Annotated[int, Field(ge=1)] | None = None
    target: Target = Target()
    splits: Annotated[tuple[Split, ...], Field(min_length=1)] = ("test",)
    opendss: bool = True

    @property
    def split(self) -> str:
        """Days of the table."""
        return self.splits[0]

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tasks, a table each."""
        return tuple(self.tasks) or (self.task.name,)

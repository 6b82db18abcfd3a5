"""The training loop: iterate, judge on validation days, keep the best, save.

Time is wall-clock time inside iterations; judging and saving stand outside.
An iteration's row, its judgement and then its checkpoint are written in this
order, so that a run that was stopped anywhere and resumed writes the rows
that it would have written, and no row twice.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import torch

from gradmap.experiments.assembly import Assembly, load_state, save_state
from gradmap.experiments.board import Board
from gradmap.experiments.evaluate import evaluate, pick_days
from gradmap.experiments.progress import Reporter
from gradmap.experiments.runs import RunFolder
from gradmap.experiments.signals import StopRequest
from gradmap.feeders.errors import GradmapError

COUNTED = ("env_gradients", "env_steps", "power_flow_solves")
"""Counters in every row of the metrics."""


@dataclasses.dataclass
class Position:
    """Where a run is.

    Attributes:
        iteration: Iterations made.
        seconds: Training seconds used, over all sessions.
        judged: Iteration of the last judgement, -1 before any.
        best_score: Least score of any judgement; infinite before any.
        best_iteration: Its iteration.
    """

    iteration: int = 0
    seconds: float = 0.0
    judged: int = -1
    best_score: float = math.inf
    best_iteration: int = -1


class Training:
    """A run in training.

    Args:
        folder: Where it is written.
        run: What is trained.
    """

    def __init__(self, folder: RunFolder, run: Assembly) -> None:
        self.folder = folder
        self.run = run
        self.position = Position()
        # A reference optimises the test days and knows no others.
        self.split = "test" if run.spec.is_reference else "validation"
        self._days = pick_days(
            run.core, self.split, None if run.spec.is_reference else run.config.validation.num_days
        )
        self._saved = time.monotonic()

    def restore(self) -> None:
        """Takes up the latest checkpoint, and drops rows written after it.

        Raises:
            GradmapError: If the checkpoint cannot be used.
        """
        path = self.folder.checkpoint("latest")
        # Stopped before its first checkpoint, a run begins again.
        if path.exists():
            meta = load_state(path, self.run)
            kept = meta["position"]
            if kept["best_score"] is None:  # infinity, which JSON cannot hold
                kept["best_score"] = math.inf
            self.position = Position(**kept)
        self.folder.truncate_rows(self.position.iteration if path.exists() else -1)

    def loop(self, stop: StopRequest, reporter: Reporter) -> bool:
        """Trains until the budget is used up or a stop is asked for.

        Args:
            stop: Looked at after every iteration.
            reporter: Where progress is shown.

        Returns:
            Whether the budget was used up.

        Raises:
            GradmapError: If it was, and no policy on the way could be judged.
        """
        position, rule = self.position, self.run.config.validation
        every = rule.reference_every if self.run.spec.is_reference else rule.every
        with Board(self.folder.path / "tensorboard", position.iteration) as board:
            if position.judged < 0:
                self._judge(board, reporter)
            while self.fraction() < 1.0 and not stop.is_set:
                self._iterate(board)
                if position.iteration % every == 0:
                    self._judge(board, reporter)
                reporter.update(position.iteration, position.seconds, self.fraction())
                if time.monotonic() - self._saved > self.run.config.checkpoint_seconds:
                    self._save("latest")
            is_done = self.fraction() >= 1.0
            if is_done and position.judged != position.iteration:
                self._judge(board, reporter)
        self._save("latest")
        if is_done and math.isinf(position.best_score):
            raise GradmapError(
                f"no policy of this run could be judged: on each of the {len(self._days)} "
                f"{self.split} days a power flow had no solution. The devices ask for more than "
                "the feeder can carry: lower task.difficulty, or spread it over more agents "
                "(task.num_agents)"
            )
        return is_done

    def is_finished(self) -> bool:
        """Whether the budget is used up and the last policy judged."""
        position = self.position
        return self.fraction() >= 1.0 and position.judged == position.iteration

    def fraction(self) -> float:
        """Share of the budget used; 1 for a method that does not learn."""
        budget, position = self.run.config.budget, self.position
        if not self.run.spec.needs_training:
            return 1.0
        used = {**vars(self.run.trainer.counters), **vars(position)}
        used["iterations"] = position.iteration
        return budget.share(used)

    def _iterate(self, board: Board) -> None:
        progress = self.fraction()
        started = time.perf_counter()
        metrics = self.run.trainer.iterate(progress)
        if self.run.core.device.type == "cuda":
            torch.cuda.synchronize(self.run.core.device)
        self.position.seconds += time.perf_counter() - started
        self.position.iteration += 1
        self._write(board, "train", {"progress": progress}, metrics)

    def _judge(self, board: Board, reporter: Reporter) -> None:
        """Judges the policy as it stands, and keeps it if it is the best so far."""
        config, position = self.run.config, self.position
        policy = self.run.trainer.policy()
        found = evaluate(self.run.core, policy, self._days, config.evaluation_batch).metrics
        rating = score(self.run, found)
        self._write(board, "validation", {"split": self.split, "score": rating}, found)
        reporter.validated(position.iteration, found)
        position.judged = position.iteration
        if rating < position.best_score:
            position.best_score, position.best_iteration = rating, position.iteration
            self._save("best")

    def _write(
        self, board: Board, kind: str, facts: dict[str, Any], metrics: dict[str, float]
    ) -> None:
        position = self.position
        used = dataclasses.asdict(self.run.trainer.counters)
        row = {
            "kind": kind,
            "iteration": position.iteration,
            "seconds": round(position.seconds, 4),
            **{name: used[name] for name in COUNTED},
            **facts,
            "metrics": metrics,
        }
        self.folder.append_row(row)
        board.add(kind, metrics, position.iteration)

    def _save(self, which: str) -> None:
        kept = dataclasses.asdict(self.position)
        if math.isinf(kept["best_score"]):
            kept["best_score"] = None
        save_state(self.folder.checkpoint(which), self.run, {"position": kept})
        if which == "latest":
            self._saved = time.monotonic()


def score(run: Assembly, metrics: dict[str, float]) -> float:
    """What the best checkpoint has least of; see `gradmap.experiments.config.Selection`.

    Args:
        run: The run.
        metrics: A judgement.

    Returns:
        $ a day; infinite if no day could be judged.
    """
    rule = run.config.selection
    cost = metrics["cost_usd_per_day"]
    if not math.isfinite(cost):
        return math.inf
    if run.spec.ignores_network:
        return cost
    excess = max(0.0, metrics["node_step_violation_pct"] - rule.allowed_pct)
    return cost + rule.price_usd_per_pct * excess

"""Which days are played next: shuffled passes over a split, or the days asked for."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradmap.envs.core import Core
from gradmap.feeders.errors import GradmapError


class DaySampler:
    """Draws batches of training days, spread over the seasons.

    The days, in the order of the calendar, are cut into as many equal seasons
    as a batch has days; a batch takes one of each. It is as fair as drawing
    them all alike, with far less variance: days differ by season most of all.

    Args:
        days: The days in the order of the calendar. `[day]`
        batch: Days in a batch.
        generator: Source of the shuffles, on the CPU.

    Attributes:
        order: Days to come, a shuffled row per season. `[batch, round]`
        position: Columns of `order` that are used up.

    Raises:
        GradmapError: If there are no days.
    """

    def __init__(self, days: Tensor, batch: int, generator: torch.Generator) -> None:
        if not len(days):
            raise GradmapError("there are no training days; give scenarios with a train split")
        self._days = days
        self._generator = generator
        # With fewer days than a batch some come twice; none is ever left out.
        rounds = -(-len(days) // batch)
        edges = torch.arange(batch * rounds) * len(days) // (batch * rounds)
        self._seasons = edges.reshape(batch, rounds)
        self.order = self._seasons
        self.position = rounds

    def draw(self) -> Tensor:
        """Returns the next batch of days. `[batch]`, int64"""
        if self.position >= self._seasons.shape[1]:
            shuffle = torch.rand(self._seasons.shape, generator=self._generator).argsort(1)
            self.order = self._seasons.gather(1, shuffle)
            self.position = 0
        drawn = self.order[:, self.position]
        self.position += 1
        return self._days[drawn.to(self._days.device)]


def season_parts(num_days: int, num_parts: int, generator: torch.Generator) -> list[Tensor]:
    """Cuts a batch into parts at random, each spread over the seasons as the batch is.

    Of every `num_parts` days that follow each other in the batch, each part
    gets one: with fewer seasons in one step than in the next, a learner would
    forget in the one what it learnt in the other.

    Args:
        num_days: Days in the batch, in the order of `DaySampler.draw`.
        num_parts: Parts; no more are made than there are days.
        generator: Source of the shuffles, on the CPU.

    Returns:
        The days of each part, by their place in the batch, int64.
    """
    num_parts = min(num_parts, num_days)
    rounds = -(-num_days // num_parts)
    part = torch.rand(rounds, num_parts, generator=generator).argsort(1).flatten()[:num_days]
    return [(part == k).nonzero().flatten() for k in range(num_parts)]


class Calendar:
    """Chooses the days that an adapter of the environment plays next.

    Adapters that play one day at a time share it, so that the same seed means
    the same days in all of them.

    Args:
        core: The environment.
        batch: Days that are played together, at least 1.
    """

    def __init__(self, core: Core, batch: int) -> None:
        if batch < 1:
            raise GradmapError(f"a batch of {batch} episodes; expected 1 or more")
        self.core = core
        self.batch = batch
        self.seed(None)

    def seed(self, seed: int | None) -> None:
        """Begins anew: no split has been drawn from yet.

        Args:
            seed: Seed of all draws from here on; None takes one at random.
        """
        self._generator = torch.Generator()
        if seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(int(seed))
        self._samplers: dict[str, DaySampler] = {}

    def choose(self, options: dict[str, Any] | None = None) -> Tensor:
        """Returns the next days.

        Args:
            options: `split` (`train` by default) to draw from, each of its
                days once before any comes again; or `day`, an ISO date or an
                index of the scenario set for the whole batch, or a sequence
                with one for every episode, to take just that. Others are not
                looked at: wrappers pass options of their own.

        Returns:
            Index of each day, on the core's device. `[batch]`, int64

        Raises:
            GradmapError: If the split or the day is unknown, the split is
                empty, or there are not as many days as episodes.
        """
        options = options or {}
        split, day = options.get("split", "train"), options.get("day")
        if day is None:
            return self._sampler(split).draw()
        self.core.scenarios.days(split)  # a misspelt split is an error beside a day, too
        days = [day] * self.batch if np.ndim(day) == 0 else list(day)
        if len(days) != self.batch:
            raise GradmapError(
                f"option day names {len(days)} days, expected one for each of {self.batch} "
                "episodes, or a single day for all"
            )
        return torch.tensor([self._index(one) for one in days], device=self.core.device)

    def _sampler(self, split: str) -> DaySampler:
        if split not in self._samplers:
            days = self.core.days(split)
            if not len(days):
                raise GradmapError(f"no days of split {split!r} in these scenarios")
            self._samplers[split] = DaySampler(days, self.batch, self._generator)
        return self._samplers[split]

    def _index(self, day: Any) -> int:
        scenarios = self.core.scenarios
        if isinstance(day, str):
            if day not in scenarios.date:
                first, last = scenarios.date[0], scenarios.date[-1]
                raise GradmapError(f"no day {day!r}; expected an ISO date from {first} to {last}")
            return scenarios.date.index(day)
        try:
            index = operator.index(day)
        except TypeError:
            index = -1
        if not 0 <= index < scenarios.num_days:
            raise GradmapError(
                f"no day {day}; expected an index from 0 to {scenarios.num_days - 1}"
            )
        return index

    def state_dict(self) -> dict[str, Tensor]:
        """Returns what is needed to go on with exactly the same days, on the CPU."""
        state = {"random": self._generator.get_state()}
        for split, sampler in self._samplers.items():
            state[f"{split}.order"] = sampler.order.clone()
            state[f"{split}.position"] = torch.tensor(sampler.position)
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` returned.

        Args:
            state: The state of a calendar of the same days and batch.

        Raises:
            GradmapError: If it is of other days or another batch.
        """
        self.seed(None)
        self._generator.set_state(state["random"].cpu())
        for key in (key for key in state if key.endswith(".order")):
            sampler = self._sampler(key.removesuffix(".order"))
            if state[key].shape != sampler.order.shape:
                raise GradmapError(
                    f"{key} has shape {tuple(state[key].shape)}, expected [batch, round] = "
                    f"{tuple(sampler.order.shape)}; load a state of the same days and batch"
                )
            sampler.order = state[key].cpu().clone()
            sampler.position = int(state[key.replace(".order", ".position")])

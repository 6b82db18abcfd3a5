"""Receding-horizon control: the engineer's answer, central and with a model.

One controller sees what every agent sees, and so the state of every device
(`gradmap.baselines.reading`). Every step it plans all devices to the end of
its horizon as a convex problem, with voltages and loadings linearised around
the AC power flow of its forecast, and carries out the first step.

What it knows beforehand: the network, the devices' parameters, where they are
connected, the tariff of the whole day (published the day before), and the
training days, which its forecasts of load, sun and temperature rest on
(`gradmap.baselines.forecast`). It does not see the day to come. It does see
load and sun of the step that it is about to act in, as every agent does, and
its model is the simulator's own: a plant without error, which flatters it.

The mismatch between the voltages measured and the model's at the step before
is added to the model's as a constant, which makes the control free of offset.
Limits are soft with a high price: a day that cannot be kept within them gets
the plan that breaks them least.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradmap.baselines.dispatch import Dispatch, Horizon, solve_dispatch
from gradmap.baselines.forecast import Forecast, Forecaster
from gradmap.baselines.reading import Reader, device_states
from gradmap.baselines.receding_config import RecedingConfig
from gradmap.baselines.receding_grid import RecedingGrid, next_choice
from gradmap.envs.core import Core
from gradmap.envs.sun import highest_sun_kw

MAX_ROUNDS = 3
"""Rounds of a plan at most: rows that it lacks then are added to the next one."""

ALLOWED_PU = 1e-5
"""What AC power flow may find beyond a limit, p.u. or of a rating, before the plan is
made again."""

LITTLE_PU = 3e-3
"""Up to here what it finds is added to the margin of the next attempt."""


class RecedingHorizon:
    """Plans all devices together at every step; a `Policy`, though no decentralised one.

    Args:
        core: The environment.
        config: Settings.

    Raises:
        GradmapError: If the scenarios have no training days, or reactive power
            is a free choice.
    """

    def __init__(self, core: Core, config: RecedingConfig | None = None) -> None:
        self.config = config or RecedingConfig()
        self._core = core
        self._reader = Reader(core)
        self._forecaster = Forecaster(core.scenarios, core.device)
        self._grid = RecedingGrid(core, self.config.zones)
        self._zones = self._grid.zones
        self._highest_sun_kw = highest_sun_kw(core.scenarios)
        self._tariff = torch.tensor(core.scenarios.tariff_usd_per_kwh, device=core.device)

    def reset(self, days: Tensor) -> None:
        """Begins a batch of days; see `Policy.reset`.

        Of the days only what is published is looked at, date and tariff.
        """
        core = self._core
        self._today = self._tariff[days.to(core.device)]
        self._forecaster.reset(days)
        self._step = 0
        self._midnight: tuple[Tensor, ...] = ()
        self._found: list[Dispatch | None] = [None] * len(days)
        shape = (len(days), core.num_steps, self._zones.num_units)
        self._unit_kw = torch.zeros(shape, dtype=torch.float64)

    @torch.no_grad()
    def act(self, observation: Tensor) -> Tensor:
        """Carries out the plan, a new one where it is due; see `Policy.act`."""
        core, step, now = self._core, self._step, self._reader.read(observation)
        site = (now.base_p_kw, now.pv_kw, now.temp_outdoor_degc)
        forecast = self._forecaster.predict(step, core.num_steps - step, *site)
        if step == 0:
            self._midnight = now.quantity
            self._grid.begin(len(observation))
        else:
            self._grid.compare(now.v_pu)
        states = device_states(core.fleets, now.quantity, self._midnight)
        parts = [self._decide(day, states, forecast) for day in range(len(observation))]
        action, told_kw = (torch.cat(part) for part in zip(*parts, strict=True))
        self._grid.expect(forecast.base_p_kw[:, 0], forecast.pv_kw[:, 0], told_kw)
        self._step += 1
        return action.clamp(-1.0, 1.0)

    def _decide(
        self, day: int, states: tuple[Tensor, ...], forecast: Forecast
    ) -> tuple[Tensor, Tensor]:
        """Plans one day anew if it is due, until AC power flow bears out the step to come.

        Args:
            day: Place of the day in the batch.
            states: State of each fleet. `[batch, device, entry]`
            forecast: The rest of the days.

        Returns:
            Actions, and the power that they ask for. `[1, agent]` each
        """
        own = slice(day, day + 1)
        ours = tuple(state[own] for state in states)
        ahead = Forecast(*(value[own] for value in vars(forecast).values()))
        if self._step % self.config.every:
            return self._share(own, ours, ahead)
        load, sun = ahead.base_p_kw[:, 0], ahead.pv_kw[:, 0]
        told, tighter = self._replan(day, ours, ahead, None, 0.0), 0.0
        best = told, self._grid.excess(own, load, sun, told[1]), self._unit_kw[own].clone()
        excess = best[1]
        for _ in range(self.config.rounds - 1):
            if excess <= ALLOWED_PU:
                break
            # Much is for the new linearisation to mend, a little for a margin.
            tighter += excess if excess <= LITTLE_PU else 0.0
            told = self._replan(day, ours, ahead, told[1], tighter)
            excess = self._grid.excess(own, load, sun, told[1])
            if excess < best[1]:
                best = told, excess, self._unit_kw[own].clone()
        self._unit_kw[own] = best[2]
        return best[0]

    def _replan(
        self,
        day: int,
        states: tuple[Tensor, ...],
        ahead: Forecast,
        told_kw: Tensor | None,
        tighter_pu: float,
    ) -> tuple[Tensor, Tensor]:
        """Makes a plan and shares its first step out."""
        self._plan(day, states, ahead, told_kw, tighter_pu)
        return self._share(slice(day, day + 1), states, ahead)

    def _share(
        self, own: slice, states: tuple[Tensor, ...], ahead: Forecast
    ) -> tuple[Tensor, Tensor]:
        unit_kw = self._unit_kw[own, self._step].to(self._core.device)
        sun = self._sun_pu(ahead.pv_kw[:, 0]) if self._highest_sun_kw else None
        return self._zones.actions(unit_kw, states, ahead.temp_outdoor_degc[:, 0], sun)

    def _sun_pu(self, pv_kw: Tensor) -> Tensor:
        """Sun of the whole feeder, see `Surroundings`, from that of its roofs. `[...]`

        Args:
            pv_kw: Photovoltaic generation. `[..., terminal]`
        """
        return (pv_kw.sum(-1) / self._highest_sun_kw).clamp_max(1.0)

    def _plan(
        self,
        day: int,
        states: tuple[Tensor, ...],
        ahead: Forecast,
        told_kw: Tensor | None,
        tighter_pu: float,
    ) -> None:
        """Plans one day's horizon, linearised around its last plan and what was last told."""
        core, step, own = self._core, self._step, slice(day, day + 1)
        num_steps = min(self.config.horizon, core.num_steps - step)
        when = slice(step, step + num_steps)
        unit_kw, last = self._unit_kw[own, when], self._found[day]
        sites = (ahead.base_p_kw[:, :num_steps], ahead.pv_kw[:, :num_steps])
        hour = core.dt_hours * torch.arange(when.start, when.stop, device=core.device)
        skip = last.p_kw.shape[1] - num_steps if last is not None else 0
        found = solve_dispatch(
            self._zones.fleets,
            self._zones.states(states),
            Horizon(
                tariff_usd_per_kwh=self._today[own, when],
                temp_outdoor_degc=ahead.temp_outdoor_degc[:, :num_steps],
                refill_usd_per_kwh=core.refill_usd_per_kwh,
                dt_hours=core.dt_hours,
                is_day_end=when.stop == core.num_steps,
                hour=hour.unsqueeze(0),
                sun_pu=self._sun_pu(sites[1]) if self._highest_sun_kw else None,
            ),
            self._grid.around(own, *sites, unit_kw, told_kw, tighter_pu),
            margin_pu=self.config.margin_pu,
            choice=None if last is None else next_choice(last, skip, num_steps),
            tolerance=self.config.tolerance,
            max_rounds=MAX_ROUNDS,
        )
        self._found[day] = found
        if bool(found.p_kw.isfinite().all()):  # else the solver broke down: the last plan goes on
            self._unit_kw[own, when] = found.p_kw
            # Beyond the horizon the last step stands in, to linearise around.
            self._unit_kw[own, when.stop :] = found.p_kw[:, -1:]

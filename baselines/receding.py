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
from gradmap.baselines.zones import Zones
from gradmap.envs.core import Core


class RecedingHorizon:
    """Plans all devices together at every step; a `Policy`, though no decentralised one.

    Args:
        core: The environment.
        config: Settings.

    Raises:
        GradmapError: If the scenarios have no training days.
    """

    def __init__(self, core: Core, config: RecedingConfig | None = None) -> None:
        self.config = config or RecedingConfig()
        self._core = core
        self._reader = Reader(core)
        self._forecaster = Forecaster(core.scenarios, core.device)
        self._grid = RecedingGrid(core)
        train = core.days("train").cpu().numpy()
        usual = [
            torch.tensor(getattr(core.scenarios, name)[train].mean((0, 1)))
            for name in ("base_p_kw", "pv_kw")
        ]
        self._zones = Zones(core, self._grid.slopes(*usual), self.config.zones)
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
        self._found: Dispatch | None = None
        self._unit_kw = torch.zeros(
            len(days), core.num_steps, self._zones.num_units, dtype=torch.float64
        )

    @torch.no_grad()
    def act(self, observation: Tensor) -> Tensor:
        """Carries out the plan, a new one where it is due; see `Policy.act`."""
        core, step, now = self._core, self._step, self._reader.read(observation)
        site = (now.base_p_kw, now.pv_kw, now.temp_outdoor_degc)
        forecast = self._forecaster.predict(step, core.num_steps - step, *site)
        if step == 0:
            self._midnight = now.quantity
            self._grid.begin(forecast.base_p_kw, forecast.pv_kw)
        else:
            self._grid.compare(now.v_pu)
        states = device_states(core.fleets, now.quantity, self._midnight)
        if step % self.config.every == 0:
            for _ in range(self.config.rounds if step == 0 else 1):
                self._plan(states, forecast)
        unit_kw = self._unit_kw[:, step].to(core.device)
        action, told_kw = self._zones.actions(unit_kw, states, now.temp_outdoor_degc)
        self._grid.expect(forecast.base_p_kw[:, 0], forecast.pv_kw[:, 0], told_kw)
        self._step += 1
        return action.clamp(-1.0, 1.0)

    def _plan(self, states: tuple[Tensor, ...], forecast: Forecast) -> None:
        """Plans the horizon, linearised around the last plan for it."""
        core, step = self._core, self._step
        num_steps = min(self.config.horizon, core.num_steps - step)
        ahead = slice(step, step + num_steps)
        sites = (forecast.base_p_kw[:, :num_steps], forecast.pv_kw[:, :num_steps])
        skip = self.config.every if step else 0
        found = solve_dispatch(
            self._zones.fleets,
            self._zones.states(states),
            Horizon(
                tariff_usd_per_kwh=self._today[:, ahead],
                temp_outdoor_degc=forecast.temp_outdoor_degc[:, :num_steps],
                refill_usd_per_kwh=core.refill_usd_per_kwh,
                dt_hours=core.dt_hours,
                is_day_end=ahead.stop == core.num_steps,
            ),
            self._grid.around(self._zones, step, *sites, self._unit_kw[:, ahead]),
            margin_pu=self.config.margin_pu,
            choice=None if self._found is None else next_choice(self._found, skip, num_steps),
            tolerance=self.config.tolerance,
        )
        # A day on which the solver broke down keeps its last plan.
        is_good = found.p_kw.isfinite().all(-1).all(-1)[:, None, None]
        self._unit_kw[:, ahead] = torch.where(is_good, found.p_kw, self._unit_kw[:, ahead])
        # Beyond the horizon the last step stands in, to linearise around.
        self._unit_kw[:, ahead.stop :] = self._unit_kw[:, ahead.stop - 1 : ahead.stop]
        self._found = found

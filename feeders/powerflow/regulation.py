"""Regulators and capacitors that follow their controls, quasi-static, for a whole batch.

The rule is that of OpenDSS's static control mode. From the positions that the
step before left behind, sweeps follow one another:

1. solve the power flow;
2. every control measures, and says whether it wants to move: a regulator if its
   voltage, corrected for the line's drop, is more than half the band from the
   set point, a capacitor if what it looks at is past its setting;
3. of those that want to, the ones with the shortest delay move, all at once: a
   regulator 70 % of the positions that would bring it back to the set point,
   rounded down, at least one and at most its `max_change`; a capacitor closes
   or opens;

until no control wants to move, or `MAX_SWEEPS` times. Nothing is random, no
scenario waits for another, and scenarios in which nothing moves any more are
not solved again. It knows no time but the order of the delays: a step is taken
to be long beside them, and dead times to have passed.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from gradmap.feeders.errors import raise_faults
from gradmap.feeders.powerflow.capacitor_rule import CapacitorRule
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.regulator_rule import RegulatorRule
from gradmap.feeders.powerflow.solve import PowerFlow, solve_power_flow
from gradmap.feeders.powerflow.taps_given import tapped_maps

MAX_SWEEPS = 15
"""Sweeps of a step at most, as many as OpenDSS's `MaxControlIter`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Settled:
    """Where the controls of a batch have come to rest.

    Attributes:
        flow: The power flow there, without a gradient. `[...]`
        taps: Tap positions, `[..., regulator]`, int64.
        capacitors: What is on, `[..., capacitor]`, bool.
        tap_operations: Positions that each regulator has moved by, up and down
            added up, `[..., regulator]`, int64.
        capacitor_operations: Times that each capacitor was switched,
            `[..., capacitor]`, int64.
        sweeps: Sweeps in which something moved. `[...]`
        is_settled: False where controls still wanted to move at the end, or
            the power flow has no solution. `[...]`, bool
    """

    flow: PowerFlow
    taps: Tensor
    capacitors: Tensor
    tap_operations: Tensor
    capacitor_operations: Tensor
    sweeps: Tensor
    is_settled: Tensor


class Regulation:
    """The controls of a network.

    Args:
        network: The network.

    Attributes:
        network: The same.
        held: Why a control is not followed, by name of the regulator or as
            the reader says it.

    Raises:
        GradmapError: If nothing in it can move.
    """

    def __init__(self, network: Network) -> None:
        tapped_maps(network, torch.Size(()), self._start_taps(network), None)  # refuses
        self.network = network
        self._regulators = RegulatorRule(network)
        self._capacitors = CapacitorRule(network)
        controls = network.feeder.controls
        names = zip(network.feeder.regulators.control, controls.regulator.held, strict=False)
        self.held = tuple(f"regcontrol.{name}: {why}" for name, why in names if why)
        self.held += controls.held

    @staticmethod
    def _start_taps(network: Network) -> Tensor:
        return torch.from_numpy(network.feeder.regulators.tap.copy()).to(network.device)

    @property
    def start_taps(self) -> Tensor:
        """Positions of the feeder, `[regulator]`, int64."""
        return self._start_taps(self.network)

    @property
    def switches_capacitors(self) -> bool:
        """Whether a capacitor has a control that is followed."""
        return self._capacitors.count > 0

    @property
    def start_capacitors(self) -> Tensor:
        """What is on in the feeder, `[capacitor]`, bool."""
        is_on = self.network.feeder.controls.capacitors.is_on
        return torch.from_numpy(is_on.copy()).to(self.network.device)

    @torch.no_grad()
    def settle(
        self,
        p_kw: Tensor,
        q_kvar: Tensor,
        taps: Tensor | None = None,
        capacitors: Tensor | None = None,
        *,
        hour: Tensor | None = None,
        max_sweeps: int = MAX_SWEEPS,
        tolerance_pu: float | None = None,
    ) -> Settled:
        """Lets the controls act until nothing moves.

        Args:
            p_kw: Active power drawn at each terminal, `[..., terminal]`, kW.
            q_kvar: Reactive power drawn, same shape, kvar.
            taps: Positions to start from, `[..., regulator]`, or `[regulator]`
                for all; those of the feeder by default.
            capacitors: What is on at the start, `[..., capacitor]`, or
                `[capacitor]`; as the feeder has it by default.
            hour: Hour of the day, `[...]`, 0 to 24; for controls of type time.
            max_sweeps: Limit on sweeps.
            tolerance_pu: Of the power flow; see `solve_power_flow`.

        Returns:
            Positions, power flow and operations.

        Raises:
            GradmapError: If something does not fit, or a control needs the hour.
        """
        lead = p_kw.shape[:-1]
        if hour is None and self._capacitors.needs_hour:
            raise_faults("regulation", ["a capacitor's control goes by time: give the hour"])
        p, q = (x.reshape(-1, x.shape[-1]) for x in (p_kw, q_kvar))
        flat_hour = p.new_zeros(len(p)) if hour is None else hour.expand(lead).reshape(-1)
        run = _Run(self, p, q, flat_hour, tolerance_pu)
        start = self.start_taps if taps is None else taps
        is_on = self.start_capacitors if capacitors is None else capacitors
        run.has_capacitors |= capacitors is not None
        run.begin(start.expand(*lead, -1), is_on.expand(*lead, -1))
        for _ in range(max_sweeps):
            if not run.sweep():
                break
        return run.settled(lead)

    def relay_v(self, flow: PowerFlow) -> Tensor:
        """What the relay of each regulator reads, corrected for the line's drop.

        Args:
            flow: A solution with taps given, such as `Settled.flow`. `[...]`

        Returns:
            V on the control's scale. `[..., regulator]`
        """
        found = self._regulators.measure(flow)[1]
        return found.reshape((*flow.converged.shape, found.shape[-1]))

    def moves(self, flow: PowerFlow, hour: Tensor) -> tuple[Tensor, Tensor]:
        """One look of all controls at a batch `[batch]`, at its own taps.

        Args:
            flow: The power flow, solved with taps given.
            hour: Hour of the day. `[batch]`

        Returns:
            Positions that each regulator moves by, `[batch, regulator]`, and
            whether each capacitor switches, `[batch, capacitor]`.
        """
        steps, delay = self._regulators.wish(flow)
        switches, other = self._capacitors.wish(flow, hour)
        soonest = torch.cat((delay, other), dim=1).amin(1, keepdim=True)
        return steps * (delay <= soonest), switches & (other <= soonest)


class _Run:
    """One settling of a flat batch."""

    def __init__(
        self, rule: Regulation, p: Tensor, q: Tensor, hour: Tensor, tolerance_pu: float | None
    ) -> None:
        self.rule, self.p, self.q, self.hour, self.tolerance = rule, p, q, hour, tolerance_pu
        self.has_capacitors = rule.switches_capacitors
        r = rule.network.feeder.regulators
        self.low, self.high = (
            torch.from_numpy(limit.copy()).to(p.device) for limit in (r.tap_min, r.tap_max)
        )

    def begin(self, taps: Tensor, capacitors: Tensor) -> None:
        """Solves all scenarios at the positions that they start from."""
        count = len(self.p)
        self.taps = taps.reshape(count, taps.shape[-1]).clone()
        self.capacitors = capacitors.reshape(count, capacitors.shape[-1]).clone()
        self.tap_operations = torch.zeros_like(self.taps)
        self.switchings = torch.zeros_like(self.capacitors, dtype=torch.int64)
        self.left = torch.arange(count, device=self.p.device)
        self.flow = self.looked_at = self._solve(self.left)
        self.sweeps = torch.zeros_like(self.left)

    def _solve(self, rows: Tensor) -> PowerFlow:
        return solve_power_flow(
            self.rule.network,
            self.p[rows],
            self.q[rows],
            tolerance_pu=self.tolerance,
            taps=self.taps[rows],
            capacitors=self.capacitors[rows] if self.has_capacitors else None,
        )

    def sweep(self) -> bool:
        """Moves what wants to move, and says whether there was any."""
        steps, switches = self.rule.moves(self.looked_at, self.hour[self.left])
        is_moving = (steps != 0).any(1) | switches.any(1)
        rows = is_moving.nonzero().flatten()
        self.left = self.left[rows]
        if not len(rows):
            return False
        before = self.taps[self.left]
        after = torch.clamp(before + steps[rows], self.low, self.high)
        self.taps[self.left] = after
        self.tap_operations[self.left] += (after - before).abs()
        self.capacitors[self.left] ^= switches[rows]
        self.switchings[self.left] += switches[rows]
        self.sweeps[self.left] += 1
        self.looked_at = self._solve(self.left)
        self.flow = _replaced(self.flow, self.left, self.looked_at)
        return True

    def settled(self, lead: torch.Size) -> Settled:
        """Puts the result together."""
        is_settled = self.flow.converged.clone()
        if len(self.left):
            steps, switches = self.rule.moves(self.looked_at, self.hour[self.left])
            is_settled[self.left] &= ~((steps != 0).any(1) | switches.any(1))
        flow = dataclasses.replace(
            self.flow,
            converged=self.flow.converged.reshape(lead),
            iterations=self.flow.iterations.reshape(lead),
            residual=self.flow.residual.reshape(lead),
        )

        def shaped(flat: Tensor) -> Tensor:
            return flat.reshape((*lead, *flat.shape[1:]))

        return Settled(
            flow=flow,
            taps=shaped(self.taps),
            capacitors=shaped(self.capacitors),
            tap_operations=shaped(self.tap_operations),
            capacitor_operations=shaped(self.switchings),
            sweeps=shaped(self.sweeps),
            is_settled=shaped(is_settled),
        )


def _replaced(flow: PowerFlow, rows: Tensor, part: PowerFlow) -> PowerFlow:
    """The flow with some of its scenarios solved anew."""
    assert flow.tapped is not None
    assert part.tapped is not None
    names = ("converged", "iterations", "residual", "u", "j")
    changed = {n: getattr(flow, n).index_copy(0, rows, getattr(part, n)) for n in names}
    tapped = flow.tapped.replaced(rows, part.tapped)
    return PowerFlow(network=flow.network, tapped=tapped, **changed)

"""Taps over a day, side by side: our rule and OpenDSS's own control.

    python -m gradmap.experiments.regulation_day ieee123 ieee34 --out results/regulation

Both begin at the feeder's taps and settle one step after the other on the same
base load and sun. The table says for each regulator where its taps went and in
how many steps the two differ; a CSV file holds every step. A difference is
explained by the rule if, in the step where the two part, a relay reads within
`EDGE_V` of where its decision changes (an edge of the band, or the rounding to
a position): then the two power flows, alike to their tolerances, decide
differently. What follows from it until they agree again is counted with it.
"""

from __future__ import annotations

import csv
import dataclasses
import pathlib
from typing import Annotated

import numpy as np
import torch
import tyro
from rich.table import Table
from torch import Tensor

from gradmap.envs.scenarios.build import build_scenarios
from gradmap.envs.scenarios.config import ScenarioConfig
from gradmap.experiments.terminal import console
from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.dss_control_day import control_day
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import BoolArray, Feeder, FloatArray, IntArray
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.regulation import Regulation

EDGE_V = 1e-2
"""Distance from a change of decision, V on the 120 V scale, that two power flows
may be apart on: OpenDSS's default tolerance of 1e-4 p.u. is 0.012 V."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Taps over a day by our rule and by OpenDSS's own control.

    Attributes:
        feeders: Names in the catalog, or paths of circuits' master files.
        date: The day, ISO.
        scale: Base load at its peak over the rated load.
        sun: Peak of photovoltaics over the rated load.
        tolerance: OpenDSS's tolerance, p.u.; its own default is 1e-4.
        out: Folder for a CSV file for each feeder; none to print alone.
    """

    feeders: Annotated[tuple[str, ...], tyro.conf.Positional] = ("ieee123", "ieee34")
    date: str = "2016-01-06"
    scale: float = 1.25
    sun: float = 0.5
    tolerance: float = 1e-10
    out: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class SideBySide:
    """A day under both.

    Attributes:
        feeder: The feeder.
        ours: Positions after each step by our rule. `[time, regulator]`
        theirs: Those of OpenDSS. `[time, regulator]`
        relay_v: Voltage of each relay in our solution, corrected for the
            line's drop, on the control's scale. `[time, regulator]`
        v_gap_pu: Largest difference of a node voltage. `[time]`
        explained: Whether a difference follows from a decision on an edge.
            `[time, regulator]`
        operations: Positions that each regulator moved by. `[time, regulator]`
    """

    feeder: Feeder
    ours: IntArray
    theirs: IntArray
    relay_v: FloatArray
    v_gap_pu: FloatArray
    explained: BoolArray
    operations: IntArray

    @property
    def num_different(self) -> int:
        """Regulator-steps at different positions."""
        return int((self.ours != self.theirs).sum())


def day_powers(
    feeder: Feeder, date: str, scale: float = 1.25, sun: float = 0.5
) -> tuple[FloatArray, FloatArray]:
    """Net load of a day at every terminal, kW and kvar. `[time, terminal]` each

    Args:
        feeder: The feeder.
        date: The day, ISO.
        scale: Base load at its peak over the rated load.
        sun: Peak of photovoltaics over the rated load.

    Raises:
        GradmapError: If there is no such day.
    """
    days = build_scenarios(feeder, ScenarioConfig(base_load_scale=scale, pv_penetration=sun))
    if date not in days.date:
        raise GradmapError(f"no day {date}: expected one of {days.date[0]} to {days.date[-1]}")
    day = list(days.date).index(date)
    p_kw = days.base_p_kw[day].astype(np.float64) - days.pv_kw[day]
    return p_kw, days.base_q_kvar[day].astype(np.float64)


def side_by_side(
    feeder: Feeder, p_kw: FloatArray, q_kvar: FloatArray, tolerance_pu: float = 1e-10
) -> SideBySide:
    """Runs a day by our rule and by OpenDSS's own control.

    Args:
        feeder: The feeder, at the taps to begin from.
        p_kw: Active power drawn at each terminal. `[time, terminal]`
        q_kvar: Reactive power drawn. `[time, terminal]`
        tolerance_pu: OpenDSS's tolerance on a step in voltage; ours is 1e-10.

    Raises:
        GradmapError: If a step has no solution or does not settle.
    """
    theirs = control_day(feeder, p_kw, q_kvar, tolerance_pu=tolerance_pu)
    rule = Regulation(Network.from_feeder(feeder))
    taps, capacitors = rule.start_taps, rule.start_capacitors
    rows, is_edge, is_apart = [], np.zeros(len(p_kw), np.bool_), False
    for step in range(len(p_kw)):
        powers = torch.from_numpy(p_kw[step]), torch.from_numpy(q_kvar[step])
        found = rule.settle(*powers, taps, capacitors, tolerance_pu=1e-10)
        if not bool(found.is_settled) or not theirs.is_settled[step]:
            raise GradmapError(f"feeder {feeder.name}: step {step} does not settle")
        differs = bool((found.taps.numpy() != theirs.taps[step]).any())
        if differs and not is_apart:
            is_edge[step] = _edge_v(rule, powers, taps, capacitors) < EDGE_V
        is_apart = differs
        taps, capacitors = found.taps, found.capacitors
        gap = np.abs(found.flow.v_pu.numpy() - theirs.v_pu[step]).max()
        relay_v, moved = rule.relay_v(found.flow).numpy(), found.tap_operations.numpy()
        rows.append((taps.numpy(), relay_v, gap, moved))
    ours, relay_v, gaps, operations = (np.array(part) for part in zip(*rows, strict=True))
    explained = _explained(ours != theirs.taps, is_edge)
    return SideBySide(feeder, ours, theirs.taps, relay_v, gaps, explained, operations)


def _edge_v(
    rule: Regulation, powers: tuple[Tensor, Tensor], taps: Tensor, capacitors: Tensor
) -> float:
    """How near to another decision any relay comes in the sweeps of a step, V."""
    r = rule.network.feeder.regulators
    volt_per_tap = r.tap_step_pu * rule.network.feeder.controls.regulator.winding_v / r.pt_ratio
    nearest, sweeps = np.inf, 0
    while True:
        found = rule.settle(*powers, taps, capacitors, max_sweeps=sweeps, tolerance_pu=1e-10)
        miss = np.abs(rule.relay_v(found.flow).numpy() - r.vreg_v)
        of_band = np.abs(miss - 0.5 * r.band_v)
        positions = miss / volt_per_tap
        of_rounding = np.abs(positions - np.floor(positions) - 0.5) * volt_per_tap
        nearest = min(
            nearest, of_band.min(), of_rounding[miss > 0.5 * r.band_v].min(initial=np.inf)
        )
        if bool(found.is_settled):
            return float(nearest)
        sweeps += 1


def _explained(differs: BoolArray, is_edge: BoolArray) -> BoolArray:
    """Follows each spell of differences back to the step in which it began.

    Args:
        differs: `[time, regulator]`
        is_edge: Whether a spell that began in the step began on an edge. `[time]`
    """
    found = np.zeros_like(differs)
    for step in range(len(differs)):
        goes_on = step > 0 and differs[step - 1].any()
        is_explained = found[step - 1].any() if goes_on else is_edge[step]
        found[step] = differs[step] & is_explained
    return found


def table_of(day: SideBySide) -> Table:
    """A row for each regulator.

    Args:
        day: The day.
    """
    table = Table(title=f"{day.feeder.name}: {len(day.ours)} steps", title_justify="left")
    columns = ("regulator", "ours, lowest to highest", "OpenDSS", "positions moved")
    for name in (*columns, "steps at other positions", "of these explained"):
        table.add_column(name, justify="left" if name == "regulator" else "right")
    differs = day.ours != day.theirs
    for k, name in enumerate(day.feeder.regulators.control):
        spans = (f"{part[:, k].min()} to {part[:, k].max()}" for part in (day.ours, day.theirs))
        counts = (day.operations[:, k], differs[:, k], day.explained[:, k])
        table.add_row(name, *spans, *(str(int(part.sum())) for part in counts))
    return table


def write_day(day: SideBySide, path: pathlib.Path) -> None:
    """Writes every step and regulator as CSV.

    Args:
        day: The day.
        path: The file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "regulator", "tap", "opendss_tap", "relay_v", "explained"])
        for step, k in np.ndindex(day.ours.shape):
            differs = day.ours[step, k] != day.theirs[step, k]
            writer.writerow(
                [
                    step,
                    day.feeder.regulators.control[k],
                    day.ours[step, k],
                    day.theirs[step, k],
                    f"{day.relay_v[step, k]:.4f}",
                    bool(day.explained[step, k]) if differs else "",
                ]
            )


def main() -> None:
    """Prints the table of each feeder, and writes its steps."""
    options = tyro.cli(Options, description=__doc__)
    for name in options.feeders:
        feeder = load_feeder(name)
        powers = day_powers(feeder, options.date, options.scale, options.sun)
        day = side_by_side(feeder, *powers, tolerance_pu=options.tolerance)
        console().print(table_of(day))
        console().print(
            f"{day.num_different} of {day.ours.size} regulator-steps differ, "
            f"{int(day.explained.sum())} of them explained; voltages agree to "
            f"{day.v_gap_pu.max():.1e} p.u."
        )
        if options.out is not None:
            write_day(day, options.out / f"{feeder.name}-{options.date}.csv")


if __name__ == "__main__":
    main()

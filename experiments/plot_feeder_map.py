"""A feeder on one page: its plan beside its voltages against distance."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradmap.experiments.plot_feeder_layout import Layout, lay_out
from gradmap.experiments.plot_style import LIMIT, save, styled
from gradmap.feeders.circuit_facts import CircuitFacts, distances_km, read_facts
from gradmap.feeders.describe import solve_nominal
from gradmap.feeders.dss_replay import ReplaySolution
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.feeder_warnings import loading
from gradmap.feeders.model import Feeder

_PHASES = {1: "#0072B2", 2: "#E69F00", 3: "#009E73"}
_BAND_PU = (0.95, 1.05)
_FloatArray = npt.NDArray[np.float64]


def plot_feeder(feeder: Feeder, path: pathlib.Path) -> pathlib.Path:
    """Draws a feeder at its nominal load, as OpenDSS solves it.

    Left its plan, lines coloured by loading and buses by voltage; right every
    voltage against the distance from the source, one curve a phase.

    Args:
        feeder: The feeder.
        path: The file; its suffix says the format.

    Returns:
        The file.

    Raises:
        GradmapError: If the circuit cannot be compiled again or has no
            solution at the nominal load.
    """
    facts, solution = read_facts(feeder), solve_nominal(feeder)
    if not solution.converged:
        raise GradmapError(
            f"{feeder.name} has no solution at its nominal load: there is nothing to draw; "
            "less load or other taps may help"
        )
    with styled():
        figure = Figure(figsize=(14.5, 6.6), layout="constrained")
        plan, profile = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
        _draw_plan(figure, plan, feeder, facts, solution)
        _draw_profile(profile, feeder, facts, solution)
        title = figure.suptitle(_title(feeder), x=0.01, ha="left", fontweight="bold")
        title.set_parse_math(False)
        return save(figure, path)


def _title(feeder: Feeder) -> str:
    load_kw = float(feeder.terminals.p_kw.sum())
    return (
        f"{feeder.name}: {len(feeder.bus_names):,} buses, {feeder.num_nodes:,} nodes, "
        f"{load_kw:,.0f} kW at the nominal load"
    )


def _draw_plan(
    figure: Figure, axis: Axes, feeder: Feeder, facts: CircuitFacts, solution: ReplaySolution
) -> None:
    """Lines by loading, buses by the voltage that is farthest from 1 p.u."""
    layout = lay_out(feeder, facts)
    used = dict(zip(feeder.branches.name, loading(feeder, solution), strict=True))
    colours, scale = _loading_colours()
    links = [link for link in facts.links if {link.one, link.other} <= layout.place.keys()]
    values = np.array([used.get(link.element, np.nan) for link in links])
    collection = LineCollection(
        [(layout.place[link.one], layout.place[link.other]) for link in links],
        colors=colours(scale(np.ma.masked_invalid(values))),
        linewidths=np.where(np.nan_to_num(values) > 1.0, 3.0, 1.8),
        zorder=1,
    )
    axis.add_collection(collection)
    mapped = ScalarMappable(norm=scale, cmap=colours)
    figure.colorbar(
        mapped, ax=axis, label="line: current over rating, %", extend="max",
        location="bottom", shrink=0.8, pad=0.01, aspect=40, format=lambda x, _: f"{100 * x:.0f}",
    )  # fmt: skip
    _draw_buses(figure, axis, feeder, layout, solution)
    _mark(axis, feeder, layout)
    axis.set_title("plan" if layout.is_plan else "tree: no coordinates, so only neighbours count")
    if layout.is_plan:
        axis.set_aspect("equal", adjustable="datalim")
    axis.margins(0.04)
    axis.set_axis_off()


def _draw_buses(
    figure: Figure, axis: Axes, feeder: Feeder, layout: Layout, solution: ReplaySolution
) -> None:
    worst = _farthest_from_one(feeder, solution)
    buses = [bus for bus in worst if bus in layout.place]
    v_pu = np.array([worst[bus] for bus in buses])
    reach = max(0.05, float(np.abs(v_pu - 1.0).max(initial=0.0)))
    order = np.argsort(np.abs(v_pu - 1.0))  # the farthest on top
    x, y = np.array([layout.place[buses[i]] for i in order]).T
    dots = axis.scatter(
        x, y, c=v_pu[order], cmap="RdYlBu_r", norm=Normalize(1.0 - reach, 1.0 + reach),
        s=float(np.clip(6000.0 / len(buses), 2.5, 46.0)), zorder=2,
    )  # fmt: skip
    dots.set(edgecolor="#606060", linewidth=0.5 if len(buses) < 500 else 0.0)
    figure.colorbar(dots, ax=axis, label="bus: voltage, p.u.", shrink=0.8, pad=0.01)


def _mark(axis: Axes, feeder: Feeder, layout: Layout) -> None:
    """Marks sources and regulators, and says what the marks mean."""
    nodes = zip(feeder.node_bus, feeder.is_source_node, strict=True)
    sources = sorted({bus for bus, is_source in nodes if is_source} & layout.place.keys())
    regulated = sorted(set(feeder.regulators.bus) & layout.place.keys())
    looks: dict[str, tuple[list[str], dict[str, Any]]] = {
        "source": (sources, {"marker": "s", "s": 90, "facecolor": "none"}),
        "behind a regulator": (regulated, {"marker": "o", "s": 150, "facecolor": "none"}),
    }
    for label, (buses, look) in looks.items():
        if buses:
            x, y = np.array([layout.place[bus] for bus in buses]).T
            axis.scatter(x, y, label=label, edgecolor="black", linewidth=1.4, zorder=3, **look)
    _legend_above(axis, axis.get_legend_handles_labels()[0])


def _legend_above(axis: Axes, handles: Sequence[Artist]) -> None:
    """A legend above the axes, where it hides nothing."""
    axis.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 0.99),
        borderaxespad=0.0,
        ncols=len(handles),
        fontsize=9,
        columnspacing=1.2,
    )


def _draw_profile(
    axis: Axes, feeder: Feeder, facts: CircuitFacts, solution: ReplaySolution
) -> None:
    """Voltage magnitude against distance, one curve a phase."""
    km = dict(zip(feeder.bus_names, distances_km(feeder, facts).tolist(), strict=True))
    v_pu = dict(zip(feeder.node_names, np.abs(solution.v_pu).tolist(), strict=True))
    for phase, colour in _PHASES.items():
        pieces = []
        for link in facts.links:
            ends = f"{link.one}.{phase}", f"{link.other}.{phase}"
            if all(end in v_pu for end in ends) and np.isfinite(km[link.one]):
                pieces.append([(km[link.one], v_pu[ends[0]]), (km[link.other], v_pu[ends[1]])])
        axis.add_collection(LineCollection(pieces, colors=colour, linewidths=1.5, alpha=0.85))
    for limit in _BAND_PU:
        axis.axhline(limit, color=LIMIT, linestyle="--", linewidth=1.2, zorder=0)
    axis.autoscale_view()
    low, high = axis.get_ylim()
    axis.set_ylim(min(low, _BAND_PU[0] - 0.005), max(high, _BAND_PU[1] + 0.005))
    axis.set_xlabel("distance from the source along the lines, km")
    if not facts.has_units:
        axis.set_xlabel("distance from the source along the lines, in the circuit's own units")
    axis.set_ylabel("voltage, p.u.")
    handles = [Line2D([], [], color=c, label=f"phase {phase}") for phase, c in _PHASES.items()]
    band = Line2D([], [], color=LIMIT, linestyle="--", label="0.95 and 1.05")
    _legend_above(axis, [*handles, band])


def _farthest_from_one(feeder: Feeder, solution: ReplaySolution) -> dict[str, float]:
    """Of each bus the phase voltage that is farthest from 1 p.u."""
    found: dict[str, float] = {}
    nodes = zip(feeder.node_bus, feeder.node_phase, np.abs(solution.v_pu), strict=True)
    for bus, phase, v in nodes:
        # A neutral is at 0 and no phase.
        if phase in _PHASES and abs(v - 1.0) >= abs(found.get(bus, 1.0) - 1.0):
            found[bus] = float(v)
    return found


def _loading_colours() -> tuple[Colormap, Normalize]:
    """Light grey to black up to the rating, red above, blue-grey where there is none."""
    part = matplotlib.colormaps["Greys"](np.linspace(0.22, 1.0, 256))
    colours = ListedColormap(part, name="loading")
    return colours.with_extremes(over=LIMIT, bad="#9FB4C7"), Normalize(0.0, 1.0)

"""A picture of the feeder, coloured by voltage."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gradmap.envs.core import Core
from gradmap.envs.state import State
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import Feeder


def check_render_mode(render_mode: str | None) -> None:
    """Raises GradmapError unless the mode is `rgb_array` or None."""
    if render_mode not in (None, "rgb_array"):
        raise GradmapError(f"render_mode is {render_mode!r}, expected 'rgb_array' or None")


def draw_state(
    core: Core, state: State, v_pu: Tensor | None, episode: int = 0
) -> npt.NDArray[np.uint8]:
    """Draws one episode of a batch.

    Args:
        core: The environment.
        state: Where it is.
        v_pu: Node voltage magnitudes of the step before, p.u., or None
            before the first. `[batch, node]`
        episode: Which of the batch.

    Returns:
        The picture, uint8. `[height, width, 3]`
    """
    hours, day = state.step * core.dt_hours, int(state.days[episode])
    title = f"{core.scenarios.date[day]} {int(hours):02d}:{int(hours % 1 * 60):02d}"
    limits = (core.limits.vmin_pu, core.limits.vmax_pu)
    v_drawn = None if v_pu is None else v_pu[episode].cpu().numpy()
    return draw_feeder(core.feeder, v_drawn, limits, title)


def draw_feeder(
    feeder: Feeder,
    v_pu: npt.NDArray[Any] | None,
    limits: tuple[float, float],
    title: str,
) -> npt.NDArray[np.uint8]:
    """Draws lines as drawn on the map and every bus by its worst phase.

    Args:
        feeder: The feeder; buses without coordinates are left out.
        v_pu: Node voltage magnitudes, p.u., or None before the first step.
            `[node]`
        limits: Lower and upper voltage limit, p.u.
        title: Text above the picture.

    Returns:
        The picture, uint8. `[height, width, 3]`
    """
    # Imported here: drawing is the one thing that needs matplotlib.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    position = dict(zip(feeder.bus_names, feeder.bus_xy, strict=True))
    ends = zip(feeder.branches.bus_from, feeder.branches.bus_to, strict=True)
    lines = [(position[a], position[b]) for a, b in ends]
    lines = [line for line in lines if np.isfinite(line).all()]
    figure = Figure(figsize=(7.5, 6.0), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.add_collection(LineCollection(lines, colors="0.75", linewidths=1.2, zorder=1))
    middle, half = sum(limits) / 2, (limits[1] - limits[0]) / 2
    worst = np.full(len(feeder.bus_names), np.nan)
    if v_pu is not None:
        index = {bus: i for i, bus in enumerate(feeder.bus_names)}
        for bus, value in zip(feeder.node_bus, v_pu, strict=True):
            i = index[bus]
            if np.isnan(worst[i]) or abs(value - middle) > abs(worst[i] - middle):
                worst[i] = value
    outside = np.abs(worst - middle) > half
    # Matplotlib warns of NaN: only what has a place is drawn, only what has a
    # voltage gets a colour.
    xy = feeder.bus_xy
    placed = np.isfinite(xy).all(-1)
    known = placed & np.isfinite(worst)
    bare = placed & ~known
    axes.scatter(
        xy[bare, 0], xy[bare, 1], s=26, c="white", edgecolors="0.4", linewidths=0.4, zorder=2
    )
    points = axes.scatter(
        xy[known, 0],
        xy[known, 1],
        c=worst[known],
        cmap="RdYlBu",
        vmin=middle - 1.4 * half,
        vmax=middle + 1.4 * half,
        s=np.where(outside, 60, 26)[known],
        edgecolors=["black" if out else "0.4" for out in outside[known]],
        linewidths=[1.4 if out else 0.4 for out in outside[known]],
        zorder=3,
    )
    bar = figure.colorbar(points, ax=axes, shrink=0.8)
    bar.set_label("voltage of the bus's worst phase, p.u.")
    for limit in limits:
        bar.ax.axhline(limit, color="black", linewidth=1.2)
    found = "not solved yet" if v_pu is None else f"{outside.sum()} buses outside the limits"
    axes.set_title(f"{feeder.name}  {title}   {found}")
    axes.set_aspect("equal")
    axes.set_axis_off()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()

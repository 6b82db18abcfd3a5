"""Colours, lines and saving, the same for every plot."""

from __future__ import annotations

import contextlib
import pathlib
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from gradmap.experiments.registry import METHODS
from gradmap.feeders.files import replacing

# Okabe and Ito's palette, which people with any colour vision tell apart, a brown
# in the place of its yellow, which is faint on white, and darker tones beyond it.
COLOURS = {
    "gradmap": "#0072B2",
    "ss-primal-dual": "#D55E00",
    "ss-fixed-penalty": "#E69F00",
    "shac": "#0A5C36",
    "gippo": "#5B3FA0",
    "ippo": "#56B4E9",
    "mappo": "#7A4B1E",
    "selfish": "#CC79A7",
    "idle": "#999999",
    "rules": "#009E73",
    "droop": "#8CBF26",
    "receding-horizon": "#8B0000",
    "perfect-foresight": "#000000",
}
"""Colour of each method."""

MARKERS = {
    "gradmap": "o",
    "ss-primal-dual": "s",
    "ss-fixed-penalty": "D",
    "shac": "h",
    "gippo": "d",
    "ippo": "X",
    "mappo": "p",
    "selfish": "^",
    "idle": "P",
    "rules": "v",
    "droop": "<",
    "receding-horizon": ">",
    "perfect-foresight": "*",
}
"""Marker of each method, so that colour is not all there is to go by."""

LIMIT = "#B22222"
"""Colour of a limit."""

_STYLE: dict[str, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
}


def styled(**more: Any) -> contextlib.AbstractContextManager[None]:
    """Puts our style in force while entered.

    Args:
        more: Settings of matplotlib on top, with `_` for `.` in their names.
    """
    extra = {name.replace("_", "."): value for name, value in more.items()}
    settings: Any = {**_STYLE, **extra}
    return matplotlib.rc_context(settings)


def title(method: str) -> str:
    """Name of a method in a legend."""
    return METHODS[method].title if method in METHODS else method


def save(figure: Figure, path: pathlib.Path) -> pathlib.Path:
    """Writes a figure, whole or not at all.

    Args:
        figure: The figure.
        path: The file; its suffix says the format.

    Returns:
        The file.
    """
    with replacing(path) as aside:
        figure.savefig(aside, bbox_inches="tight", facecolor="white")
    return path

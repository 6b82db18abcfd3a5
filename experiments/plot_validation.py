"""Our voltages against OpenDSS's, and their differences, which no such plot shows."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradmap.experiments.plot_style import LIMIT, save, styled
from gradmap.feeders.validate import CaseVoltages, ValidationReport

_Points = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]

# A difference of nothing has no logarithm; rounding of 1 p.u. lies above this.
_SMALLEST_PU = 1e-16

# Okabe and Ito's, less the yellow, then two darker tones.
_CASES = {
    "nominal": "#000000",
    "light": "#56B4E9",
    "heavy": "#D55E00",
    "reverse": "#009E73",
    "reverse twice": "#0A5C36",
    "random": "#999999",
    "low voltage": "#0072B2",
    "high voltage": "#CC79A7",
}


def voltages_against_opendss(
    reports: Mapping[str, ValidationReport], path: pathlib.Path
) -> pathlib.Path:
    """Draws each feeder's voltages against OpenDSS's, and the differences below.

    Of a case with many power flows each node shows the one where the two
    differ most.

    Args:
        reports: A validation by the feeder's name.
        path: The file.

    Returns:
        The file.
    """
    with styled():
        figure = Figure(figsize=(max(4.2 * len(reports), 7.0), 7.4), layout="constrained")
        axes = figure.subplots(2, len(reports), squeeze=False, height_ratios=(1.2, 1.0))
        for column, (name, report) in enumerate(reports.items()):
            _feeder_panels(axes[0, column], axes[1, column], name, report)
            axes[1, column].sharey(axes[1, 0])
        axes[0, 0].set_ylabel("ours, p.u.")
        axes[1, 0].set_ylabel("difference as phasors, p.u.")
        columns = 9 if len(reports) > 2 else 5
        figure.legend(handles=_legend(reports), loc="outside lower center", ncols=columns)
        return save(figure, path)


def _feeder_panels(top: Axes, bottom: Axes, name: str, report: ValidationReport) -> None:
    points = {case.case: _worst_points(case) for case in report.voltages}
    # The many of the random case lie below the others.
    for case in sorted(points, key=lambda case: case != "random"):
        ours, theirs, error = points[case]
        look: dict[str, Any] = {
            "s": 9,
            "color": _CASES.get(case, "#7A4B1E"),
            "linewidth": 0,
            "alpha": 0.8,
        }
        top.scatter(theirs, ours, **look)
        bottom.scatter(theirs, np.maximum(error, _SMALLEST_PU), **look)
    diagonal = np.array(top.dataLim.intervalx)
    top.plot(diagonal, diagonal, color="#B0B0B0", linewidth=0.8, zorder=0)
    top.set_aspect("equal", adjustable="datalim")
    worst = max((row.max_error_pu for row in report.rows), default=0.0)
    found = f"largest difference {worst:.1e}" if np.isfinite(worst) else "a case without solution"
    top.set_title(f"{name}: {found}").set_parse_math(False)
    bottom.set_yscale("log")
    bottom.axhline(report.tolerance_pu, color=LIMIT, linestyle="--", linewidth=1.4)
    bottom.set_xlabel("OpenDSS, p.u.")


def _worst_points(case: CaseVoltages) -> _Points:
    """Ours, OpenDSS's and their difference at each node, p.u.; of many, the worst."""
    error = np.abs(case.ours_pu - case.opendss_pu)
    solved = np.isfinite(error).all(axis=1)
    error = error[solved]
    if not len(error):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    node = np.arange(error.shape[1])
    worst = error.argmax(axis=0)
    ours, theirs = case.ours_pu[solved][worst, node], case.opendss_pu[solved][worst, node]
    return np.abs(ours), np.abs(theirs), error[worst, node]


def _legend(reports: Mapping[str, ValidationReport]) -> list[Line2D]:
    cases = dict.fromkeys(row.case for report in reports.values() for row in report.rows)
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=5, color=_CASES.get(case), label=case)
        for case in cases
    ]
    return [*handles, Line2D([], [], color=LIMIT, linestyle="--", label="tolerance")]

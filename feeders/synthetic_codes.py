"""Line codes of the synthetic feeders, and which conductor carries what.

The matrices are those of the IEEE PES test feeders (W. H. Kersting, "Radial
distribution test feeders", *IEEE Transactions on Power Systems* 6(3), 1991; as
OpenDSS's public test circuits carry them, EPRI, BSD licence), the ampacities
those of W. H. Kersting, *Distribution System Modeling and Analysis*,
appendices A and B. Of the cables without mutual capacitance the off-diagonal
entries are zero.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from gradmap.feeders.model import ComplexArray

_METRES = {"mi": 1609.344, "kft": 304.8}
# Share of its ampacity that a new conductor is chosen for: what planners leave
# for growth and for picking up a neighbour's load.
_SHARE_USED = 0.65


@dataclasses.dataclass(frozen=True)
class LineCode:
    """Impedances and ampacity of a line.

    Attributes:
        name: Name in OpenDSS.
        what: Conductor or cable, and the test feeder's configuration.
        num_phases: 1 to 3.
        units: What the figures are per: `mi` or `kft`.
        ampacity_a: Of a phase conductor, A.
        r_ohm: Lower triangle as OpenDSS writes it, rows split by `|`.
        x_ohm: The same of the reactance.
        c_nf: The same of the capacitance, nF.
    """

    name: str
    what: str
    num_phases: int
    units: str
    ampacity_a: float
    r_ohm: str
    x_ohm: str
    c_nf: str

    def dss(self) -> str:
        """The lines of OpenDSS that define it."""
        return (
            f"! {self.what}, {self.num_phases} phase{'s' * (self.num_phases > 1)}.\n"
            f"New LineCode.{self.name} NPhases={self.num_phases} Units={self.units} "
            f"NormAmps={self.ampacity_a:g} EmergAmps={self.ampacity_a:g}\n"
            f"~ RMatrix=[{self.r_ohm}]\n~ XMatrix=[{self.x_ohm}]\n~ CMatrix=[{self.c_nf}]\n"
        )

    @functools.cached_property
    def ohm_per_m(self) -> ComplexArray:
        """Series impedance, ohm per metre. `[phase, phase]`"""
        return (_square(self.r_ohm) + 1j * _square(self.x_ohm)) / _METRES[self.units]


def _square(triangle: str) -> ComplexArray:
    """A symmetric matrix from its lower triangle."""
    rows = [[float(entry) for entry in row.split()] for row in triangle.split("|")]
    matrix = np.zeros((len(rows), len(rows)), dtype=np.complex128)
    for i, row in enumerate(rows):
        matrix[i, : i + 1] = matrix[: i + 1, i] = row
    return matrix


OVERHEAD = {
    3: (
        LineCode("oh_2_3ph", "Overhead, #2 6/1 ACSR (IEEE 34, 301)", 3, "kft", 180,
                 "0.365530303 | 0.04407197 0.36282197 | 0.04467803 0.043333333 0.363996212",
                 "0.267329545 | 0.122007576 0.270473485 | 0.107784091 0.099204545 0.269109848",
                 "2.572492163 | -0.72160598 2.464381882 | -0.472329395 -0.298961096 2.368881119"),
        LineCode("oh_1_0_3ph", "Overhead, 1/0 ACSR (IEEE 34, 300)", 3, "kft", 230,
                 "0.253181818 | 0.039791667 0.250719697 | 0.040340909 0.039128788 0.251780303",
                 "0.252708333 | 0.109450758 0.256988636 | 0.094981061 0.086950758 0.255132576",
                 "2.680150309 | -0.769281006 2.5610381 | -0.499507676 -0.312072984 2.455590387"),
        LineCode("oh_336_3ph", "Overhead, 336,400 26/7 ACSR (IEEE 123, 1)", 3, "kft", 530,
                 "0.086666667 | 0.029545455 0.088371212 | 0.02907197 0.029924242 0.087405303",
                 "0.204166667 | 0.095018939 0.198522727 | 0.072897727 0.080227273 0.201723485",
                 "2.851710072 | -0.920293787 3.004631862 | -0.350755566 -0.585011253 2.71134756"),
        LineCode("oh_556_3ph", "Overhead, 556,500 26/7 ACSR (IEEE 13, 601)", 3, "mi", 730,
                 "0.3465 | 0.156 0.3375 | 0.158 0.1535 0.3414",
                 "1.0179 | 0.5017 1.0478 | 0.4236 0.3849 1.0348",
                 "2.8 | -0.6 2.8 | -0.6 -0.6 2.8"),
    ),
    2: (
        LineCode("oh_1_0_2ph", "Overhead, 1/0 ACSR (IEEE 13, 603)", 2, "mi", 230,
                 "1.3238 | 0.2066 1.3294", "1.3569 | 0.4591 1.3471", "2.8 | -0.6 2.8"),
    ),
    1: (
        LineCode("oh_4_1ph", "Overhead, #4 6/1 ACSR (IEEE 34, 302)", 1, "kft", 140,
                 "0.530208", "0.281345", "2.12257"),
        LineCode("oh_2_1ph", "Overhead, #2 6/1 ACSR (IEEE 34, 304)", 1, "kft", 180,
                 "0.363958", "0.269167", "2.1922"),
        LineCode("oh_1_0_1ph", "Overhead, 1/0 ACSR (IEEE 13, 605)", 1, "mi", 230,
                 "1.3292", "1.3475", "2.8"),
    ),
}  # fmt: skip
"""Overhead lines by number of phases, the smallest conductor first."""

UNDERGROUND = {
    3: (
        LineCode("ug_2_3ph", "Underground, #2 AA, concentric neutral (IEEE 37, 724)", 3, "kft", 135,
                 "0.396818182 | 0.098560606 0.399015152 | 0.093295455 0.098560606 0.396818182",
                 "0.146931818 | 0.051856061 0.140113636 | 0.040208333 0.051856061 0.146931818",
                 "30.26701029 | 0 30.26701029 | 0 0 30.26701029"),
        LineCode("ug_2_0_3ph", "Underground, 2/0 AA, concentric neutral (IEEE 37, 723)", 3, "kft",
                 200,
                 "0.245 | 0.092253788 0.246628788 | 0.086837121 0.092253788 0.245",
                 "0.127140152 | 0.039981061 0.119810606 | 0.028806818 0.039981061 0.127140152",
                 "37.5977112 | 0 37.5977112 | 0 0 37.5977112"),
        LineCode("ug_500_3ph", "Underground, 500,000 AA, concentric neutral (IEEE 37, 722)", 3,
                 "kft", 385,
                 "0.089981061 | 0.030852273 0.085 | 0.023371212 0.030852273 0.089981061",
                 "0.056306818 | -0.006174242 0.050719697 | -0.011496212 -0.006174242 0.056306818",
                 "64.2184109 | 0 64.2184109 | 0 0 64.2184109"),
        LineCode("ug_1000_3ph", "Underground, 1,000,000 AA, concentric neutral (IEEE 37, 721)", 3,
                 "kft", 550,
                 "0.055416667 | 0.012746212 0.050113636 | 0.006382576 0.012746212 0.055416667",
                 "0.037367424 | -0.006969697 0.035984848 | -0.007897727 -0.006969697 0.037367424",
                 "80.27484728 | 0 80.27484728 | 0 0 80.27484728"),
    ),
    1: (
        LineCode("ug_1_0_1ph", "Underground, 1/0 AA, tape shield (IEEE 13, 607)", 1, "mi", 165,
                 "1.3425", "0.5124", "236"),
    ),
}  # fmt: skip
"""Cables by number of phases, the smallest first."""

ALL_CODES = tuple(code for codes in (*OVERHEAD.values(), *UNDERGROUND.values()) for code in codes)
"""Every line code, in the order in which a circuit defines them."""


def choose_code(num_phases: int, is_underground: bool, current_a: float) -> LineCode:
    """The smallest conductor that carries a current with room to spare.

    Args:
        num_phases: Phases of the line.
        is_underground: Whether it is to be a cable, if there is one.
        current_a: Largest current of a phase, A.

    Returns:
        The line code; the largest where none has room to spare.
    """
    kind = UNDERGROUND if is_underground and num_phases in UNDERGROUND else OVERHEAD
    codes = kind[num_phases]
    for code in codes:
        if current_a <= _SHARE_USED * code.ampacity_a:
            return code
    return codes[-1]

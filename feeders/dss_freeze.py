"""Elements that a constant current stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradmap.feeders.dss_linear import Element
from gradmap.feeders.model import GROUND, ComplexArray


def freeze(circuit: Any, elements: Sequence[Element], num_nodes: int) -> ComplexArray:
    """Takes elements out of a solved circuit.

    Args:
        circuit: The circuit; the elements are disabled in it.
        elements: The elements.
        num_nodes: Number of nodes.

    Returns:
        The currents that they inject in the solution, A. `[node]`
    """
    injected = np.zeros(num_nodes, dtype=np.complex128)
    for element in elements:
        circuit.SetActiveElement(element.name)
        if element.y_siemens.size:  # a control carries no current
            current = np.asarray(circuit.ActiveCktElement.Currents).view(np.complex128)
            live = element.nodes != GROUND
            np.subtract.at(injected, element.nodes[live], current[live])
    for element in elements:
        circuit.SetActiveElement(element.name)
        circuit.ActiveCktElement.Enabled = False
    return injected

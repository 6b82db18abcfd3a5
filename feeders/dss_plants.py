"""Ratings of an OpenDSS circuit's generators, PV systems and storage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradmap.feeders.dss_linear import Element
from gradmap.feeders.dss_terminals import GENERATOR_KINDS
from gradmap.feeders.plants import Plants

# The fields of `Plants` after the names.
_NUMBERS = (
    *("p_rated_kw", "s_rated_kva", "capacity_kwh", "stored_kwh", "reserve_kwh"),
    *("charge_efficiency", "discharge_efficiency"),
)
_NO_STORAGE = (0.0, 0.0, 0.0, 1.0, 1.0)


def read_plants(circuit: Any, elements: Sequence[Element]) -> Plants:
    """Reads the ratings of generators, PV systems and storage.

    Args:
        circuit: The circuit.
        elements: Those of its elements that are to be read, whatever they are.
    """
    own = [element for element in elements if element.kind in GENERATOR_KINDS]
    rows = [_ratings(circuit, element) for element in own]
    columns = np.array(rows, dtype=np.float64).reshape(len(own), len(_NUMBERS))
    return Plants(
        name=tuple(element.name for element in own),
        kind=tuple(element.kind for element in own),
        **dict(zip(_NUMBERS, np.ascontiguousarray(columns.T), strict=True)),
    )


def _ratings(circuit: Any, element: Element) -> tuple[float, ...]:
    """The numbers of one element, in the order of `_NUMBERS`."""
    circuit.SetActiveElement(element.name)
    properties = circuit.ActiveCktElement.Properties

    def get(name: str) -> float:
        return float(properties(name).Val)

    if element.kind == "generator":
        return (get("kW"), get("kVA"), *_NO_STORAGE)
    if element.kind == "pvsystem":
        return (get("Pmpp") * get("%Pmpp") / 100.0, get("kVA"), *_NO_STORAGE)
    return (get("kWrated") * get("%kWrated") / 100.0, get("kVA"), *_storage(get))


def _storage(get: Callable[[str], float]) -> tuple[float, ...]:
    """What a storage holds, kWh, and its efficiencies."""
    full_kwh = get("kWhrated")
    return (
        full_kwh,
        get("kWhstored"),
        full_kwh * get("%reserve") / 100.0,
        get("%EffCharge") / 100.0,
        get("%EffDischarge") / 100.0,
    )

"""A feeder of a few terminals and a set of a few days."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from gradmap.envs.scenarios.build import build_scenarios
from gradmap.envs.scenarios.model import ScenarioSet
from gradmap.feeders.model import GROUND, Branches, Feeder, Regulators, Terminals


def _terminals(p_kw: np.ndarray, q_kvar: np.ndarray) -> Terminals:
    count = len(p_kw)
    names = tuple(f"s{i}" for i in range(count))
    return Terminals(
        name=names,
        load=names,
        kind=("load",) * count,
        node_from=np.zeros(count, dtype=np.int64),
        node_to=np.full(count, GROUND),
        kv_rated=np.full(count, 2.4),
        model=np.ones(count, dtype=np.int64),
        p_kw=np.asarray(p_kw, dtype=np.float64),
        q_kvar=np.asarray(q_kvar, dtype=np.float64),
        vmin_pu=np.full(count, 0.95),
        vmax_pu=np.full(count, 1.05),
        vlow_pu=np.full(count, 0.5),
        cvr_p=np.ones(count),
        cvr_q=np.full(count, 2.0),
        zipv=np.zeros((count, 7)),
        is_delta=np.zeros(count, dtype=np.bool_),
    )


def _empty(kind: type, **given: Any) -> Any:
    """A record whose other fields hold nothing."""
    fields = kind.__dataclass_fields__
    blank = {name: () if "tuple" in field.type else np.zeros(0) for name, field in fields.items()}
    return kind(**{**blank, **given})


@pytest.fixture(scope="session")
def make_feeder() -> Callable[..., Feeder]:
    """Makes a one-node feeder with the given ratings."""

    def make(p_kw: Any, q_kvar: Any) -> Feeder:
        return _empty(
            Feeder,
            name="tiny",
            node_names=("a.1",),
            y_siemens=sp.csc_matrix((1, 1)),
            terminals=_terminals(np.asarray(p_kw), np.asarray(q_kvar)),
            branches=_empty(Branches),
            regulators=_empty(Regulators),
        )

    return make


@pytest.fixture(scope="session")
def feeder(make_feeder: Callable[..., Feeder]) -> Feeder:
    p_kw = np.tile([20.0, 40.0], 10)
    return make_feeder(p_kw, 0.5 * p_kw)


@pytest.fixture(scope="session")
def scenarios(feeder: Feeder) -> ScenarioSet:
    return build_scenarios(feeder)


@pytest.fixture
def small() -> dict[str, Any]:
    """Fields of a valid set: 3 days, 4 steps, 2 terminals."""
    shape = (3, 4, 2)
    return {
        "date": ("2016-01-01", "2016-01-02", "2016-01-04"),
        "split": ("train", "test", "train"),
        "base_p_kw": np.arange(24.0).reshape(shape),
        "base_q_kvar": np.ones(shape),
        "pv_kw": np.zeros(shape),
        "temp_outdoor_degc": np.full(shape[:2], 5.0),
        "tariff_usd_per_kwh": np.full(shape[:2], 0.2),
        "dt_hours": 6.0,
        "terminal_names": ("s1", "s2"),
    }

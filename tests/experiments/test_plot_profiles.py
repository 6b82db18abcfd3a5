"""Figures that compare runs day by day, on a comparison that is made up."""

from __future__ import annotations

import pathlib
import types

import pytest

from gradmap.experiments.config import CompareConfig
from gradmap.experiments.config_load import RunKey
from gradmap.experiments.plot_profiles import improvement_bars, performance_profiles
from gradmap.experiments.plot_stress import stress_figure
from gradmap.experiments.results import Results, load_results

TASK = "ieee123-mixed-v1"
COSTS = {"gradmap": -90.0, "ippo": 40.0, "idle": 9000.0, "perfect-foresight": -100.0}


def results(tmp_path: pathlib.Path, fake: types.ModuleType, **given: object) -> Results:
    config = CompareConfig.model_validate(
        {"methods": tuple(COSTS), "seeds": (0, 1), "splits": ("test", "cold-snap"), **given}
    )

    def found(key: RunKey, share: float) -> dict[str, float]:
        return fake.metrics(COSTS[key.method] + key.seed, 0.5 * key.seed)  # type: ignore[no-any-return]

    return load_results(fake.make(tmp_path / "out", config, found))


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_figures_are_drawn(
    tmp_path: pathlib.Path, fake_comparison: types.ModuleType, seeds: tuple[int, ...]
) -> None:
    found = results(tmp_path, fake_comparison, seeds=seeds)
    for draw in (performance_profiles, improvement_bars, stress_figure):
        file = draw(found, TASK, tmp_path / f"{draw.__name__}.png")  # type: ignore[operator]
        assert file.stat().st_size > 10_000


def test_a_stress_alone_is_drawn_without_its_base(
    tmp_path: pathlib.Path, fake_comparison: types.ModuleType
) -> None:
    found = results(
        tmp_path, fake_comparison, methods=("gradmap", "idle"), splits=("cold-snap", "offline")
    )
    assert stress_figure(found, TASK, tmp_path / "stress.png").stat().st_size > 10_000
    profile = performance_profiles(found, TASK, tmp_path / "profiles.png", "cold-snap")
    assert profile.stat().st_size > 10_000

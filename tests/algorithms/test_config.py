"""Settings of the learners: all faults at once, in one line."""

from __future__ import annotations

import dataclasses

import pytest

from gradmap.algorithms.config import LearnerConfig, PriceConfig
from gradmap.feeders.errors import GradmapError


def test_the_defaults_are_valid_and_frozen():
    config = LearnerConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.hidden = (1,)
    assert config == LearnerConfig(price=PriceConfig())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("days_per_batch", 0),
        ("reuse_passes", 0),
        ("minibatches", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate_final", -0.1),
        ("learning_rate_final", 1.5),
        ("adam_beta2", 1.0),
        ("trust_region", -0.05),
        ("hidden", ()),
        ("hidden", (32, 0)),
        ("proximal", "trust"),
        ("projection_usd_per_kwh", -1.0),
    ],
)
def test_a_setting_out_of_range_is_named(field, value):
    with pytest.raises(GradmapError, match=f"{field} is .*, expected"):
        LearnerConfig(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "triple"),
        ("voltage_usd_per_pu", -1.0),
        ("overload_usd", float("nan")),
        ("dual_step", -3.0),
        ("dual_decay", 1.0),
        ("dual_decay", -0.1),
        ("dual_max", -1.0),
        ("tolerance_pu", -0.1),
        ("margin_pu", -0.1),
    ],
)
def test_a_price_out_of_range_is_named(field, value):
    with pytest.raises(GradmapError, match=f"{field} is .*, expected"):
        PriceConfig(**{field: value})


def test_all_faults_are_named_at_once():
    with pytest.raises(GradmapError) as caught:
        LearnerConfig(days_per_batch=0, minibatches=0, learning_rate=-1.0, hidden=())
    message = str(caught.value)
    assert all(
        name in message for name in ("days_per_batch", "minibatches", "learning_rate", "hidden")
    )
    assert "\n" not in message

from __future__ import annotations

import pytest

from gradmap.algorithms.schedule import cosine_fraction


@pytest.mark.parametrize(("progress", "left"), [(0.0, 1.0), (0.5, 0.6), (1.0, 0.2), (1.7, 0.2)])
def test_a_rate_falls_along_a_half_cosine(progress: float, left: float) -> None:
    assert cosine_fraction(progress, 0.2) == pytest.approx(left)

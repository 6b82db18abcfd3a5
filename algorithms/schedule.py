"""How a rate falls along a budget, alike for every method."""

from __future__ import annotations

import math


def cosine_fraction(progress: float, final: float) -> float:
    """Fraction of a rate that is left, along a half cosine.

    Args:
        progress: Share of the budget used; above 1 counts as 1.
        final: Fraction left when the budget is used up.

    Returns:
        1 at the start, `final` at the end.
    """
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))

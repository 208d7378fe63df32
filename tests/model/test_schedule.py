"""Learning rates over the steps of a training."""

from __future__ import annotations

from itertools import pairwise

from speechre.model.schedule import rate_factor


def test_the_rate_rises_and_falls_to_zero() -> None:
    factors = [rate_factor(step, 10, 4) for step in range(10)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0
    assert all(a > b > 0 for a, b in pairwise(factors[4:]))
    assert rate_factor(10, 10, 4) == 0
    assert rate_factor(0, 10, 0) == 1.0

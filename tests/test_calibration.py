from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechre.calibration import Calibration
from speechre.errors import UsageError


def test_fit_finds_the_curve_that_made_the_data() -> None:
    rng = random.Random(7)
    truth = Calibration(1.5, -1.0)
    supports = [rng.random() for _ in range(4_000)]
    fitted = Calibration.fit(supports, [rng.random() < truth(s) for s in supports])
    assert fitted.slope == pytest.approx(truth.slope, rel=0.15)
    assert fitted.intercept == pytest.approx(truth.intercept, rel=0.15)


def test_fitted_probabilities_add_up_to_the_hits() -> None:
    supports = [1 / 6, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0, 1.0]
    is_right = [False, False, True, False, True, True, True, True]
    fitted = Calibration.fit(supports, is_right)
    # The condition of the optimum, with Platt's smoothed targets in place of 0 and 1: 5 hits and 3 misses.
    assert sum(map(fitted, supports)) == pytest.approx(5 * 6 / 7 + 3 * 1 / 5, abs=1e-4)


@given(st.lists(st.tuples(st.sampled_from([i / 6 for i in range(7)]) | st.floats(0, 1), st.booleans()), min_size=1))
def test_fit_is_finite_and_never_falls(data: list[tuple[float, bool]]) -> None:
    fitted = Calibration.fit([s for s, _ in data], [right for _, right in data])
    assert fitted.slope >= 0
    assert math.isfinite(fitted.slope)
    assert 0 <= fitted(0.0) <= fitted(0.5) <= fitted(1.0) <= 1


@pytest.mark.parametrize("is_right", [[True] * 8, [False] * 8, [False] * 4 + [True] * 4])
def test_separable_data_get_a_finite_curve(is_right: list[bool]) -> None:
    fitted = Calibration.fit([0.1] * 4 + [0.9] * 4, is_right)
    assert 0.05 < fitted(0.1) <= fitted(0.9) < 0.95


def test_supports_a_hair_apart_are_no_reason_for_a_leap() -> None:
    fitted = Calibration.fit([0.5, 0.5001] * 4, [False, True] * 4)
    assert 0.45 < fitted(0.2) <= fitted(0.8) < 0.55


def test_where_support_misleads_the_curve_is_flat() -> None:
    fitted = Calibration.fit([0.1] * 10 + [0.9] * 10, [True] * 10 + [False] * 10)
    assert fitted.slope == 0
    assert fitted(0.3) == pytest.approx(0.5)


@pytest.mark.parametrize(("supports", "is_right"), [([], []), ([0.5], []), ([1.5], [True]), ([math.nan], [True])])
def test_fit_refuses_what_it_cannot_use(supports: list[float], is_right: list[bool]) -> None:
    with pytest.raises(UsageError):
        Calibration.fit(supports, is_right)


def test_calibration_does_not_overflow() -> None:
    assert Calibration(1e6, -1e3)(0.9) == 1.0
    assert Calibration(1e6, -1e8)(1.0) == 0.0


def test_two_kinds_of_evidence_get_the_slopes_that_made_the_data() -> None:
    rng = random.Random(7)
    truth = Calibration(0.7, -1.0, 1.4)
    evidence = [(rng.random(), rng.random()) for _ in range(4_000)]
    is_right = [rng.random() < truth(*pair) for pair in evidence]
    fitted = Calibration.fit([s for s, _ in evidence], is_right, [b for _, b in evidence])
    assert fitted.slope == pytest.approx(truth.slope, rel=0.15)
    assert fitted.reader_slope == pytest.approx(truth.reader_slope, rel=0.15)
    assert fitted.intercept == pytest.approx(truth.intercept, rel=0.15)


def test_evidence_that_misleads_is_left_out_and_the_rest_fitted_anew() -> None:
    rng = random.Random(3)
    supports = [rng.random() for _ in range(2000)]
    is_right = [rng.random() < s for s in supports]
    beliefs = [rng.uniform(0, 0.4) if right else rng.uniform(0.2, 1) for right in is_right]
    fitted = Calibration.fit(supports, is_right, beliefs)
    assert fitted.reader_slope == 0
    assert fitted == Calibration.fit(supports, is_right)


def test_as_many_beliefs_as_supports() -> None:
    with pytest.raises(UsageError, match="2 beliefs"):
        Calibration.fit([0.5], [True], [0.5, 0.5])

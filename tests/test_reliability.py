"""Curves and calibration against metrics.score and against sums on paper."""

from __future__ import annotations

import doctest
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import speechre.reliability
from speechre.errors import DataError, UsageError
from speechre.metrics import Counts, score
from speechre.reliability import (
    THRESHOLDS,
    Judged,
    brier_score,
    chance_calibration_error,
    equal_mass_bins,
    equal_width_bins,
    expected_calibration_error,
    has_confidences,
    judge,
    threshold_curve,
    votes_curve,
)
from speechre.types import Triplet
from test_metrics import protocols, sides, split_sides, triplet

ANNA, BERT = triplet("Anna Berg", "Live_In", "Lima"), triplet("Bert", "Live_In", "Lima")

confidences = st.integers(0, 40).map(lambda step: step / 40)
judgements = st.lists(st.builds(Judged, confidences, st.booleans(), st.integers(0, 6)), max_size=60)


def sure(t: Triplet, confidence: float, votes: int | None = None) -> Triplet:
    return replace(t, confidence=confidence, votes=votes)


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(speechre.reliability)
    assert (result.attempted > 0, result.failed) == (True, 0)


# -- judging


def test_every_predicted_triplet_is_judged() -> None:
    gold = {"a": [ANNA], "b": []}
    predicted = {"b": [sure(ANNA, 0.2, 1)], "a": [sure(BERT, 0.4), sure(ANNA, 0.9, 5)]}
    assert judge(gold, predicted, "boundary") == [Judged(0.4, False), Judged(0.9, True, 5), Judged(0.2, False, 1)]


def test_two_spellings_are_one_triplet_with_the_best_of_both_but_two_under_paper() -> None:
    twice = {"a": [sure(ANNA, 0.3, 4), sure(triplet("ANNA BERG", "Live_In", "lima"), 0.6, 2)]}
    assert judge({"a": [ANNA]}, twice, "boundary") == [Judged(0.6, True, 4)]
    assert judge({"a": [ANNA]}, twice, "paper") == [Judged(0.3, True, 4), Judged(0.6, True, 2)]


def test_strict_looks_at_types() -> None:
    mistyped = {"a": [sure(triplet("Anna Berg", "Live_In", "Lima", "Org Loc"), 0.5)]}
    hits = {protocol: judge({"a": [ANNA]}, mistyped, protocol)[0].is_hit for protocol in ("strict", "boundary")}
    assert hits == {"strict": False, "boundary": True}


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(UsageError, match='utterance "a": a predicted triplet has no confidence'):
        judge({"a": []}, {"a": [ANNA]}, "boundary")
    with pytest.raises(UsageError, match="loose"):
        judge({}, {}, "loose")
    with pytest.raises(DataError, match="do not cover"):
        judge({"a": []}, {}, "boundary")
    assert not has_confidences({"a": [sure(ANNA, 0.0)], "b": [ANNA]})
    assert not has_confidences({"a": []})
    assert has_confidences({"a": [sure(ANNA, 0.0)], "b": []})


# -- curves


@given(sides, st.lists(st.tuples(confidences, st.integers(0, 6)), min_size=20, max_size=20), protocols)
def test_a_curve_is_what_scoring_says_of_the_triplets_that_pass(
    pairs: list[tuple[list[Triplet], list[Triplet]]], evidence: list[tuple[float, int]], protocol: str
) -> None:
    gold, plain = split_sides(pairs)
    given_out = iter(evidence)
    predicted = {key: [sure(t, *next(given_out)) for t in ts] for key, ts in plain.items()}
    judged = judge(gold, predicted, protocol)
    num_gold = score(gold, predicted, protocol).triplet.num_gold
    for threshold, counts in threshold_curve(judged, num_gold):
        kept = {key: [t for t in ts if (t.confidence or 0) >= threshold] for key, ts in predicted.items()}
        assert counts == score(gold, kept, protocol).triplet
    for min_votes, counts in votes_curve(judged, num_gold, 6):
        kept = {key: [t for t in ts if (t.votes or 0) >= min_votes] for key, ts in predicted.items()}
        assert counts == score(gold, kept, protocol).triplet


def test_a_threshold_is_meant_up_to_rounding() -> None:
    sixths = sum([1 / 6] * 6)  # a hair below 1
    assert sixths != 1.0
    assert threshold_curve([Judged(sixths, True)], 1, (1.0,)) == [(1.0, Counts(1, 1, 1))]
    assert equal_width_bins([Judged(sixths - 0.5, True)], 2)[0].num_triplets == 1


def test_triplets_without_votes_have_none() -> None:
    assert votes_curve([Judged(0.9, True), Judged(0.2, False, 2)], 3, 2) == [(1, Counts(0, 1, 3)), (2, Counts(0, 1, 3))]
    assert (THRESHOLDS[0], THRESHOLDS[-1], len(THRESHOLDS)) == (0.0, 1.0, 41)


# -- calibration


def test_the_calibration_error_by_hand() -> None:
    """Ten triplets in two of five bins: |3/4 - 0.3| for four of them, |1/6 - 0.9| for six."""
    judged = [Judged(0.3, right) for right in (True, True, True, False)]
    judged += [Judged(c, right) for c, right in zip((0.85, 0.95) * 3, (True, *[False] * 5), strict=True)]
    bins = equal_width_bins(judged, 5)
    assert [(b.num_triplets, b.share_of_hits) for b in bins] == [(0, None), (4, 0.75), (0, None), (0, None), (6, 1 / 6)]
    assert bins[4].mean_confidence == pytest.approx(0.9)
    assert expected_calibration_error(bins) == pytest.approx((4 * 0.45 + 6 * (0.9 - 1 / 6)) / 10)


def test_an_honest_confidence_has_no_error() -> None:
    judged = [Judged(0.2, place == 0) for place in range(5)] + [Judged(0.75, place > 0) for place in range(4)]
    for bins in (equal_width_bins(judged), equal_mass_bins(judged)):
        assert expected_calibration_error(bins) == pytest.approx(0.0, abs=1e-12)
    assert brier_score(judged) == pytest.approx((5 * 0.16 + 4 * 0.1875) / 9)


def test_edges_belong_to_the_bin_below_and_nought_to_the_first() -> None:
    at = [next(i for i, b in enumerate(equal_width_bins([Judged(c, True)])) if b.num_triplets) for c in (0, 1 / 15)]
    assert at == [0, 0]
    assert equal_width_bins([Judged(1 / 15 + 1e-6, True)])[1].num_triplets == 1
    assert equal_width_bins([Judged(1.0, True)])[14].num_triplets == 1


@given(judgements, st.integers(1, 15))
def test_every_triplet_is_in_one_bin(judged: list[Judged], num_bins: int) -> None:
    width, mass = equal_width_bins(judged, num_bins), equal_mass_bins(judged, num_bins)
    assert len(width) == num_bins
    assert len(mass) <= num_bins
    assert all(b.num_triplets for b in mass)
    for bins in (width, mass):
        assert sum(b.num_triplets for b in bins) == len(judged)
        for b in bins:
            assert b.mean_confidence is None or b.low - 1e-6 <= b.mean_confidence <= b.high + 1e-6
    error = expected_calibration_error(mass)
    assert (error is None) == (not judged)
    assert error is None or 0 <= error <= 1


@given(judgements.filter(bool), st.integers(1, 15))
def test_equal_confidences_share_a_bin_of_equal_mass(judged: list[Judged], num_bins: int) -> None:
    ends = [b.high for b in equal_mass_bins(judged, num_bins)]
    held = [sum(j.confidence > end for end in ends[:-1]) for j in judged]
    bins = equal_mass_bins(judged, num_bins)
    assert [held.count(i) for i in range(len(bins))] == [b.num_triplets for b in bins]


def test_distinct_confidences_are_shared_out_evenly() -> None:
    bins = equal_mass_bins([Judged(i / 100, True) for i in range(90)])
    assert [b.num_triplets for b in bins] == [6] * 15


def test_nothing_has_no_error_and_no_bin_is_a_usage_fault() -> None:
    assert expected_calibration_error(equal_width_bins([])) is None
    assert expected_calibration_error(equal_mass_bins([])) is None
    assert brier_score([]) is None
    for bins in (equal_width_bins, equal_mass_bins):
        with pytest.raises(UsageError, match="0 bins"):
            bins([], 0)


# -- what chance makes of a right confidence


def test_chance_makes_an_error_of_its_own_that_shrinks_with_the_number_of_triplets() -> None:
    few, many = ([Judged(0.5, False)] * number for number in (10, 1000))
    by_chance = chance_calibration_error(few)
    assert by_chance is not None
    # |hits / 10 - 0.5| of ten fair coins: 252 of 1024 have five heads, ... a mean of 0.123; two in 1024 are 0.5 off.
    assert by_chance.mean == pytest.approx(0.123, abs=0.01)
    assert by_chance.high == pytest.approx(0.3)
    of_many = chance_calibration_error(many)
    assert of_many is not None
    assert of_many.mean == pytest.approx(by_chance.mean / 10, rel=0.1)
    assert chance_calibration_error([]) is None


@given(judgements)
def test_chance_looks_at_confidences_alone(judged: list[Judged]) -> None:
    if not judged:
        return
    found = chance_calibration_error(judged, num_samples=20)
    turned = [replace(one, is_hit=not one.is_hit) for one in judged]
    assert found == chance_calibration_error(turned, num_samples=20)
    assert found is not None
    assert 0.0 <= found.mean <= 1.0


def test_a_right_confidence_is_within_chance_and_a_wrong_one_is_not() -> None:
    draw = random.Random(7).random
    sure_ones = [step / 200 for step in range(100, 200)]
    right = [Judged(c, draw() < c) for c in sure_ones * 3]
    wrong = [Judged(c, draw() < c - 0.4) for c in sure_ones * 3]
    by_chance = chance_calibration_error(right)
    assert by_chance is not None
    assert (expected_calibration_error(equal_width_bins(right)) or 0.0) < by_chance.high
    assert (expected_calibration_error(equal_width_bins(wrong)) or 0.0) > by_chance.high + 0.2

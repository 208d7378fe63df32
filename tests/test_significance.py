"""Intervals and p-values against what can be worked out by hand, and against the obvious slow way."""

from __future__ import annotations

import doctest
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import speechre.significance
from speechre.errors import UsageError
from speechre.metrics import Counts
from speechre.significance import FRACTIONS, Interval, bootstrap, paired_bootstrap, quantile, resample

HIT, MISS, EMPTY = Counts(1, 1, 1), Counts(0, 1, 1), Counts()

counts = st.builds(Counts, st.integers(0, 5), st.integers(0, 300), st.integers(0, 7))


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(speechre.significance)
    assert (result.attempted > 0, result.failed) == (True, 0)


@given(st.integers(1, 4), st.lists(st.tuples(counts, counts, counts), min_size=1, max_size=9), st.integers(0, 99))
def test_a_sample_is_the_sum_over_the_utterances_that_were_drawn(
    num_columns: int, rows: list[tuple[Counts, Counts, Counts]], seed: int
) -> None:
    columns = {place: [row[place % 3] for row in rows] for place in range(num_columns)}
    generator = random.Random(seed)
    for sample in resample(columns, 20, seed):
        drawn = generator.choices(range(len(rows)), k=len(rows))
        assert sample == {name: sum((column[i] for i in drawn), Counts()) for name, column in columns.items()}


def test_two_utterances_by_hand() -> None:
    """A hit and a miss: F1 is 0, 1/2 and 1 in 1/4, 1/2 and 1/4 of the samples."""
    columns = {"x": [HIT, MISS]}
    assert bootstrap(columns)["x"]["f1"] == Interval(0.0, 1.0)
    assert bootstrap(columns, level=0.4)["x"]["f1"] == Interval(0.5, 0.5)  # from 0.3 to 0.7
    samples = [sample["x"].f1 for sample in resample(columns, 10_000)]
    assert samples.count(0.5) == pytest.approx(5000, abs=200)


def test_an_interval_is_as_wide_as_the_textbook_s() -> None:
    """400 utterances with one triplet each, half of them right: 1.96 standard errors of a proportion."""
    interval = bootstrap({"x": [HIT, MISS] * 200})["x"]["precision"]
    error = math.sqrt(0.25 / 400)
    assert interval.low == pytest.approx(0.5 - 1.96 * error, abs=0.006)
    assert interval.high == pytest.approx(0.5 + 1.96 * error, abs=0.006)


def test_the_same_seed_gives_the_same_interval() -> None:
    column = {"x": [HIT, MISS, Counts(1, 3, 2), EMPTY, HIT] * 6}
    assert bootstrap(column, 200, seed=3) == bootstrap(column, 200, seed=3)
    assert bootstrap(column, 200, seed=3) != bootstrap(column, 200, seed=4)


def test_columns_do_not_disturb_each_other() -> None:
    first, second = [HIT, MISS, Counts(1, 3, 2)], [MISS, Counts(2, 100, 3), EMPTY]
    both = bootstrap({"first": first, "second": second}, 300)
    assert both == {**bootstrap({"first": first}, 300), **bootstrap({"second": second}, 300)}


@given(st.lists(counts, min_size=2, max_size=8))
def test_intervals_are_ordered_and_nothing_is_ever_divided_by_zero(column: list[Counts]) -> None:
    for interval in bootstrap({"x": column}, 30)["x"].values():
        assert 0 <= interval.low <= interval.high


def test_quantiles_interpolate() -> None:
    assert [quantile([0.0, 10.0], share) for share in (0, 0.25, 1)] == [0.0, 2.5, 10.0]
    assert quantile([7.0], 0.975) == 7.0


def test_what_makes_no_bootstrap_is_refused() -> None:
    for columns, num_samples in (({}, 10), ({"x": []}, 10), ({"x": [HIT]}, 0), ({"x": [HIT], "y": [HIT, HIT]}, 10)):
        with pytest.raises(UsageError, match="a bootstrap needs"):
            bootstrap(columns, num_samples)
    with pytest.raises(UsageError, match="level"):
        bootstrap({"x": [HIT]}, 10, level=1.0)
    with pytest.raises(UsageError, match="same columns"):
        paired_bootstrap({"x": [HIT]}, {"y": [HIT]}, 10)


# -- two systems


def test_a_system_does_not_differ_from_itself() -> None:
    column = {"x": [HIT, MISS, Counts(1, 3, 2)]}
    for found in paired_bootstrap(column, column, 500)["x"].values():
        assert (found.value, found.interval, found.p_value) == (0.0, Interval(0.0, 0.0), 1.0)


def test_a_system_that_is_better_everywhere_gets_the_smallest_p_value() -> None:
    found = paired_bootstrap({"x": [MISS] * 20}, {"x": [HIT] * 20}, 999)["x"]["f1"]
    assert (found.value, found.interval, found.p_value) == (1.0, Interval(1.0, 1.0), 2 / 1000)
    assert found.to_dict() == {"difference": 1.0, "low": 1.0, "high": 1.0, "p_value": 0.002}


def test_two_utterances_of_which_b_loses_one_by_hand() -> None:
    """The difference is 0, -1/2 and -1 in 1/4, 1/2 and 1/4 of the samples; so p is twice 1/4."""
    found = paired_bootstrap({"x": [HIT, HIT]}, {"x": [HIT, MISS]}, 10_000)["x"]["f1"]
    assert found.value == -0.5
    assert found.interval == Interval(-1.0, 0.0)
    assert found.p_value == pytest.approx(0.5, abs=0.02)


def test_swapping_the_systems_swaps_the_signs() -> None:
    generator = random.Random(0)
    a, b = ({"x": generator.choices([HIT, MISS, Counts(1, 2, 1)], k=30)} for _ in "ab")
    there, back = paired_bootstrap(a, b, 999)["x"], paired_bootstrap(b, a, 999)["x"]
    for fraction in FRACTIONS:
        assert there[fraction].value == -back[fraction].value
        assert there[fraction].interval.low == pytest.approx(-back[fraction].interval.high, abs=1e-9)
        assert there[fraction].p_value == back[fraction].p_value


def test_samples_are_shared() -> None:
    """Two systems that agree but for one utterance: their difference varies far less than either of them."""
    a = [HIT, MISS] * 50
    b = [HIT, HIT, *a[2:]]
    alone = bootstrap({"x": a}, 1000)["x"]["f1"]
    found = paired_bootstrap({"x": a}, {"x": b}, 1000)["x"]["f1"]
    assert found.value == pytest.approx(0.01)
    assert found.interval.high - found.interval.low < (alone.high - alone.low) / 4


@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=8))
def test_p_is_small_only_where_the_interval_leaves_out_zero(pairs: list[tuple[Counts, Counts]]) -> None:
    found = paired_bootstrap({"x": [a for a, _ in pairs]}, {"x": [b for _, b in pairs]}, 199)["x"]["f1"]
    assert 0 < found.p_value <= 1
    if found.p_value < 0.04:
        assert not found.interval.low <= 0 <= found.interval.high
    if not found.interval.low <= 0 <= found.interval.high:
        assert found.p_value < 0.07

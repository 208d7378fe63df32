"""When something was said, for people."""

from __future__ import annotations

import doctest

import pytest

from speechre.page import times
from speechre.page.times import clock_time, said_at
from speechre.types import Entity, Triplet
from tests.graphs import TALKS, UNALIGNED


def test_the_examples_of_the_module_are_so() -> None:
    assert doctest.testmod(times).failed == 0


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00.0"), (59.96, "1:00.0"), (3599.96, "1:00:00.0"), (7384.24, "2:03:04.2"), (600.0, "10:00.0")],
)
def test_seconds_are_rounded_before_they_are_taken_apart(seconds: float, shown: str) -> None:
    assert clock_time(seconds) == shown


def test_a_statement_is_where_its_words_are_or_in_its_chunk_or_nowhere() -> None:
    assert said_at(TALKS[0].triplets[0]) == "0:00.5 to 0:03.5"
    assert said_at(UNALIGNED.triplets[0]) == "in 0:31.0 to 0:58.5"
    assert said_at(Triplet(Entity("a"), "r", Entity("b", start_s=1.0, end_s=2.0))) == ""

"""A transcript that stops where another one goes on is none."""

from __future__ import annotations

import math
from collections.abc import Sequence

from speechre.decode.search import Generation
from speechre.decode.transcripts import without_stubs

WORDS = ["Chapter", "27.", "But", "we", "must", "follow", "Edward,", "for", "a", "time.", "you", "Thank"]


def beam(text: str, log_prob: float, is_finished: bool = True) -> Generation:
    return Generation(tuple(WORDS.index(word) for word in text.split()), log_prob, is_finished)


def decode(ids: Sequence[int]) -> str:
    return " ".join(WORDS[i] for i in ids)


def kept(*beams: Generation) -> list[str]:
    return [decode(one.ids) for one in without_stubs(beams, decode)]


HEADING, WHOLE = "Chapter 27.", "Chapter 27. But we must follow Edward, for a time."


def test_a_heading_gives_way_to_the_sentence_behind_it() -> None:
    assert kept(beam(HEADING, -0.4), beam(WHOLE, -3.0), beam("Chapter", -5.0)) == [WHOLE]
    assert kept(beam("", -0.1), beam(WHOLE, -3.0)) == [WHOLE]  # nothing at all is a beginning too


def test_words_that_are_unlikely_or_few_were_not_said() -> None:
    unlikely = beam(WHOLE, -0.4 - 0.51 * 8)
    assert kept(beam(HEADING, -0.4), unlikely) == [HEADING, WHOLE]
    assert kept(beam(HEADING, -0.4), beam(HEADING + " Thank you", -0.5)) == [HEADING, HEADING + " Thank you"]
    assert kept(beam(HEADING, -0.4), beam(WHOLE, -1.0, is_finished=False)) == [HEADING, WHOLE]


def test_an_echo_was_not_said() -> None:
    for echo in (WHOLE, "we must follow Edward, for a"):
        said_twice = f"{WHOLE} {echo}"
        assert kept(beam(WHOLE, -1.0), beam(said_twice, -1.2)) == [WHOLE, said_twice]
    going_on = f"{WHOLE} {HEADING} you must follow Edward, for"
    assert kept(beam(WHOLE, -1.0), beam(going_on, -1.2)) == [going_on]


def test_other_words_are_another_reading() -> None:
    other = "27. Chapter But we must follow Edward, for a time."
    assert kept(beam(HEADING, -0.4), beam(other, -1.0)) == [HEADING, other]
    assert kept(beam(WHOLE, -1.0), beam(HEADING, -math.inf, is_finished=False)) == [WHOLE]


def test_the_longest_stays() -> None:
    assert kept(beam(WHOLE, -1.0)) == [WHOLE]
    assert kept() == []

"""A transcript that stops where another one goes on is none."""

from __future__ import annotations

import math
from collections.abc import Sequence

from speechre.decode.search import Generation
from speechre.decode.transcripts import Hearing, WeighedTranscript, pooled_transcripts, without_stubs

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


# --- over several hearings ---


def pooled(first: list[WeighedTranscript], second: list[WeighedTranscript]) -> list[str]:
    return [one.text for one in pooled_transcripts(first, [Hearing(tuple(second), 0.45)])]


def reading(text: str, log_prob: float, share: float = 1.0) -> WeighedTranscript:
    return WeighedTranscript(text, share, log_prob)


def test_what_one_hearing_stops_at_gives_way_to_what_another_goes_on_with() -> None:
    assert pooled([reading(HEADING, -0.4)], [reading(WHOLE, -3.0)]) == [WHOLE]
    assert pooled([reading(WHOLE, -3.0)], [reading(HEADING, -0.4)]) == [WHOLE]
    (left,) = pooled_transcripts([reading(HEADING, -0.4)], [Hearing((reading(WHOLE, -3.0),), 0.45)])
    assert left.share == 1.0
    other = "Chapter 20."
    beliefs = pooled_transcripts(
        [reading(HEADING, -0.4, 0.7), reading(other, -1.2, 0.3)], [Hearing((reading(WHOLE, -3.0),), 0.45)]
    )
    assert [one.text for one in beliefs] == [other, WHOLE]
    assert math.isclose(math.fsum(one.share for one in beliefs), 1.0)


def test_hearings_whose_words_are_unlikely_unknown_or_without_end_show_nothing() -> None:
    for log_prob in (-0.4 - 0.51 * 8, 0.0, -math.inf):
        assert pooled([reading(HEADING, -0.4)], [reading(WHOLE, log_prob)]) == [HEADING, WHOLE]
    assert pooled([reading(WHOLE, -1.0)], [reading(f"{WHOLE} {WHOLE}", -1.2)]) == [WHOLE, f"{WHOLE} {WHOLE}"]

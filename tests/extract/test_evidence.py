"""Entities get the seconds of their words, of the closest mentions where there are several, and honest spans
elsewhere.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from speechre.decode.alignment import TranscriptTimes
from speechre.decode.ensemble import Analysis, is_said_again
from speechre.extract.chunks import TimeMap
from speechre.extract.evidence import NO_TRANSCRIPT, locate
from speechre.types import Entity, Triplet

TEXT = "Oslo is far. Ann Lee, Ann said, lives in Oslo now."
CLOCK = TimeMap(100.0, 110.0)


def times(text: str = TEXT) -> TranscriptTimes:
    """A tenth of a second for each character; a token a word."""
    starts = [0] + [i + 1 for i, char in enumerate(text) if char == " "]
    chars = (*starts, len(text))
    return TranscriptTimes(chars, tuple(char / 10 for char in chars))


def triplet(head: str, tail: str, confidence: float = 0.9) -> Triplet:
    return Triplet(Entity(head, "Peop"), "Live_In", Entity(tail, "Loc"), confidence, 6)


def analysis(*triplets: Triplet, transcript: str | None = TEXT, timed: bool = True) -> Analysis:
    when = times(transcript) if transcript is not None and timed else None
    return Analysis(triplets, {}, {}, {}, transcript, {}, ("before",), times=when)


def test_entities_get_the_seconds_and_characters_of_their_words() -> None:
    (found,) = locate(analysis(triplet("Ann Lee", "Oslo")), CLOCK).triplets
    assert (found.head.start, found.head.end) == (13, 20)
    assert (found.head.start_s, found.head.end_s) == pytest.approx((101.3, 102.2))
    assert (found.tail.start, found.tail.end) == (0, 4)
    assert (found.tail.start_s, found.tail.end_s) == pytest.approx((100.0, 100.5))
    assert (found.start_s, found.end_s) == pytest.approx((100.0, 102.2))
    assert found.to_dict()["head"] == {"text": "Ann Lee", "type": "Peop", "start_s": 101.3, "end_s": 102.2}


def test_of_several_mentions_the_two_that_lie_closest_together_are_taken() -> None:
    (found,) = locate(analysis(triplet("Ann", "Oslo")), CLOCK).triplets
    assert TEXT[found.head.start : found.head.end] == "Ann"
    assert found.head.start == 13  # 9 characters behind "Oslo"; the second "Ann" is 16 before the other one
    assert found.tail.start == 0


def test_a_word_within_a_word_is_no_mention_and_case_is_a_last_resort() -> None:
    text = "Annabel met ANN in Oslo."
    (found,) = locate(analysis(triplet("Ann", "Oslo"), transcript=text), CLOCK).triplets
    assert found.head.start == 12


def test_head_and_tail_never_share_their_place() -> None:
    text = "The Bank of Oslo is in Oslo."
    (found,) = locate(analysis(triplet("Bank of Oslo", "Oslo"), transcript=text), CLOCK).triplets
    assert (found.head.start, found.tail.start) == (4, 23)


def test_a_name_as_another_reading_spells_it_has_the_seconds_of_the_words_in_its_place() -> None:
    others = ("Bergen is far.", "Oslo is far. Anne Lea, Ann said, lives in Ozzlo now.")
    heard = replace(analysis(triplet("Anne Lea", "Ozzlo")), other_transcripts=others)
    (found,) = locate(heard, CLOCK).triplets
    assert (found.head.start_s, found.head.end_s) == pytest.approx((101.3, 102.2))  # "Ann Lee,"
    assert (found.tail.start_s, found.tail.end_s) == pytest.approx((104.1, 104.6))  # the second "Oslo"
    assert {end.start for end in (found.head, found.tail)} == {None}  # it does not stand there so
    assert {end.times_of for end in (found.head, found.tail)} == {"entity"}
    assert locate(heard, CLOCK).warnings == ("before",)


def test_of_two_spellings_of_one_statement_the_surer_is_told() -> None:
    told = (
        triplet("Ann Lee", "Oslo", 0.9),
        replace(triplet("Ann Lee", "Oslo", 0.8), relation="Work_For"),  # another statement
        triplet("Ann", "Oslo", 0.7),  # the second "Ann": other words
        triplet("Anne Lea", "Oslo", 0.6),
        triplet("Bo", "Oslo", 0.5),  # nobody knows where that was said
    )
    text = "Ann Lee, Ann said, lives in Oslo now."
    heard = analysis(*told, transcript=text)
    assert len(locate(heard, CLOCK).triplets) == 5  # from one transcript all stays
    found = locate(replace(heard, other_transcripts=("Anne Lea, Ann said, lives in Oslo now.",)), CLOCK).triplets
    assert [(t.head.text, t.relation) for t in found] == [
        ("Ann Lee", "Live_In"),
        ("Ann Lee", "Work_For"),
        ("Ann", "Live_In"),
        ("Bo", "Live_In"),
    ]


def test_what_was_not_said_has_the_chunk_s_span_and_a_warning() -> None:
    located = locate(analysis(triplet("Bo", "Oslo")), CLOCK)
    (found,) = located.triplets
    assert (found.head.start, found.head.start_s, found.head.end_s) == (None, 100.0, 110.0)
    assert found.tail.start == 0
    assert (found.head.times_of, found.tail.times_of) == ("chunk", "entity")
    head, tail = (found.to_dict()[end] for end in ("head", "tail"))
    assert head == {"text": "Bo", "type": "Peop", "start_s": 100.0, "end_s": 110.0, "times_of": "chunk"}
    assert "times_of" not in tail
    assert located.warnings == ("before", '"Bo" is not in the transcript; its times are those of the whole chunk')


def test_without_a_transcript_everything_has_the_chunk_s_span_and_one_warning_says_so() -> None:
    located = locate(analysis(triplet("Bo", "Oslo"), triplet("Ann", "Oslo"), transcript=None), CLOCK)
    assert all((t.start_s, t.end_s) == (100.0, 110.0) for t in located.triplets)
    assert {e.times_of for t in located.triplets for e in (t.head, t.tail)} == {"chunk"}
    assert located.warnings == ("before", NO_TRANSCRIPT)
    assert locate(analysis(transcript=None), CLOCK).warnings == ("before",)


def test_the_silence_behind_a_chunk_is_not_in_the_recording() -> None:
    text = "Ann lives in Oslo."
    (found,) = locate(analysis(triplet("Ann", "Oslo"), transcript=text), TimeMap(0.0, 1.5)).triplets
    assert (found.tail.start_s, found.tail.end_s) == pytest.approx((1.3, 1.5))


def test_a_shared_chunk_keeps_the_words_it_answers_for() -> None:
    text = "Far away Ann Lee, Ann said, lives in Oslo now."
    clock = replace(CLOCK, own_start_s=100.8, own_end_s=103.6)
    located = locate(analysis(triplet("Ann Lee", "Oslo"), transcript=text), clock)
    assert located.transcript == "Ann Lee, Ann said, lives in"
    (found,) = located.triplets
    assert (found.head.start, found.head.end) == (0, 7)
    assert (found.tail.start, found.tail.end) == (None, None)  # its words are the next chunk's
    assert found.tail.start_s == pytest.approx(103.7)
    assert locate(analysis(), replace(CLOCK, own_start_s=109.0)).transcript == ""


def test_a_statement_is_said_again_where_its_seconds_overlap() -> None:
    def at(start_s: float, end_s: float, head: str = "Ann") -> Triplet:
        return Triplet(Entity(head, start_s=start_s, end_s=start_s), "r", Entity("b", start_s=end_s, end_s=end_s))

    assert is_said_again(at(1, 3), at(2, 4))
    assert is_said_again(at(1, 3), at(2, 4, "ANN,"))
    assert not is_said_again(at(1, 3), at(2, 4, "Bo"))
    assert not is_said_again(at(1, 2), at(2.5, 4))
    assert is_said_again(Triplet(Entity("ann"), "r", Entity("b")), at(1, 2))  # nobody knows when

"""A transcript that stops where another one goes on is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from speechre.decode.readings import Hearing, WeighedTranscript, pooled_transcripts, without_stubs
from speechre.decode.search import Generation

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
    for going_on, is_echo in (
        (f"{WHOLE} {WHOLE} Thank", True),
        (f"{WHOLE} {WHOLE.replace('must', 'Thank')}", True),
        (f"{WHOLE} {HEADING} you Thank you must follow", True),
        (f"{WHOLE} {HEADING} you Thank you must follow you", False),
    ):
        assert kept(beam(WHOLE, -1.0), beam(going_on, -1.2)) == ([WHOLE] * is_echo) + [going_on]


def test_what_known_names_gain_proves_nothing() -> None:
    gaining = replace(beam(WHOLE, -3.0), gain=6.0)  # -9 by itself
    assert kept(beam(HEADING, -0.4), gaining) == [HEADING, WHOLE]
    assert kept(replace(beam(HEADING, -0.4), gain=6.0), gaining) == [WHOLE]


def test_one_word_of_several_may_be_spelled_otherwise() -> None:
    assert kept(beam("Chapter Thank", -0.4), beam(WHOLE, -3.0)) == [WHOLE]
    assert kept(beam("Thank", -0.4), beam(WHOLE, -3.0)) == ["Thank", WHOLE]
    assert kept(beam("Thank you But", -0.4), beam(WHOLE, -3.0)) == ["Thank you But", WHOLE]


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
    assert math.isclose(left.share, 1.0)
    longer = f"{WHOLE} Thank you you must must follow"
    assert pooled([reading(HEADING, -0.4)], [reading(WHOLE, -3.0, 0.5), reading(longer, -3.5, 0.5)]) == [longer]
    assert pooled([reading(HEADING, -math.inf)], [reading(WHOLE, -3.0)]) == [WHOLE]


def test_a_stubs_belief_is_the_whole_texts_and_nobody_elses() -> None:
    other = "27. Chapter"
    heard = [Hearing((reading(WHOLE, -3.0),), 0.45)]
    beliefs = pooled_transcripts([reading(HEADING, -0.4, 0.7), reading(other, -3.0, 0.3)], heard)
    # As if the first had heard the whole text where it stopped, as likely as the second did.
    expected = pooled_transcripts([reading(WHOLE, -3.0, 0.7), reading(other, -3.0, 0.3)], heard)
    assert beliefs == expected
    assert [one.text for one in beliefs] == [WHOLE, other]
    assert math.isclose(math.fsum(one.share for one in beliefs), 1.0)
    both = pooled_transcripts([reading(HEADING, -0.4, 0.7), reading(WHOLE, -2.0, 0.3)], heard)
    assert both == pooled_transcripts([reading(WHOLE, -2.0)], heard)  # its own word on the whole text counts


def test_what_a_stub_is_does_not_hang_on_the_order_of_hearings() -> None:
    sure, unsure = (Hearing((reading(WHOLE, log_prob),), 0.3) for log_prob in (-3.0, -9.0))
    for others in ([sure, unsure], [unsure, sure]):
        (left,) = pooled_transcripts([reading(HEADING, -0.4)], others)
        assert left.text == WHOLE
    stopped = [Hearing((reading(HEADING, log_prob),), 0.3) for log_prob in (-0.4, -9.0)]
    for others in (stopped, stopped[::-1]):
        assert [one.text for one in pooled_transcripts([reading(WHOLE, -4.5)], others)] == [WHOLE, HEADING]


def test_who_heard_nothing_is_overruled_by_many_likely_words_alone() -> None:
    assert pooled([reading("", -0.05)], [reading(WHOLE, -3.0)]) == [WHOLE]
    for hallucination in (reading("Thank you", -0.1), reading(WHOLE, -0.05 - 0.51 * 10)):
        assert pooled([reading("", -0.05)], [hallucination]) == ["", hallucination.text]


def test_hearings_whose_words_are_unlikely_unknown_or_without_end_show_nothing() -> None:
    for log_prob in (-0.4 - 0.51 * 8, 0.0, -math.inf):
        assert pooled([reading(HEADING, -0.4)], [reading(WHOLE, log_prob)]) == [HEADING, WHOLE]
    assert pooled([reading(WHOLE, -1.0)], [reading(f"{WHOLE} {WHOLE}", -1.2)]) == [WHOLE, f"{WHOLE} {WHOLE}"]

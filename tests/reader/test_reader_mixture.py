"""Beliefs over several transcripts are the sum over each transcript of its share times what is believed of it."""

from __future__ import annotations

import pytest

from speechre.metrics import normalize_text
from speechre.reader.mixture import expected_beliefs
from speechre.reader.reader import TextModel, TextReader
from speechre.types import Triplet

TEXTS = ("Ann Lee lives in Oslo.", "Bo works for Acme in Bergen.", "ann lee lives in Oslo", "Ann lives in Bergen")


def key(triplet: Triplet) -> tuple[str, str, str]:
    return normalize_text(triplet.head.text), triplet.relation, normalize_text(triplet.tail.text)


@pytest.fixture
def reader(credulous_reader: TextModel) -> TextReader:
    return TextReader(credulous_reader)


def test_beliefs_are_weighed_by_the_shares(reader: TextReader) -> None:
    shares = (0.4, 0.3, 0.2, 0.1)
    (found,) = expected_beliefs(reader, [list(zip(TEXTS, shares, strict=True))])
    expected: dict[tuple[str, str, str], float] = {}
    for text, share in zip(TEXTS, shares, strict=True):
        for triplet in reader.beliefs([text])[0]:
            expected[key(triplet)] = expected.get(key(triplet), 0.0) + share * (triplet.confidence or 0.0)
    assert len(expected) > 4
    assert {key(triplet): triplet.confidence for triplet in found} == pytest.approx(expected, abs=1e-5)
    confidences = [triplet.confidence or 0.0 for triplet in found]
    assert confidences == sorted(confidences, reverse=True)


def test_a_single_transcript_is_read_as_ever(reader: TextReader) -> None:
    plain = reader.beliefs(TEXTS)
    mixed = expected_beliefs(reader, [[(text, 1.0)] for text in TEXTS])
    for ours, theirs in zip(mixed, plain, strict=True):
        assert {key(t): t.confidence for t in ours} == pytest.approx({key(t): t.confidence for t in theirs}, abs=1e-5)


def test_a_spelling_is_that_of_the_transcript_in_which_it_is_believed_most(reader: TextReader) -> None:
    texts = {TEXTS[0]: 0.35, TEXTS[2]: 0.65}
    (found,) = expected_beliefs(reader, [list(texts.items())])
    read = {text: {key(t): t for t in reader.beliefs([text])[0]} for text in texts}
    in_both = [triplet for triplet in found if all(key(triplet) in ours for ours in read.values())]
    assert in_both
    for triplet in in_both:
        best = max(texts, key=lambda text: texts[text] * (read[text][key(triplet)].confidence or 0.0))
        assert triplet.head.text == read[best][key(triplet)].head.text
        assert triplet.tail.text == read[best][key(triplet)].tail.text
    assert {triplet.head.text[0].isupper() for triplet in in_both} == {True, False}  # some of either


def test_unlikely_transcripts_and_recordings_without_words(reader: TextReader) -> None:
    nothing, empty, one = expected_beliefs(reader, [[], [("", 1.0)], [(TEXTS[0], 0.995), (TEXTS[1], 0.005)]])
    assert nothing == empty == ()
    assert not any("Acme" in (triplet.head.text, triplet.tail.text) for triplet in one)

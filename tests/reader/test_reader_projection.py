"""Annotation carried from the text onto what was heard."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechre.reader.projection import align_characters, project
from speechre.types import Entity, Utterance
from tests.reader.conftest import annotate

TEXTS = st.text(alphabet="abcA .", max_size=12)


@given(TEXTS)
def test_a_text_is_aligned_with_itself(text: str) -> None:
    assert align_characters(text, text) == list(range(len(text)))
    assert align_characters(text.upper(), text) == list(range(len(text)))


@given(TEXTS, TEXTS)
def test_alignments_rise_and_are_the_best(source: str, target: str) -> None:
    from speechre.metrics import edit_distance

    aligned = align_characters(source, target)
    places = [place for place in aligned if place is not None]
    assert len(aligned) == len(target)
    assert all(0 <= place < len(source) for place in places)
    assert all(first < second for first, second in pairwise(places))
    changed = sum(
        place is not None and source[place].lower() != char.lower() for char, place in zip(target, aligned, strict=True)
    )
    cost = changed + len(target) + len(source) - 2 * len(places)
    assert cost == edit_distance(list(source.lower()), list(target.lower()))


def test_a_letter_that_grows_in_lower_case_is_no_trouble() -> None:
    assert align_characters("İx", "İx") == [0, 1]


@pytest.mark.parametrize(
    ("entity", "text", "transcript", "heard"),
    [
        ("Bruno", "then Bruno left", "then Bruno left", "Bruno"),
        ("Yolanda Saldivar", "said Yolanda Saldivar .", "said Yo Linda Saldiva.", "Yo Linda Saldiva"),
        ("Conn.", "of Bethany, Conn., was shot", "of Bethany, Connecticut, was shot", "Connecticut"),
        ("U.S.", "the U.S. Army", "the US, Army", "US"),
        (
            "Marie Magdefrau Ferraro",
            "by Marie Magdefrau Ferraro",
            "by Marie Magda for Alfredo",
            "Marie Magda for Alfredo",
        ),
        ("Oslo", "in Oslo today", "in 0000 today", None),  # in its place, but nothing of it
        ("Oslo", "in Oslo today", "in today", None),
        ("Oslo", "in Oslo", "", None),
        ("Acme", "at Acme - based", "at Acme-based", "Acme"),
    ],
)
def test_what_was_heard_of_an_entity(entity: str, text: str, transcript: str, heard: str | None) -> None:
    projected = project(annotate("u", text, {entity: "Org"}), transcript)
    assert projected.text == transcript
    assert [e.text for e in projected.entities] == ([] if heard is None else [heard])
    for one in projected.entities:
        assert one.start is not None
        assert transcript[one.start : one.end] == one.text
        assert (one.id, one.type) == ("e0", "Org")


def test_relations_go_with_their_entities() -> None:
    utterance = annotate(
        "u",
        "Ann Lee lives in Oslo and works for Acme",
        {"Ann Lee": "Peop", "Oslo": "Loc", "Acme": "Org"},
        ("Ann Lee", "Live_In", "Oslo"),
        ("Ann Lee", "Work_For", "Acme"),
    )
    projected = project(utterance, "Anne Li lives in 99 and works for Acme")
    assert [(t.head.text, t.relation, t.tail.text) for t in projected.triplets] == [("Anne Li", "Work_For", "Acme")]
    assert (projected.id, projected.audio) == (utterance.id, utterance.audio)


def test_an_entity_without_a_place_is_left_out() -> None:
    utterance = Utterance("u", None, "Ann", (Entity("Ann", "Peop", "e0"),))
    assert project(utterance, "Ann").entities == ()


@given(TEXTS, TEXTS)
def test_entities_lie_in_the_transcript_and_do_not_overlap(text: str, transcript: str) -> None:
    half = len(text) // 2
    spans = [(start, end) for start, end in ((0, half), (half, len(text))) if end > start]
    entities = tuple(Entity(text[a:b], "Org", f"e{i}", a, b) for i, (a, b) in enumerate(spans))
    places = []
    for entity in project(Utterance("u", None, text, entities), transcript).entities:
        assert entity.start is not None
        assert entity.end is not None
        assert transcript[entity.start : entity.end] == entity.text != ""
        places.append((entity.start, entity.end))
    assert all(first[1] <= second[0] for first, second in pairwise(places))

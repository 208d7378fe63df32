"""Treebank text to plain text: how it reads, where the entities go, and what stays equal for the scoring."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechre.data.plain_text import plain_utterance
from speechre.metrics import normalize_text
from speechre.types import Entity, Relation, Utterance


def annotate(text: str, *marked: str) -> Utterance:
    """An utterance with an entity of type Other at the first place of each text."""
    entities = tuple(
        Entity(one, "Other", f"e{i}", text.index(one), text.index(one) + len(one)) for i, one in enumerate(marked)
    )
    return Utterance("u", None, text, entities)


@pytest.mark.parametrize(
    ("treebank", "plain"),
    [
        ("Ann Berg lives in Oslo .", "Ann Berg lives in Oslo."),
        ("In Salem , N.C. , rain fell ; nobody minded .", "In Salem, N.C., rain fell; nobody minded."),
        ("`` Come in , '' she said .", "Come in, she said."),
        ("The ` old ' town", "The old town"),
        ('He said " no " twice', "He said no twice"),
        ("Acme ( a maker of anvils ) closed .", "Acme (a maker of anvils) closed."),
        ("the dog 's bone", "the dog's bone"),
        ("They 're late and we 'll go", "They're late and we'll go"),
        ("Sean O 'Hara", "Sean O'Hara"),
        ("It cost $ 5 , or 3 % more", "It cost $5, or 3% more"),
        ("OSLO HARBOUR was closed by NATO and the UN", "Oslo Harbour was closed by NATO and the UN"),
        ("  a   b  ", "a b"),
        ("the sailors' hats", "the sailors' hats"),
        ("", ""),
        (" '' ", ""),
    ],
)
def test_how_it_reads(treebank: str, plain: str) -> None:
    assert plain_utterance(Utterance("u", None, treebank)).text == plain


def test_entities_are_carried() -> None:
    utterance = annotate("`` Ann Berg , of Acme Co. , '' said Bo .", "Ann Berg", "Acme Co.", "Bo")
    plain = plain_utterance(utterance)
    assert plain.text == "Ann Berg, of Acme Co., said Bo."
    assert [e.text for e in plain.entities] == ["Ann Berg", "Acme Co.", "Bo"]
    assert [(e.start, e.end) for e in plain.entities] == [(0, 8), (13, 21), (28, 30)]
    assert [(e.id, e.type) for e in plain.entities] == [("e0", "Other"), ("e1", "Other"), ("e2", "Other")]


def test_entities_at_both_ends() -> None:
    plain = plain_utterance(annotate("Ann Berg left Trondheim .", "Ann Berg", "Trondheim ."))
    assert [e.text for e in plain.entities] == ["Ann Berg", "Trondheim"]  # the stop is the sentence's
    plain = plain_utterance(annotate("Ann works for Acme Co.", "Ann", "Acme Co."))
    assert [e.text for e in plain.entities] == ["Ann", "Acme Co."]  # here it is the abbreviation's
    plain = plain_utterance(annotate("Oslo", "Oslo"))
    assert [(e.text, e.start, e.end) for e in plain.entities] == [("Oslo", 0, 4)]


def test_a_comma_or_blank_at_an_entity_s_edge_is_left_out() -> None:
    plain = plain_utterance(annotate("In Bergen , Ann sang .", "Bergen ,", " Ann "))
    assert [e.text for e in plain.entities] == ["Bergen", "Ann"]


def test_quotes_inside_an_entity_go() -> None:
    plain = plain_utterance(annotate("He saw `` The Wind '' twice", "`` The Wind ''"))
    assert plain.text == "He saw The Wind twice"
    assert plain.entities[0].text == "The Wind"


def test_an_entity_of_mere_quotes_keeps_what_was_annotated() -> None:
    plain = plain_utterance(annotate("He wrote '' here", "''"))
    assert plain.entities[0].text == "''"
    assert plain.entities[0].start is None


def test_an_entity_without_span_keeps_its_text() -> None:
    utterance = Utterance("u", None, "in Salem , N.C.", (Entity("Salem , N.C.", "Loc", "e0"),))
    assert plain_utterance(utterance).entities == utterance.entities


def test_relations_and_everything_else_stay() -> None:
    utterance = annotate("Ann , of Oslo", "Ann", "Oslo")
    utterance = Utterance(
        "u", None, utterance.text, utterance.entities, (Relation("e0", "e1", "Live_In"),), "train", "s1", {"k": 1}
    )
    plain = plain_utterance(utterance)
    assert plain.relations == utterance.relations
    assert (plain.id, plain.split, plain.speaker, plain.extra) == ("u", "train", "s1", {"k": 1})


MARKS = ["``", "''", "`", "'", '"', ",", ".", ";", "?", "(", ")", "$", "%", "--", "…"]
WORDS = ["Ann", "Berg", "Oslo", "N.C.", "U.S.", "5", "BERGEN", "THE NEWS", "AT&T", "Trondheim", "O’Brien", "1,000", "ß"]
words = st.sampled_from([*MARKS, *WORDS])


@given(st.lists(words, min_size=1, max_size=14), st.data())
def test_spans_and_normalized_text_hold_for_any_sentence(tokens: list[str], data: st.DataObject) -> None:
    text = " ".join(tokens)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    plain = plain_utterance(Utterance("u", None, text, (Entity(text[start:end], "Other", "e0", start, end),)))
    (entity,) = plain.entities
    assert normalize_text(plain.text).replace(" ", "") == normalize_text(text).replace(" ", "")
    assert not re.search(r"^\s|\s$|\s\s", plain.text)
    if entity.start is not None:
        assert plain.text[entity.start : entity.end] == entity.text
        assert entity.text == entity.text.strip(" ,;:")


@given(st.lists(words, min_size=1, max_size=14), st.data())
def test_whole_words_stay_equal_under_the_scoring_s_normalization(tokens: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(tokens) - 1))
    last = data.draw(st.integers(first, len(tokens) - 1))
    text, annotated = " ".join(tokens), " ".join(tokens[first : last + 1])
    start = len(" ".join(tokens[:first])) + (first > 0)
    utterance = Utterance("u", None, text, (Entity(annotated, "Other", "e0", start, start + len(annotated)),))
    plain = plain_utterance(utterance)
    assert normalize_text(plain.text) == normalize_text(text)
    assert normalize_text(plain.entities[0].text) == normalize_text(annotated)


def test_a_joined_clitic_is_the_exception() -> None:
    plain = plain_utterance(annotate("the People 's Party won", "People 's Party"))
    assert plain.entities[0].text == "People's Party"
    assert normalize_text("People's Party") == "peoples party" != normalize_text("People 's Party")

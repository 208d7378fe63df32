"""Words, spans, targets and negative samples."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechre.errors import CheckpointError, DataError, SchemaError
from speechre.reader.spans import (
    WordTokenizer,
    iter_spans,
    make_example,
    sample_pairs,
    sample_spans,
    standing_texts,
    words_of,
)
from speechre.schemas import CONLL04
from speechre.types import Entity, Relation, Utterance

PEOP, LOC = CONLL04.entity_types.index("Peop"), CONLL04.entity_types.index("Loc")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ann, of Acme.", ["Ann", ",", "of", "Acme", "."]),
        ("N.C.", ["N", ".", "C", "."]),
        ("O'Brien-27%", ["O", "'", "Brien", "-", "27", "%"]),
        ("  Malmö ", ["Malmö"]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in words_of(text)] == words


@given(st.integers(0, 12), st.integers(1, 12))
def test_every_span_comes_once(num_words: int, max_words: int) -> None:
    spans = list(iter_spans(num_words, max_words))
    assert len(set(spans)) == len(spans)
    assert set(spans) == {
        (start, end)
        for start in range(num_words)
        for end in range(start + 1, num_words + 1)
        if end - start <= max_words
    }


def test_a_sentence_knows_where_its_words_lie(word_tokenizer: WordTokenizer) -> None:
    sentence = word_tokenizer.sentence("Ann Leeds, Oslo")
    # "leeds" is "lee" and two letters.
    assert sentence.tokens == ((1, 2), (2, 5), (5, 6), (6, 7))
    assert sentence.token_ids[0] == word_tokenizer.cls_id
    assert sentence.token_ids[-1] == word_tokenizer.sep_id
    assert len(sentence.token_ids) == 8
    assert sentence.text_of((0, 2)) == "Ann Leeds"
    assert sentence.tokens_of((1, 4)) == (2, 7)
    assert not sentence.is_cut


def test_a_word_without_tokens_is_no_word(word_tokenizer: WordTokenizer) -> None:
    sentence = word_tokenizer.sentence("Ann \u0301 Oslo")  # BERT strips a lone accent
    assert [sentence.text[slice(*span)] for span in sentence.chars] == ["Ann", "Oslo"]
    assert sentence.tokens == ((1, 2), (2, 3))


def test_a_long_text_is_cut_between_words_and_says_so(word_tokenizer: WordTokenizer) -> None:
    sentence = word_tokenizer.sentence("Ann " * 80)
    assert sentence.is_cut
    assert len(sentence.token_ids) == 64
    assert len(sentence.chars) == len(sentence.tokens) == 62
    # A word of three tokens does not fit behind sixty of one.
    sentence = word_tokenizer.sentence("Ann " * 60 + "Leeds")
    assert sentence.is_cut
    assert len(sentence.chars) == 60
    assert sentence.token_ids[-1] == word_tokenizer.sep_id


@given(st.text(alphabet="Ann Leo.,'é\u0301\x00-", max_size=40))
def test_places_fit_whatever_the_text_says(text: str) -> None:
    from tests.reader.conftest import make_tokenizer

    sentence = WordTokenizer(make_tokenizer().to_str(), 24).sentence(text)
    assert len(sentence.chars) == len(sentence.tokens)
    ends = [0, *(end for _, end in sentence.chars)]
    assert all(start >= before and end > start for before, (start, end) in zip(ends, sentence.chars, strict=False))
    assert all(end > start for start, end in sentence.tokens)
    assert (sentence.tokens[-1][1] if sentence.tokens else 1) <= len(sentence.token_ids) - 1 <= 23


def test_targets(word_tokenizer: WordTokenizer, sentences: list[Utterance]) -> None:
    example = make_example(sentences[0], word_tokenizer, CONLL04)
    assert example.id == "u0"
    assert example.entities == {(0, 2): PEOP, (4, 5): LOC}
    assert example.relations == {((0, 2), (4, 5)): frozenset({CONLL04.relation_types.index("Live_In")})}


def test_an_entity_takes_the_words_it_touches_and_the_first_type_counts(word_tokenizer: WordTokenizer) -> None:
    entities = (
        Entity("nn Le", "Peop", "e0", 1, 6),
        Entity("Lee", "Org", "e1", 4, 7),
        Entity("Ann Lee", "Loc", "e2", 0, 7),
    )
    relations = (Relation("e0", "e1", "Work_For"), Relation("e2", "e1", "Kill"), Relation("e0", "e2", "Kill"))
    example = make_example(Utterance("u", None, "Ann Lee", entities, relations), word_tokenizer, CONLL04)
    assert example.entities == {(0, 2): PEOP, (1, 2): CONLL04.entity_types.index("Org")}
    # Two relations of one pair are both told; one from a span to itself is none.
    kinds = {CONLL04.relation_types.index("Work_For"), CONLL04.relation_types.index("Kill")}
    assert example.relations == {((0, 2), (1, 2)): frozenset(kinds)}


def test_what_has_no_place_is_an_error(word_tokenizer: WordTokenizer, sentences: list[Utterance]) -> None:
    one = sentences[0]
    with pytest.raises(DataError, match=r'"u0": entity "e0" \("Ann Lee"\) has no place'):
        make_example(
            replace(one, entities=(replace(one.entities[0], start=None), *one.entities[1:])), word_tokenizer, CONLL04
        )
    with pytest.raises(DataError, match='"u0": its text takes more than the 64 tokens'):
        make_example(replace(one, text=one.text * 20), word_tokenizer, CONLL04)
    with pytest.raises(SchemaError, match='unknown entity type "Cat"'):
        make_example(replace(one, entities=(replace(one.entities[0], type="Cat"),)), word_tokenizer, CONLL04)
    with pytest.raises(SchemaError, match='unknown relation type "Eats"'):
        make_example(replace(one, relations=(Relation("e0", "e1", "Eats"),)), word_tokenizer, CONLL04)


def test_negatives_are_no_entities_and_follow_the_seed(
    word_tokenizer: WordTokenizer, sentences: list[Utterance]
) -> None:
    example = make_example(sentences[0], word_tokenizer, CONLL04)
    drawn = [sample_spans(example, 5, 3, random.Random("1")) for _ in range(2)]
    assert drawn[0] == drawn[1] != sample_spans(example, 5, 3, random.Random("2"))
    assert len(set(drawn[0])) == 5
    assert not set(drawn[0]) & set(example.entities)
    every = set(iter_spans(6, 3)) - set(example.entities)
    assert set(sample_spans(example, 1000, 3, random.Random("1"))) == every
    assert sample_pairs(example, 10, random.Random("1")) == [((4, 5), (0, 2))]
    assert sample_pairs(example, 0, random.Random("1")) == []


def test_a_tokenizer_that_is_not_berts_is_refused() -> None:
    with pytest.raises(CheckpointError, match="refuses the text encoder's tokenizer"):
        WordTokenizer("{}")
    from tokenizers import Tokenizer, models

    with pytest.raises(CheckpointError, match=r"has no \[CLS\]"):
        WordTokenizer(Tokenizer(models.WordPiece({"a": 0}, unk_token="a")).to_str())


def test_standing_texts() -> None:
    standing = standing_texts("The U.S.-based Acme, Inc.", 3)
    assert {"us", "based acme", "acme inc"} <= standing
    assert "based acme inc" not in standing  # "based", "Acme", ",", "Inc" are four words
    assert standing_texts("", 3) == frozenset()

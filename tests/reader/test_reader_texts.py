"""What the text model learns from, and what a text allows to be found."""

from __future__ import annotations

import pytest

from speechre.errors import DataError, UsageError
from speechre.reader.texts import Reach, reach, training_texts, with_transcripts
from speechre.types import Utterance

HEARD = {
    "u0": "Ann Lee lives in Oslo.",
    "u0@other": "Anne Li lives in Oslo.",
    "u1": "Bow works for Acme.",
    "u2": "And Bo.",
}


def texts_of(utterances: list[Utterance]) -> list[tuple[str, str]]:
    return [(utterance.id, utterance.text) for utterance in utterances]


def test_gold_texts_are_plain_and_come_once_each(sentences: list[Utterance]) -> None:
    gold = training_texts(sentences, "gold")
    assert texts_of(gold) == [("u0", "Ann Lee lives in Oslo."), ("u1", "Bo works for Acme."), ("u2", "Ann and Bo.")]
    assert [entity.text for entity in gold[0].entities] == ["Ann Lee", "Oslo"]


def test_transcripts_carry_the_projected_annotation(sentences: list[Utterance]) -> None:
    heard = training_texts(sentences, "transcript", HEARD)
    assert texts_of(heard) == list(HEARD.items())
    assert [(t.head.text, t.tail.text) for u in heard for t in u.triplets] == [
        ("Ann Lee", "Oslo"),
        ("Anne Li", "Oslo"),
        ("Bow", "Acme"),
    ]


def test_both(sentences: list[Utterance]) -> None:
    both = training_texts(sentences, "both", HEARD)
    assert both == training_texts(sentences, "gold") + training_texts(sentences, "transcript", HEARD)


def test_a_missing_transcript_is_an_error(sentences: list[Utterance]) -> None:
    heard = {key: text for key, text in HEARD.items() if key != "u1"}
    for call in (
        lambda: training_texts(sentences, "transcript", heard),
        lambda: with_transcripts(sentences, heard),
        lambda: reach(sentences, heard, 5),
    ):
        with pytest.raises(DataError, match='1 of 4 utterances have no transcript, the first is "u1"'):
            call()
    with pytest.raises(DataError, match="4 of 4"):
        training_texts(sentences, "transcript")
    with pytest.raises(UsageError, match='unknown text source "silver"'):
        training_texts(sentences, "silver")  # type: ignore[arg-type]


def test_what_is_read_in_evaluation_holds_no_annotation(sentences: list[Utterance]) -> None:
    read = with_transcripts(sentences, HEARD)
    assert texts_of(read) == list(HEARD.items())
    assert not any(utterance.entities or utterance.relations for utterance in read)
    assert [utterance.audio for utterance in read] == [utterance.audio for utterance in sentences]


def test_reach(sentences: list[Utterance]) -> None:
    found = reach(sentences, HEARD, 3)
    # Of "u0@other" Ann Lee is lost, of "u1" Bo, of "u2" Ann.
    assert found == Reach(num_entities=8, num_entities_standing=5, num_triplets=3, num_triplets_standing=1)
    assert (found.entities, found.triplets) == (5 / 8, 1 / 3)
    assert reach(sentences, HEARD, 1).num_entities_standing == 4  # "Ann Lee" is two words
    assert Reach(0, 0, 0, 0).triplets == 0.0


def test_of_both_kinds_what_was_not_heard_is_learned_as_it_was_written(sentences: list[Utterance]) -> None:
    heard = {key: text for key, text in HEARD.items() if key != "u1"}
    all_of_it = training_texts(sentences, "both", HEARD)
    assert [text.id for text in training_texts(sentences, "both", heard)] == [
        text.id for number, text in enumerate(all_of_it) if text.id != "u1" or number < len(all_of_it) - len(HEARD)
    ]
    with pytest.raises(DataError, match="4 of 4 utterances have no transcript"):
        training_texts(sentences, "both", {})

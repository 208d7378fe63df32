"""Counts that were made by hand."""

from __future__ import annotations

import json

import pytest

from speechre.data.stats import manifest_stats
from speechre.types import AudioRef, Entity, Relation, Utterance


def utterance(
    name: str, *relations: tuple[int, str, int], duration_s: float | None = None, text: str = ""
) -> Utterance:
    entities = tuple(Entity(text=chr(65 + i), type="Peop" if i % 2 else "Loc", id=f"e{i}") for i in range(4))
    links = tuple(Relation(f"e{head}", f"e{tail}", kind) for head, kind, tail in relations)
    audio = None if duration_s is None else AudioRef(f"{name}.wav", 0.0, duration_s)
    return Utterance(name, audio, text or name, entities, links, "train", "s1" if duration_s else None)


def test_counts_made_by_hand() -> None:
    stats = manifest_stats(
        [
            utterance("a", duration_s=1.0),
            utterance("b", (1, "Live_In", 0), (1, "Live_In", 0), duration_s=2.0, text="one two three"),
            utterance("c", (1, "Live_In", 0), (3, "Live_In", 2), duration_s=6.0),
        ]
    )
    assert stats["num_utterances"] == 3
    assert stats["num_entities"] == 12
    assert (stats["num_triplets"], stats["num_distinct_triplets"]) == (4, 3)
    assert stats["entity_types"] == {"Loc": 6, "Peop": 6}
    assert stats["relation_types"] == {"Live_In": 4}
    assert stats["type_patterns"] == {"Peop Live_In Loc": 4}
    assert stats["triplets_per_utterance"] == {"0": 1, "2": 2}
    assert stats["overlap"] == {"none": 1, "normal": 2, "entity_pair": 0, "single_entity": 0}
    assert stats["duration_s"] == {
        "total": 9.0, "mean": 3.0, "median": 2.0, "min": 1.0, "max": 6.0, "hours": 0.0025, "num_unknown": 0,
    }  # fmt: skip
    assert stats["speakers"] == {"s1": 3}
    assert stats["words"]["max"] == 3
    assert json.loads(json.dumps(stats)) == stats


@pytest.mark.parametrize(
    ("relations", "expected"),
    [
        ([(1, "R", 0), (0, "R", 1)], {"entity_pair"}),
        ([(1, "R", 0), (1, "S", 0)], {"entity_pair"}),
        ([(1, "R", 0), (1, "R", 2)], {"single_entity"}),
        ([(1, "R", 0), (1, "S", 0), (3, "R", 0)], {"entity_pair", "single_entity"}),
        ([(1, "R", 0), (3, "R", 2)], {"normal"}),
        ([(0, "R", 0)], {"normal"}),
        ([], {"none"}),
    ],
)
def test_overlap_patterns(relations: list[tuple[int, str, int]], expected: set[str]) -> None:
    overlap = manifest_stats([utterance("a", *relations)])["overlap"]
    assert {name for name, count in overlap.items() if count} == expected


def test_no_utterances_and_no_audio() -> None:
    assert manifest_stats([])["num_utterances"] == 0
    stats = manifest_stats([utterance("a"), utterance("b", text="a")])
    assert stats["duration_s"]["num_unknown"] == 2
    assert stats["num_with_audio"] == 0
    assert stats["num_repeated_texts"] == 1

"""Counts that were made by hand."""

from __future__ import annotations

import json

import pytest

from speechre.data.stats import MAX_BINS, manifest_stats
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


def test_speakers_parts_and_words_made_by_hand() -> None:
    items = [
        Utterance("a", AudioRef("a.wav", 0.0, 1.0), "Ann, Ann Lee!", split="train", speaker="s"),
        Utterance("b", AudioRef("b.wav", 0.0, 4.9), "bo", split="train", speaker="s", extra={"accent": "Kenyan"}),
        Utterance("c", None, "BO ann", split="dev", extra={"common_voice": {"accents": "Kenyan", "gender": "female"}}),
        Utterance("d", None, "", extra={"accents": " ", "gender": 7}),
    ]
    stats = manifest_stats(items)
    assert (stats["num_speakers"], stats["utterances_per_speaker"]["mean"]) == (1, 2.0)
    assert stats["accents"] == {"": 2, "Kenyan": 2}
    assert (stats["genders"], stats["ages"]) == ({"": 3, "female": 1}, {})
    assert stats["vocabulary"] == {"num_words": 6, "num_distinct": 3, "num_once": 1}
    assert stats["frequent_words"] == {"ann": 3, "bo": 2, "lee": 1}
    assert list(stats["parts"]) == ["train", "dev", ""]
    assert stats["parts"]["train"] == {
        "num_utterances": 2, "num_triplets": 0, "num_speakers": 1, "num_distinct_words": 3, "hours": 0.0016,
    }  # fmt: skip
    assert stats["parts"]["dev"]["num_distinct_words"] == 2


@pytest.mark.parametrize(
    ("durations", "expected"),
    [
        ([], {}),
        ([0.2, 0.5, 1.7], {"0-0.5": 1, "0.5-1": 1, "1-1.5": 0, "1.5-2": 1}),
        ([10.0], {"10-11": 1}),
        ([29.0, 40.0], {"25-30": 1, "30-35": 0, "35-40": 0, "40-45": 1}),
    ],
)
def test_histogram(durations: list[float], expected: dict[str, int]) -> None:
    items = [utterance(str(i), duration_s=duration_s) for i, duration_s in enumerate(durations)]
    assert manifest_stats(items)["duration_histogram"] == expected


def test_bins_are_few_and_hold_everything() -> None:
    for longest in (0.01, 3.0, 19.9, 20.0, 700.0, 80_000.0, 10.0**7):
        bins = manifest_stats([utterance("a", duration_s=longest), utterance("b", duration_s=longest / 3)])
        assert sum(bins["duration_histogram"].values()) == 2
        assert len(bins["duration_histogram"]) <= MAX_BINS

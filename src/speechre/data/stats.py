"""What a data set holds, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from statistics import fmean, median
from typing import Any

from speechre.types import Utterance


def manifest_stats(utterances: Iterable[Utterance]) -> dict[str, Any]:
    """Counts and distributions of ``utterances`` as a JSON-ready dict; the same input gives the same dict.

    Distributions go from the most frequent value down. ``overlap`` counts utterances by how their (distinct)
    triplets share entities: ``none`` has no triplets, ``normal`` shares nothing, ``entity_pair`` has two
    relations between the same two entities (in any direction), ``single_entity`` has two triplets with one
    entity in common; an utterance can be in the last two at once. ``duration_s`` covers the utterances whose
    manifest line has a duration; the others are counted as ``num_unknown``. Entities are compared by text and
    type.
    """
    items = list(utterances)
    triplets = [item.triplets for item in items]
    distinct = [tuple(dict.fromkeys(group)) for group in triplets]
    audios = [item.audio for item in items if item.audio is not None]
    return {
        "num_utterances": len(items),
        "num_with_audio": len(audios),
        "num_recordings": len({audio.path for audio in audios}),
        "num_entities": sum(len(item.entities) for item in items),
        "num_triplets": sum(map(len, triplets)),
        "num_distinct_triplets": sum(map(len, distinct)),
        "entity_types": _counts(entity.type for item in items for entity in item.entities),
        "relation_types": _counts(relation.type for item in items for relation in item.relations),
        "type_patterns": _counts(
            f"{triplet.head.type} {triplet.relation} {triplet.tail.type}" for group in triplets for triplet in group
        ),
        "triplets_per_utterance": {str(k): n for k, n in sorted(Counter(map(len, triplets)).items())},
        "overlap": _overlap(distinct),
        "duration_s": _duration(items),
        "splits": _counts(item.split or "" for item in items),
        "speakers": _counts(item.speaker or "" for item in items),
        "words": _summary([len(item.text.split()) for item in items]),
        "num_repeated_texts": len(items) - len({item.text for item in items}),
    }


def _counts(values: Iterable[str]) -> dict[str, int]:
    """Most frequent first, equal ones by name; "" stands for unknown."""
    return dict(sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0])))


def _overlap(groups: Sequence[Sequence[Any]]) -> dict[str, int]:
    out = {"none": 0, "normal": 0, "entity_pair": 0, "single_entity": 0}
    for group in groups:
        pairs: list[frozenset[Hashable]] = [frozenset((triplet.head, triplet.tail)) for triplet in group]
        shares_pair = any(one == other for one, other in combinations(pairs, 2))
        shares_one = any(one != other and one & other for one, other in combinations(pairs, 2))
        out["none"] += not group
        out["normal"] += bool(group) and not shares_pair and not shares_one
        out["entity_pair"] += shares_pair
        out["single_entity"] += shares_one
    return out


def _duration(items: Sequence[Utterance]) -> dict[str, float | int]:
    known = [item.audio.duration_s for item in items if item.audio is not None and item.audio.duration_s is not None]
    return {**_summary(known), "hours": round(sum(known) / 3600, 4), "num_unknown": len(items) - len(known)}


def _summary(values: Sequence[float]) -> dict[str, float | int]:
    if not values:
        return {"total": 0, "mean": 0, "median": 0, "min": 0, "max": 0}
    return {
        "total": round(sum(values), 3),
        "mean": round(fmean(values), 3),
        "median": round(median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }

"""What a data set holds, in numbers."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from statistics import fmean, median
from typing import Any

from speechre.metrics import normalize_text
from speechre.types import Utterance

OF_SPEAKERS: Mapping[str, tuple[str, ...]] = {
    "accents": ("accents", "accent"),
    "genders": ("gender", "genders"),
    "ages": ("age", "ages"),
}
"""What ``extra`` may tell of who speaks, under the names that Common Voice's releases have had."""
NUM_FREQUENT_WORDS = 20
MAX_BINS = 20
"""Of the histogram of durations."""
_BIN_WIDTHS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


def manifest_stats(utterances: Iterable[Utterance]) -> dict[str, Any]:
    """Counts and distributions of ``utterances`` as a JSON-ready dict; the same input gives the same dict.

    Distributions go from the most frequent value down; "" stands for unknown. Entities are compared by text and type.

    - ``overlap`` counts utterances by how their (distinct) triplets share entities, after Zeng et al. 2018 ("Extracting
      Relational Facts by an End-to-End Neural Model with Copy Mechanism", section 1): ``none`` has no triplets,
      ``normal`` shares nothing, ``entity_pair`` (EPO) has two relations between the same two entities, in any
      direction, ``single_entity`` (SEO) has two triplets with one entity in common and not the other. An utterance can
      be in the last two at once.
    - ``duration_s`` and its histogram cover the utterances whose manifest line has a duration; the others are counted
      as ``num_unknown``. Bins are half-open, in seconds.
    - ``accents``, ``genders`` and ``ages`` count utterances by what ``extra`` tells of who speaks, and are empty where
      none tells anything.
    - ``vocabulary`` and ``frequent_words`` are of words as the scores compare them: lower case, without punctuation.
    - ``parts`` has the figures of each split; speakers, words and triplets of several add up to more than the whole
      where they share some.
    """
    items = list(utterances)
    triplets = [item.triplets for item in items]
    distinct = [tuple(dict.fromkeys(group)) for group in triplets]
    audios = [item.audio for item in items if item.audio is not None]
    speakers = _counts(item.speaker or "" for item in items)
    words = _words(items)
    return {
        "num_utterances": len(items),
        "num_with_audio": len(audios),
        "num_recordings": len({audio.path for audio in audios}),
        "num_entities": sum(len(item.entities) for item in items),
        "num_triplets": sum(map(len, triplets)),
        "num_distinct_triplets": sum(map(len, distinct)),
        "num_speakers": len(speakers) - ("" in speakers),
        "entity_types": _counts(entity.type for item in items for entity in item.entities),
        "relation_types": _counts(relation.type for item in items for relation in item.relations),
        "type_patterns": _counts(
            f"{triplet.head.type} {triplet.relation} {triplet.tail.type}" for group in triplets for triplet in group
        ),
        "triplets_per_utterance": {str(k): n for k, n in sorted(Counter(map(len, triplets)).items())},
        "overlap": _overlap(distinct),
        "duration_s": _duration(items),
        "duration_histogram": _histogram(_durations_s(items)),
        "splits": _counts(item.split or "" for item in items),
        "parts": _parts(items),
        "speakers": speakers,
        "utterances_per_speaker": _summary([count for speaker, count in speakers.items() if speaker]),
        **{name: _told(items, keys) for name, keys in OF_SPEAKERS.items()},
        "words": _summary([len(item.text.split()) for item in items]),
        "words_per_entity": _summary([len(entity.text.split()) for item in items for entity in item.entities]),
        "vocabulary": {
            "num_words": words.total(),
            "num_distinct": len(words),
            "num_once": sum(count == 1 for count in words.values()),
        },
        "frequent_words": dict(list(_sorted(words).items())[:NUM_FREQUENT_WORDS]),
        "num_repeated_texts": len(items) - len({item.text for item in items}),
    }


def _counts(values: Iterable[str]) -> dict[str, int]:
    return _sorted(Counter(values))


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    """Most frequent first, equal ones by name."""
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


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


def _durations_s(items: Sequence[Utterance]) -> list[float]:
    return [item.audio.duration_s for item in items if item.audio is not None and item.audio.duration_s is not None]


def _duration(items: Sequence[Utterance]) -> dict[str, float | int]:
    known = _durations_s(items)
    return {**_summary(known), "hours": round(sum(known) / 3600, 4), "num_unknown": len(items) - len(known)}


def _histogram(durations_s: Sequence[float]) -> dict[str, int]:
    """``"2-4"``: how many durations from 2 s up to, not with, 4 s; bins without any in between have 0.

    >>> _histogram([0.2, 0.5, 1.7])
    {'0-0.5': 1, '0.5-1': 1, '1-1.5': 0, '1.5-2': 1}
    """
    if not durations_s:
        return {}
    longest = max(durations_s)
    width = next((w for w in _BIN_WIDTHS_S if longest / w < MAX_BINS), math.ceil(longest / MAX_BINS + 1))
    found = Counter(int(duration // width) for duration in durations_s)
    return {f"{place * width:g}-{(place + 1) * width:g}": found[place] for place in range(min(found), max(found) + 1)}


def _parts(items: Sequence[Utterance]) -> dict[str, dict[str, float | int]]:
    members: dict[str, list[Utterance]] = defaultdict(list)
    for item in items:
        members[item.split or ""].append(item)
    return {
        name: {
            "num_utterances": len(found),
            "num_triplets": sum(len(item.relations) for item in found),
            "num_speakers": len({item.speaker for item in found if item.speaker is not None}),
            "num_distinct_words": len(_words(found)),
            "hours": round(sum(_durations_s(found)) / 3600, 4),
        }
        for name, found in members.items()
    }


def _told(items: Sequence[Utterance], keys: Sequence[str]) -> dict[str, int]:
    values = [_told_by(item.extra, keys) for item in items]
    return _counts(values) if any(values) else {}


def _told_by(extra: Mapping[str, Any], keys: Sequence[str]) -> str:
    """A value of ``extra``, or of an object in it: a release's own fields often stand together in one."""
    for place in (extra, *(value for value in extra.values() if isinstance(value, Mapping))):
        for key in keys:
            if isinstance(place.get(key), str) and place[key].strip():
                return str(place[key]).strip()
    return ""


def _words(items: Iterable[Utterance]) -> Counter[str]:
    return Counter(word for item in items for word in normalize_text(item.text).split())


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

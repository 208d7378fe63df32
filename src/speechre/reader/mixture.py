"""Reading what may have been said: beliefs averaged over several transcripts of one recording.

The probability of a triplet is its probability in each transcript, weighed by how likely that transcript is. So a
triplet whose name every transcript spells alike is believed, and one that stands on a misheard name in a single one is
not; and a name that only the second transcript got right can still be found.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace

from speechre.metrics import triplet_key
from speechre.reader.reader import TextReader
from speechre.types import Triplet

_LEAST_SHARE = 0.01  # less belief than this in a transcript makes no triplet
_TEXTS_AT_ONCE = 16


def expected_beliefs(
    reader: TextReader, transcripts: Sequence[Sequence[tuple[str, float]]]
) -> list[tuple[Triplet, ...]]:
    """For each recording, given as (transcript, share) pairs whose shares sum to 1, all triplets that any transcript
    may hold, the likeliest first, with the expected belief as confidence.

    Spellings that normalize alike are one triplet, spelled as where it is believed most. Transcripts of a share below
    0.01 are not read, and what the others say is not made surer by that.
    """
    likely = [[(text, share) for text, share in ours if share >= _LEAST_SHARE] for ours in transcripts]
    texts = [text for ours in likely for text, _ in ours]
    read = _all_beliefs(reader, texts)
    return [_expected([(next(read), share) for _, share in ours]) for ours in likely]


def _all_beliefs(reader: TextReader, texts: Sequence[str]) -> Iterator[tuple[Triplet, ...]]:
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        yield from reader.beliefs(texts[start : start + _TEXTS_AT_ONCE])


def _expected(readings: Sequence[tuple[tuple[Triplet, ...], float]]) -> tuple[Triplet, ...]:
    sums: dict[Hashable, float] = {}
    spelled: dict[Hashable, tuple[float, Triplet]] = {}
    for triplets, share in readings:
        for triplet in triplets:
            key = triplet_key(triplet, "boundary")
            believed = share * (triplet.confidence or 0.0)
            sums[key] = sums.get(key, 0.0) + believed
            if key not in spelled or believed > spelled[key][0]:
                spelled[key] = believed, triplet
    found = [replace(triplet, confidence=min(1.0, sums[key])) for key, (_, triplet) in spelled.items()]
    return tuple(sorted(found, key=lambda triplet: -(triplet.confidence or 0.0)))

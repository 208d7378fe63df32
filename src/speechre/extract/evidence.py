"""Where in the recording a triplet's entities were said.

Entities are spans of the transcript, and the decoder's attention says when each of its words was spoken
(:mod:`speechre.decode.alignment`). A text that stands there several times is taken where it makes the shortest
statement: of all places of head and tail the two that do not overlap and lie closest together, of equals the first.
A name that only another reading of the sound spells so (:mod:`speechre.decode.transcripts`) was said where the
transcript has the words that are aligned with it: it has seconds, but no characters. Of several spellings of one
statement the surest is told.
What cannot be placed has the whole chunk's span; the entity is marked so, and a warning says why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from itertools import product

from speechre.decode.alignment import TranscriptTimes
from speechre.decode.ensemble import Analysis
from speechre.extract.chunks import TimeMap
from speechre.reader.projection import align_characters
from speechre.types import Entity, Triplet

Place = tuple[int, int]
"""A half-open span of characters of the transcript."""

NO_TRANSCRIPT = "there is no transcript to align; the times of its entities are those of the whole chunk"


def locate(analysis: Analysis, clock: TimeMap) -> Analysis:
    """``analysis`` of one chunk with its triplets' entities at their places: characters and seconds.

    The transcript is cut to the words that the chunk answers for; places are those in what is left of it, and an
    entity that was said in the rest has seconds only.
    """
    transcript, times = analysis.transcript, analysis.times
    kept = (0, 0) if transcript is None else _kept(transcript, times, clock)
    missing: dict[str, None] = {}
    located = []
    for triplet in analysis.triplets:
        entities = (triplet.head, triplet.tail)
        standing = [_places(entity.text, transcript or "") for entity in entities]
        found = [
            ours or _places_of_others(entity.text, analysis) for entity, ours in zip(entities, standing, strict=True)
        ]
        ends = []
        for entity, place, ours in zip(entities, _closest(*found), standing, strict=True):
            if place is None or times is None:
                missing[entity.text] = None
            end = _placed(entity, place, kept, times, clock)
            ends.append(end if ours else replace(end, start=None, end=None))
        located.append(replace(triplet, head=ends[0], tail=ends[1]))
    return replace(
        analysis,
        triplets=_told_once(located) if analysis.other_transcripts else tuple(located),
        transcript=None if transcript is None else transcript[slice(*kept)],
        warnings=(*analysis.warnings, *_warnings(missing, transcript)),
    )


def _told_once(triplets: Iterable[Triplet]) -> tuple[Triplet, ...]:
    """Without what a surer triplet says of the same words: only one spelling of a name was said there.

    Several transcripts spell a name in several ways, and each may be believed. ``triplets`` come by falling confidence.
    """
    kept: list[Triplet] = []
    for triplet in triplets:
        if not any(_is_said_at_once(triplet, surer) for surer in kept):
            kept.append(triplet)
    return tuple(kept)


def _is_said_at_once(triplet: Triplet, other: Triplet) -> bool:
    if triplet.relation != other.relation or "chunk" in (triplet.times_of, other.times_of):
        return False
    return _share_words(triplet.head, other.head) and _share_words(triplet.tail, other.tail)


def _share_words(entity: Entity, other: Entity) -> bool:
    """Whether more than half of the shorter one's time is the other's too."""
    spans = [(one.start_s or 0.0, one.end_s or 0.0) for one in (entity, other)]
    shared_s = min(end for _, end in spans) - max(start for start, _ in spans)
    return shared_s > min(end - start for start, end in spans) / 2


def _warnings(missing: dict[str, None], transcript: str | None) -> tuple[str, ...]:
    if transcript is None:
        return (NO_TRANSCRIPT,) if missing else ()
    return tuple(f'"{text}" is not in the transcript; its times are those of the whole chunk' for text in missing)


def _placed(entity: Entity, place: Place | None, kept: Place, times: TranscriptTimes | None, clock: TimeMap) -> Entity:
    if place is None or times is None:
        return replace(entity, start=None, end=None, start_s=clock.start_s, end_s=clock.end_s, times_of="chunk")
    start_s, end_s = (clock.to_recording_s(second) for second in times.span_s(*place))
    is_kept = kept[0] <= place[0] and place[1] <= kept[1]
    start, end = (char - kept[0] if is_kept else None for char in place)
    return replace(entity, start=start, end=end, start_s=start_s, end_s=end_s)


def _places(text: str, transcript: str) -> list[Place]:
    """Where ``text`` stands as whole words; where it never does, in any case of letters."""
    pattern = rf"(?<!\w){re.escape(text)}(?!\w)"
    for flags in (0, re.IGNORECASE):
        found = [match.span() for match in re.finditer(pattern, transcript, flags)] if text else []
        if found:
            return found
    return []


def _places_of_others(text: str, analysis: Analysis) -> list[Place]:
    """The words of the transcript that are aligned with ``text`` where the likeliest other transcript has it."""
    if not analysis.transcript:
        return []
    for other in analysis.other_transcripts:
        if places := _places(text, other):
            break
    else:
        return []
    words = [match.span() for match in re.finditer(r"\w+", analysis.transcript)]
    aligned = _aligned(other, analysis.transcript)
    found = []
    for start, end in places:
        touched = [
            word
            for word in words
            if any(source is not None and start <= source < end for source in aligned[slice(*word)])
        ]
        if touched:
            found.append((touched[0][0], touched[-1][1]))
    return found


@lru_cache(maxsize=64)
def _aligned(source: str, target: str) -> tuple[int | None, ...]:
    """Every name that only another transcript has asks for the same alignment of whole texts."""
    return tuple(align_characters(source, target))


def _closest(heads: list[Place], tails: list[Place]) -> tuple[Place | None, Place | None]:
    pairs = [(h, t) for h, t in product(heads, tails) if h[1] <= t[0] or t[1] <= h[0]]
    if not pairs:
        return next(iter(heads), None), next(iter(tails), None)
    return min(pairs, key=lambda pair: (max(pair[0][0], pair[1][0]) - min(pair[0][1], pair[1][1]), pair))


def _kept(transcript: str, times: TranscriptTimes | None, clock: TimeMap) -> Place:
    """The characters of the words whose middle lies in the span that the chunk answers for."""
    if times is None or not clock.is_shared:
        return 0, len(transcript)
    kept = []
    for word in re.finditer(r"\S+", transcript):
        start_s, end_s = (clock.to_recording_s(second) for second in times.span_s(*word.span()))
        if clock.owns((start_s + end_s) / 2):
            kept.append(word.span())
    return (kept[0][0], kept[-1][1]) if kept else (0, 0)

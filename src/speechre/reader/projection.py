"""From the annotated text onto what was heard: which words of a transcript say an entity of the gold text.

The two texts are aligned by their characters at the smallest edit distance, so that "Yolanda" meets "Yo Linda". A word
of the transcript belongs to an entity when at least half of its aligned characters are aligned with the entity's; so
"Connecticut" belongs to "Conn.", although most of it has no counterpart.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from speechre.reader.spans import Span, words_of
from speechre.types import Entity, Utterance

_LEAST_SHARE = 0.2  # of a word's characters: a word with fewer aligned ones was put in by the recognizer


def align_characters(source: str, target: str) -> list[int | None]:
    """For each character of ``target`` the index of the character of ``source`` that it was aligned with, or None where
    it was inserted. Case does not count; the indices rise.

    Of several best alignments the one with the longest diagonals from the end is taken: a character is aligned, even
    with another one, rather than left out.

    >>> align_characters("Ann Lee", "Anne Li")
    [0, 1, 2, None, 3, 4, 6]
    """
    ours, theirs = source.lower(), target.lower()
    if len(ours) != len(source) or len(theirs) != len(target):  # "İ" becomes two characters in lower case
        ours, theirs = source, target
    rows = [list(range(len(theirs) + 1))]
    for i, char in enumerate(ours, start=1):
        above, row = rows[-1], [i]
        left = i
        for j, other in enumerate(theirs):
            left = min(above[j] + (char != other), above[j + 1] + 1, left + 1)
            row.append(left)
        rows.append(row)
    aligned: list[int | None] = [None] * len(theirs)
    i, j = len(ours), len(theirs)
    while i and j:
        here = rows[i][j]
        if here == rows[i - 1][j - 1] + (ours[i - 1] != theirs[j - 1]):
            i, j = i - 1, j - 1
            aligned[j] = i
        elif here == rows[i - 1][j] + 1:
            i -= 1
        else:
            j -= 1
    return aligned


def project(utterance: Utterance, transcript: str) -> Utterance:
    """``utterance`` as it was heard: ``transcript`` as its text, the entities at their places in it, as it spells them.

    Entities of which no word was heard are left out, and with them their relations. Entities without a span have no
    place to carry over and are left out too.
    """
    text = utterance.text
    aligned = align_characters(text, transcript)
    owner: dict[int, int] = {}  # characters of the text to the number of their entity
    for number, entity in enumerate(utterance.entities):
        if entity.start is not None and entity.end is not None:
            for place in range(entity.start, entity.end):
                owner.setdefault(place, number)
    heard: dict[int, list[Span]] = {}
    for start, end in words_of(transcript):
        sources = [source for source in aligned[start:end] if source is not None]
        claims = Counter(owner[source] for source in sources if source in owner)
        for number, count in claims.most_common(1):
            is_mark = not transcript[start].isalnum() and end - start == 1
            if is_mark and text[sources[0]] != transcript[start]:  # a comma that took the place of a stop
                continue
            if 2 * count >= len(sources) and count >= _LEAST_SHARE * (end - start):
                heard.setdefault(number, []).append((start, end))
    entities: list[Entity] = []
    for number, entity in enumerate(utterance.entities):
        words = heard.get(number)
        if words is None:
            continue
        start, end = words[0][0], words[-1][1]
        pairs = ((transcript[place], aligned[place]) for place in range(start, end))
        # Where no letter is the same, something else was heard in the entity's place.
        if any(
            char.isalnum() and source is not None and text[source].lower() == char.lower() for char, source in pairs
        ):
            entities.append(replace(entity, text=transcript[start:end], start=start, end=end))
    kept = {entity.id for entity in entities}
    relations = tuple(r for r in utterance.relations if r.head_id in kept and r.tail_id in kept)
    return replace(utterance, text=transcript, entities=tuple(entities), relations=relations)

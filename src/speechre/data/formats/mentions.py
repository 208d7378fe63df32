"""Entities of triplets that come as bare texts, found in the sentence.

Where a text stands in several places, the place nearest to the entities that it is related to is taken. On
Speech-CoNLL04 (train and dev, offsets hidden: 2,687 related entity texts, 51 of them in several places) that gives the
annotated place for 37 of the 51; the first place and the last place give 25 each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from speechre.types import Entity, Relation, Triplet

_Key = tuple[str, str, int]  # text, type, 1 for the tail of a triplet whose head has the same text


def find_entities(
    text: str, triplets: Sequence[Triplet]
) -> tuple[tuple[Entity, ...], tuple[Relation, ...], dict[str, Any]]:
    """Entities with ids and spans, relations, and in ``extra`` form the ids whose place is a guess or unknown.

    Triplets that share a text and type share an entity; where head and tail of one triplet have the same text they
    are two. Places are whole words first, letter case ignored only where that finds none.
    """
    places: dict[_Key, list[tuple[int, int]]] = {}
    partners: dict[_Key, list[_Key]] = {}
    links: list[tuple[_Key, str, _Key]] = []
    for triplet in triplets:
        head = (triplet.head.text, triplet.head.type, 0)
        tail = (triplet.tail.text, triplet.tail.type, int(triplet.tail.text == triplet.head.text))
        links.append((head, triplet.relation, tail))
        for key, partner in ((head, tail), (tail, head)):
            places.setdefault(key, _places(text, key[0]))
            partners.setdefault(key, []).append(partner)
    ids = {key: f"e{index}" for index, key in enumerate(places)}
    spans: dict[_Key, tuple[int, int]] = {}
    for key, found in places.items():
        taken = {span for other, span in spans.items() if other[0] == key[0]}
        free = [span for span in found if span not in taken] or found
        if free:
            spans[key] = min(free, key=lambda span: (_distance(span, partners[key], places), span))
    entities = []
    for key in places:
        start, end = spans.get(key, (None, None))
        name = key[0] if start is None else text[start:end]
        entities.append(Entity(name, key[1], ids[key], start, end))
    extra = {
        "ambiguous_offsets": [ids[key] for key, found in places.items() if len(found) > 1],
        "missing_offsets": [ids[key] for key, found in places.items() if not found],
    }
    relations = tuple(Relation(ids[head], ids[tail], relation) for head, relation, tail in links)
    return tuple(entities), relations, {key: value for key, value in extra.items() if value}


def with_offsets(text: str, entities: Sequence[Entity]) -> tuple[tuple[Entity, ...], list[str]]:
    """Entities without spans get the only place where their text stands; the ids of those without one."""
    out, lost = [], []
    for entity in entities:
        if entity.start is None or entity.end is None:
            found = _places(text, entity.text)
            exact = [span for span in found if text[span[0] : span[1]] == entity.text]
            if len(exact) != 1:
                lost.append(entity.id)
            else:
                entity = replace(entity, start=exact[0][0], end=exact[0][1])
        out.append(entity)
    return tuple(out), lost


def _places(text: str, name: str) -> list[tuple[int, int]]:
    words = [re.escape(word) for word in name.split()]
    if not words:
        return []
    before = r"(?<!\w)" if re.match(r"\w", name.strip()) else ""
    after = r"(?!\w)" if re.search(r"\w$", name.strip()) else ""
    for pattern, flags in (
        (before + re.escape(name) + after, 0),
        (before + r"\s*".join(words) + after, 0),
        (before + r"\s*".join(words) + after, re.IGNORECASE),
        (re.escape(name), 0),
    ):
        found = [match.span() for match in re.finditer(pattern, text, flags)]
        if found:
            return found
    return []


def _distance(span: tuple[int, int], partners: Sequence[_Key], places: dict[_Key, list[tuple[int, int]]]) -> int:
    """Characters between a place and the nearest places of what it is related to, summed."""
    return sum(
        min((max(other[0] - span[1], span[0] - other[1], 0) for other in places[key] if other != span), default=0)
        for key in partners
    )

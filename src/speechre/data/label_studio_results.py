"""The results of one annotation in Label Studio: which of them are entities and relations, and what these say.

In our own projects entities are the labels of one tag. In others they are labels that have offsets in the task's text:
``labels`` with whole numbers as ``start`` and ``end`` (on audio they are seconds), and ``hypertextlabels`` with
``globalOffsets``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from speechre.data.label_studio import ENTITIES_TAG
from speechre.schema import strip_brackets
from speechre.types import Entity

Json: TypeAlias = "Mapping[str, Any]"

LABELS = ("labels", "hypertextlabels")
"""The types of results that can be entities; a value has its labels under the same name."""


@dataclass
class Found:
    """What the results of one annotation hold; ``others`` are those that were not read."""

    entities: dict[str, Entity] = field(default_factory=dict)  # by region id
    regions: dict[str, Json] = field(default_factory=dict)
    links: list[tuple[str, str, str]] = field(default_factory=list)  # region id, region id, type
    link_extras: list[Json] = field(default_factory=list)
    others: list[Json] = field(default_factory=list)


def read_results(results: Sequence[object], text: str, *, is_ours: bool) -> Found:
    """Entities and relations of an annotation of ``text``. Raises ``ValueError`` with the first fault."""
    found = Found()
    relations: list[Json] = []
    for index, item in enumerate(results):
        if not isinstance(item, Mapping):
            raise ValueError(f"result {index} is {item!r}; expected an object")
        if item.get("type") == "relation":
            relations.append(item)
        elif _is_entity(item, is_ours):
            region_id = item.get("id", f"region {index}")
            if not isinstance(region_id, str) or region_id in found.entities:
                raise ValueError(f"result {index} has the id {region_id!r}; expected one of its own")
            found.entities[region_id] = _entity(item["value"], item["type"], text)
            found.regions[region_id] = item
        else:
            found.others.append(item)
    for item in relations:
        _add_relation(found, item)
    return found


def _is_entity(item: Json, is_ours: bool) -> bool:
    value, kind = item.get("value"), item.get("type")
    if kind not in LABELS or not isinstance(value, Mapping):
        return False
    if is_ours:
        return kind == "labels" and item.get("from_name") == ENTITIES_TAG
    if kind == "hypertextlabels":
        return isinstance(value.get("globalOffsets"), Mapping)
    # A region need not say its text; seconds of audio are told by what else is said of audio, or by fractions.
    is_of_text = "text" in value or all(_is_whole(offset) for offset in _offsets(value, kind))
    return is_of_text and "channel" not in value and "original_length" not in item


def _offsets(value: Json, kind: str) -> tuple[object, object]:
    """Start and end in the text; of hypertext ``start`` and ``end`` are paths to its elements."""
    place = value["globalOffsets"] if kind == "hypertextlabels" else value
    return place.get("start"), place.get("end")


def _is_whole(offset: object) -> bool:
    return isinstance(offset, int) and not isinstance(offset, bool)


def _entity(value: Json, kind: str, text: str) -> Entity:
    start, end = _offsets(value, kind)
    if not (_is_whole(start) and _is_whole(end)):
        raise ValueError(f"a region has the offsets {start!r} and {end!r}; expected whole numbers")
    assert isinstance(start, int)
    assert isinstance(end, int)
    if not 0 <= start < end <= len(text):
        raise ValueError(f"a region goes from {start} to {end}, but the text has {len(text)} characters")
    said, labels = value.get("text"), value.get(kind)
    if said is not None and (not isinstance(said, str) or _words(said) != _words(text[start:end])):
        raise ValueError(f'a region says {said!r}, but {start} to {end} of the text is "{text[start:end]}"')
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str) or not labels[0]:
        raise ValueError(f'the region "{text[start:end]}" has the labels {labels!r}; expected one type')
    return Entity(text[start:end], strip_brackets(labels[0]), "", start, end)


def _words(text: str) -> list[str]:
    """Label Studio writes a line end in a region's text as a backslash and an n."""
    return text.replace("\\n", " ").split()


def _add_relation(found: Found, item: Json) -> None:
    ends = [item.get("from_id"), item.get("to_id")]
    # What somebody chose or wrote about a region has the region's own id.
    entity_ids = list(found.entities)
    other_ids = [other_id for other in found.others if (other_id := other.get("id")) not in entity_ids]
    if any(end is not None and end in other_ids for end in ends):
        found.others.append(item)  # a relation to something that is no entity
        return
    for end in ends:
        if not isinstance(end, str) or end not in found.entities:
            raise ValueError(f"a relation points at the region {end!r}, which is not there")
    head, tail = (str(end) for end in ends)
    words = f'"{found.entities[head].text}" to "{found.entities[tail].text}"'
    labels, direction = item.get("labels"), item.get("direction", "right")
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) and label for label in labels):
        raise ValueError(f"the relation from {words} has the labels {labels!r}; expected one or more types")
    if direction not in ("right", "left", "bi"):
        raise ValueError(f'the relation from {words} has the direction {direction!r}; expected "right", "left" or "bi"')
    pairs = {"right": [(head, tail)], "left": [(tail, head)], "bi": [(head, tail), (tail, head)]}[direction]
    found.links += [(one, other, strip_brackets(label)) for one, other in pairs for label in labels]
    found.link_extras.append(item)

"""Utterances as tasks of Label Studio (https://labelstud.io), and the labeling config that shows them.

What Label Studio's own code asks for, checked against version 1.23:

- Offsets are code points of the shown text, as Python's are; a region's ``value.text`` writes line ends as ``\\n``.
- An id ends at the first ``#`` when a person saves, so ids that could be cut are written in hexadecimal.
- The editor keeps ONE relation from a region to another; a second one is lost. Several types between two
  entities are therefore one relation with several labels.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from speechre.data.spans import place_entity
from speechre.data.store import PathLike, to_dict
from speechre.errors import DataError, SchemaError
from speechre.schema import Schema
from speechre.types import Entity, Relation, Utterance

ENTITIES_TAG, TEXT_TAG, AUDIO_TAG = "entities", "text", "audio"
"""The names of the config's tags; results point at them (``from_name``, ``to_name``)."""
TEXT_KEY, AUDIO_KEY, NOTE_KEY, RECORD_KEY = "text", "audio", "note", "speechre"
"""The keys of a task's data; the last one holds the manifest's own line, so that nothing of it is lost."""
MANIFEST_NAME = "manifest"
"""The ``model_version`` of what the manifest itself annotates."""

# Told apart by most readers, the colour-blind too (Okabe and Ito 2008, "Color Universal Design"), then lighter tints.
_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")
_HOTKEYS = "123456789"
_SAFE_ID = re.compile(r"(?!x-)[A-Za-z0-9_.\-]+")
_HEX_ID = re.compile(r"x-((?:[0-9a-f]{2})+)")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A pre-annotation of one utterance: what somebody (``name``) would annotate, and how sure that one is.

    Entities have spans in the utterance's text. ``score`` is from 0 (a guess) to 1 (certain), as are the scores of
    entities (by id) and of relations (by head id and tail id); ``None`` and missing ones are unknown.
    """

    name: str
    entities: tuple[Entity, ...]
    relations: tuple[Relation, ...]
    score: float | None = None
    entity_scores: Mapping[str, float] = field(default_factory=dict)
    relation_scores: Mapping[tuple[str, str], float] = field(default_factory=dict)


# --- the labeling config ---


def labeling_config(schema: Schema, *, has_audio: bool = True, has_note: bool = False) -> str:
    """The XML of a project: player, transcript, one label an entity type, one relation label a relation type.

    Label Studio cannot refuse a relation between two types; the pairs that ``schema`` allows stand in a panel over
    the text, and ``speechre data validate --schema`` finds the others. Raises :class:`SchemaError` on a schema
    without entity types.
    """
    if not schema.entity_types:
        raise SchemaError(f'schema "{schema.name}": no entity types; there is nothing to annotate')
    view = ElementTree.Element("View")
    if schema.relation_types:
        relations = ElementTree.SubElement(view, "Relations", choice="multiple")
        for index, name in enumerate(schema.relation_types):
            ElementTree.SubElement(relations, "Relation", value=name, background=_COLOURS[index % len(_COLOURS)])
    if has_audio:
        ElementTree.SubElement(view, "Audio", name=AUDIO_TAG, value=f"${AUDIO_KEY}")
    if has_note:
        ElementTree.SubElement(view, "Header", value=f"${NOTE_KEY}", size="5")
    if schema.relation_types:
        panel = ElementTree.SubElement(ElementTree.SubElement(view, "Collapse"), "Panel", value="Relations")
        for name in schema.relation_types:
            ElementTree.SubElement(panel, "Header", value=f"{name}: {allowed_types(schema, name)}", size="6")
    labels = ElementTree.SubElement(view, "Labels", name=ENTITIES_TAG, toName=TEXT_TAG)
    for index, name in enumerate(schema.entity_types):
        label = ElementTree.SubElement(labels, "Label", value=name, background=_COLOURS[index % len(_COLOURS)])
        if index < len(_HOTKEYS):
            label.set("hotkey", _HOTKEYS[index])
    # The editor draws relations over the lines they leave from, and needs room there.
    roomy = ElementTree.SubElement(view, "View", style="padding-top: 2em; line-height: 3em")
    ElementTree.SubElement(roomy, "Text", name=TEXT_TAG, value=f"${TEXT_KEY}", granularity="symbol")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def allowed_types(schema: Schema, relation: str) -> str:
    """The argument types of a relation in words: ``Peop → Org``, ``any → any``.

    >>> from speechre.schemas import CONLL04
    >>> allowed_types(CONLL04, "Work_For")
    'Peop → Org'
    """
    pairs = schema.pairs.get(relation)
    if pairs is None:
        return "any → any"
    heads = [name for name in schema.entity_types if any(head == name for head, _ in pairs)]
    tails = [name for name in schema.entity_types if any(tail == name for _, tail in pairs)]
    if set(product(heads, tails)) == set(pairs):
        every = set(schema.entity_types)
        return " → ".join("any" if set(side) == every else ", ".join(side) for side in (heads, tails))
    by_head = ((head, [tail for tail in tails if (head, tail) in pairs]) for head in heads)
    return "; ".join(f"{head} → {', '.join(some)}" for head, some in by_head)


def schema_of(annotated: Iterable[Utterance | Suggestion], name: str = "manifest") -> Schema:
    """The types that are in use, in the sequence of the alphabet, for a manifest that comes without a schema."""
    entity_types: set[str] = set()
    relation_types: set[str] = set()
    for one in annotated:
        entity_types |= {entity.type for entity in one.entities if entity.type}
        relation_types |= {relation.type for relation in one.relations}
    return Schema(name, tuple(sorted(entity_types)), tuple(sorted(relation_types)))


# --- tasks ---


def to_task(
    utterance: Utterance,
    audio_url: str = "",
    suggestions: Sequence[Suggestion] = (),
    *,
    folder: PathLike = "",
    note: str | None = None,
    text: str | None = None,
    own_name: str = MANIFEST_NAME,
    own_score: float | None = None,
) -> dict[str, Any]:
    """One task: what the config shows, the manifest's line, and the pre-annotations.

    What the manifest annotates comes first, as the prediction of ``own_name``, then the suggestions in their sequence.
    Entities without a span are shown where their text stands once in the utterance's; the ids of the others are
    listed as ``unplaced``, and reading gives them back as they were. ``text`` is shown in place of the utterance's.
    ``folder`` is the manifest's: the line's audio path is relative to it.
    """
    shown_text = utterance.text if text is None else text
    shown = [(entity, place_entity(entity, shown_text)) for entity in utterance.entities]
    unplaced = [entity.id for entity, placed in shown if placed is None]
    own: dict[str, Any] = {"utterance": to_dict(utterance, folder)}
    if unplaced:
        own["unplaced"] = unplaced
    data: dict[str, Any] = {AUDIO_KEY: audio_url, TEXT_KEY: shown_text, RECORD_KEY: own}
    if note is not None:
        data[NOTE_KEY] = note
    placed = tuple(entity for _, entity in shown if entity is not None)
    if placed:
        ids = {entity.id for entity in placed}
        relations = tuple(r for r in utterance.relations if r.head_id in ids and r.tail_id in ids)
        suggestions = (Suggestion(own_name, placed, relations, own_score), *suggestions)
    return {"data": data, "predictions": [_prediction(suggestion) for suggestion in suggestions]}


def _prediction(suggestion: Suggestion) -> dict[str, Any]:
    out: dict[str, Any] = {"model_version": suggestion.name}
    if suggestion.score is not None:
        out["score"] = round(suggestion.score, 4)
    out["result"] = [_region(entity, suggestion.entity_scores.get(entity.id)) for entity in suggestion.entities]
    by_pair: dict[tuple[str, str], list[str]] = {}
    for relation in suggestion.relations:
        labels = by_pair.setdefault((relation.head_id, relation.tail_id), [])
        if relation.type not in labels:
            labels.append(relation.type)
    for pair, labels in by_pair.items():
        item: dict[str, Any] = {
            "type": "relation",
            "from_id": to_region_id(pair[0]),
            "to_id": to_region_id(pair[1]),
            "direction": "right",
            "labels": labels,
        }
        if pair in suggestion.relation_scores:
            item["score"] = round(suggestion.relation_scores[pair], 4)
        out["result"].append(item)
    return out


def _region(entity: Entity, score: float | None) -> dict[str, Any]:
    out: dict[str, Any] = {
        "id": to_region_id(entity.id),
        "from_name": ENTITIES_TAG,
        "to_name": TEXT_TAG,
        "type": "labels",
        "value": {"start": entity.start, "end": entity.end, "text": entity.text, "labels": [entity.type]},
    }
    if score is not None:
        out["score"] = round(score, 4)
    return out


def to_region_id(entity_id: str) -> str:
    """An entity's id as Label Studio keeps it: as it is, or in hexadecimal where it would be cut or changed.

    >>> to_region_id("e0"), to_region_id("T#1"), from_region_id(to_region_id("T#1"))
    ('e0', 'x-542331', 'T#1')
    """
    return entity_id if _SAFE_ID.fullmatch(entity_id) else "x-" + entity_id.encode().hex()


def from_region_id(region_id: str) -> str:
    """The inverse of :func:`to_region_id`; ids that Label Studio gave stay as they are."""
    match = _HEX_ID.fullmatch(region_id)
    if match is None:
        return region_id
    try:
        return bytes.fromhex(match.group(1)).decode()
    except UnicodeDecodeError:
        return region_id


def check_types(utterances: Iterable[Utterance], suggestions: Iterable[Sequence[Suggestion]], schema: Schema) -> None:
    """Raises :class:`DataError` where a type is not in ``schema``: Label Studio would not show it."""
    faults: list[str] = []
    for utterance, some in zip(utterances, suggestions, strict=True):
        named = [("it", utterance.entities, utterance.relations)]
        named += [(f'the prediction of "{one.name}"', one.entities, one.relations) for one in some]
        for who, entities, relations in named:
            unknown = sorted({e.type for e in entities} - set(schema.entity_types))
            unknown += sorted({r.type for r in relations} - set(schema.relation_types))
            if unknown:
                faults.append(f'utterance "{utterance.id}": {who} has the type "{unknown[0]}"')
    if faults:
        raise DataError(
            f'{faults[0]}, which the schema "{schema.name}" does not have ({len(faults)} such faults in all); expected '
            f"{', '.join((*schema.entity_types, *schema.relation_types))}. Add the type to the schema, or correct it"
        )

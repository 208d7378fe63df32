"""What can be wrong with one utterance beyond its form: text, entities, relations, and what the schema allows."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

from speechre.data.record import is_number
from speechre.data.scripts import UNSPACED
from speechre.schema import Schema

Severity: TypeAlias = Literal["error", "warning"]
Found: TypeAlias = tuple[str, Severity, str]
"""Code, severity, message."""

_Entities: TypeAlias = Mapping[str, Mapping[str, Any]]

_SPACED = re.compile(r"\s[.,;:!?%)\]}'’”]|[(\[{$“‘`]\s|``|''|-[LR][RSC]B-")
"""A token of the Penn Treebank's writing: a comma after a blank, a bracket before one, its own quotes and brackets."""


def text_findings(record: Mapping[str, Any]) -> Iterator[Found]:
    """No text at all, and characters that nobody says or sees."""
    text = record.get("text", "")
    if not isinstance(text, str):
        return
    if not text.strip():
        yield "empty-text", "warning", "the text is empty; nothing can be learned from this transcript"
    odd = dict.fromkeys(character for character in text if _is_odd(character))
    if odd:
        named = ", ".join(f"U+{ord(character):04X}" for character in odd)
        yield (
            "odd-characters",
            "warning",
            f"the text holds {named}: control characters, invisible ones or what a broken encoding left",
        )


def _is_odd(character: str) -> bool:
    # Format characters (Cf) join letters in some scripts; of them only the byte order mark and bidi overrides are odd.
    if character in "\ufffd\ufeff\u202a\u202b\u202c\u202d\u202e":
        return True
    return unicodedata.category(character) in ("Cc", "Co", "Cn", "Cs")


def annotation_findings(record: Mapping[str, Any], schema: Schema | None) -> Iterator[Found]:
    """Everything about entities and relations; without a ``schema``, types and argument pairs are not checked."""
    entities = {
        e["id"]: e
        for e in _objects(record, "entities")
        if isinstance(e.get("id"), str) and isinstance(e.get("type"), str)
    }
    relations = [
        r for r in _objects(record, "relations") if all(isinstance(r.get(key), str) for key in ("head", "tail", "type"))
    ]
    if schema is not None:
        yield from _schema_findings(entities, relations, schema)
    text = record.get("text", "")
    yield from _entity_findings(entities, text if isinstance(text, str) else "")
    yield from _relation_findings(entities, relations)


def spoken_triplets(record: Mapping[str, Any]) -> frozenset[tuple[str, str, str]]:
    """The triplets of a record by their words, as far as it can be read."""
    texts = {e["id"]: str(e.get("text", "")) for e in _objects(record, "entities") if isinstance(e.get("id"), str)}
    links = [(r.get("head"), r.get("type"), r.get("tail")) for r in _objects(record, "relations")]
    return frozenset(
        (texts[head], kind, texts[tail])
        for head, kind, tail in links
        if isinstance(head, str) and isinstance(tail, str) and isinstance(kind, str) and {head, tail} <= texts.keys()
    )


def _objects(record: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    values = record.get(key)
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []


def _schema_findings(entities: _Entities, relations: list[Mapping[str, Any]], schema: Schema) -> Iterator[Found]:
    for entity_id, entity in entities.items():
        if entity["type"] not in schema.entity_types:
            expected = ", ".join(schema.entity_types)
            yield (
                "unknown-entity-type",
                "error",
                f'entity "{entity_id}" has type "{entity["type"]}"; expected {expected}',
            )
    for index, relation in enumerate(relations):
        if relation["type"] not in schema.relation_types:
            expected = ", ".join(schema.relation_types)
            yield (
                "unknown-relation-type",
                "error",
                f'relation {index} has type "{relation["type"]}"; expected {expected}',
            )
            continue
        head, tail = entities.get(relation["head"]), entities.get(relation["tail"])
        if head is None or tail is None or {head["type"], tail["type"]} - set(schema.entity_types):
            continue  # reported as dangling or unknown already
        if not schema.allows(head["type"], relation["type"], tail["type"]):
            pairs = sorted(schema.pairs[relation["type"]])
            yield (
                "pair-not-allowed",
                "error",
                f'relation {index}: "{relation["type"]}" from {head["type"]} to {tail["type"]}; expected '
                + " or ".join(f"{h} to {t}" for h, t in pairs),
            )


# --- entities ---


def _entity_findings(entities: _Entities, text: str) -> Iterator[Found]:
    first_at: dict[tuple[int, int], tuple[str, str]] = {}
    for entity_id, entity in entities.items():
        said = entity.get("text")
        if not isinstance(said, str) or not said.strip():
            continue  # reported as a fault of the record
        if said != said.strip():
            yield "edge-space", "warning", f'entity "{entity_id}" begins or ends with a blank: "{said}"'
        if _SPACED.search(said):
            yield (
                "spaced-punctuation",
                "warning",
                f'entity "{entity_id}" has a treebank\'s blanks, quotes or brackets inside: "{said}"; people write it '
                "without",
            )
        span = span_of(entity)
        if span is None:
            if text.strip() and entity.get("start") is None and entity.get("end") is None:
                yield "no-span", "warning", f'entity "{entity_id}" ("{said}") has no start and end'
            continue
        if text[span[0] : span[1]] != said:
            continue  # reported as a fault of the record
        if cuts_word(text, *span):
            yield "partial-word", "warning", f'entity "{entity_id}" ("{said}") begins or ends inside a word'
        if span not in first_at:
            first_at[span] = (entity_id, entity["type"])
            continue
        other_id, other_type = first_at[span]
        code = "duplicate-entity" if other_type == entity["type"] else "two-types"
        what = "twice" if other_type == entity["type"] else f"as {other_type} and as {entity['type']}"
        yield code, "warning", f'"{said}" is annotated {what}, by entities "{other_id}" and "{entity_id}"'


def span_of(entity: Mapping[str, Any]) -> tuple[int, int] | None:
    """The half-open span of an entity, where it has two whole numbers for it."""
    start, end = entity.get("start"), entity.get("end")
    if type(start) is not int or type(end) is not int or not 0 <= start < end:
        return None
    return start, end


def cuts_word(text: str, start: int, end: int) -> bool:
    """Whether one of the ends of a span lies between two letters or digits; never in scripts without blanks."""

    def joins(place: int) -> bool:
        if not 0 < place < len(text):
            return False
        before, after = text[place - 1], text[place]
        return before.isalnum() and after.isalnum() and not (UNSPACED.match(before) or UNSPACED.match(after))

    return joins(start) or joins(end)


# --- relations ---


def _relation_findings(entities: _Entities, relations: list[Mapping[str, Any]]) -> Iterator[Found]:
    def text(entity_id: str) -> str:
        return str(entities.get(entity_id, {}).get("text", entity_id))

    # By text, as the scores compare them: the same words at two places are one answer.
    said = Counter((text(r["head"]), r["type"], text(r["tail"])) for r in relations)
    for (head, relation, tail), count in said.items():
        if count > 1:
            yield (
                "duplicate-triplet",
                "warning",
                f"({head}, {relation}, {tail}) stands {count} times; it counts once",
            )
    links = {(r["head"], r["type"], r["tail"]) for r in relations}
    for head, relation, tail in sorted(links):
        if head == tail:
            yield "self-relation", "warning", f'"{relation}" links entity "{head}" ({text(head)}) to itself'
        elif head < tail and (tail, relation, head) in links:
            yield (
                "both-directions",
                "warning",
                f'"{relation}" stands in both directions: {text(head)} and {text(tail)}',
            )


def declared_duration_s(record: Mapping[str, Any]) -> float | None:
    """What the record itself says about the length of its sound, in seconds."""
    audio = record.get("audio")
    value = audio.get("duration_s") if isinstance(audio, Mapping) else None
    return float(value) if is_number(value) and value > 0 else None

"""What one line of a manifest may hold, and everything that can be wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from speechre.schema import strip_brackets

KEYS = ("id", "audio", "text", "split", "speaker", "entities", "relations", "extra")
AUDIO_KEYS = ("path", "start_s", "duration_s")
ENTITY_KEYS = ("id", "text", "type", "start", "end", "start_s", "end_s")
RELATION_KEYS = ("head", "tail", "type")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a record: a stable code and what is wrong, in words."""

    code: str
    message: str


def record_id(record: object) -> str | None:
    """The id of a record, as far as there is one."""
    value = record.get("id") if isinstance(record, Mapping) else None
    return value if isinstance(value, str) and value else None


def only_place(text: str, part: str) -> int | None:
    """Where ``part`` starts in ``text``, if that is one place only; ``None`` otherwise.

    >>> [only_place("Bo met Bo in Oslo", part) for part in ("Oslo", "Bo", "Rome", "")]
    [13, None, None, None]
    """
    start = text.find(part) if part else -1
    return None if start < 0 or text.find(part, start + 1) >= 0 else start


def record_faults(record: object) -> list[Fault]:
    """Everything that keeps ``record`` from being an utterance; empty when it is one."""
    if not isinstance(record, Mapping):
        return [
            Fault(
                "not-an-object",
                f"the line is {_kind(record)}; expected an object with the keys {', '.join(KEYS)}",
            )
        ]
    faults = [
        Fault(
            "unknown-key",
            f'unknown key "{key}"; expected {", ".join(KEYS)}. What is your own belongs into "extra"',
        )
        for key in record
        if key not in KEYS
    ]
    faults += _string_faults(record, "id", "the utterance", is_required=True)
    faults += _string_faults(record, "text", "the utterance", may_be_empty=True)
    for key in ("split", "speaker"):
        if record.get(key) is not None:
            faults += _string_faults(record, key, "the utterance")
    faults += _audio_faults(record.get("audio"))
    if not isinstance(record.get("extra", {}), Mapping):
        faults.append(Fault("wrong-type", f'"extra" is {_kind(record["extra"])}; expected an object'))
    elif not _is_json(record.get("extra", {})):
        faults.append(Fault("wrong-type", '"extra" holds something that JSON cannot say; expected plain values'))
    entities = record.get("entities", [])
    relations = record.get("relations", [])
    for key, value in (("entities", entities), ("relations", relations)):
        if not isinstance(value, (list, tuple)):
            faults.append(Fault("wrong-type", f'"{key}" is {_kind(value)}; expected a list'))
            return faults
    text = record.get("text", "")
    faults += _entity_list_faults(entities, text if isinstance(text, str) else "")
    faults += _relation_list_faults(relations, entities)
    return faults


def _audio_faults(audio: object) -> list[Fault]:
    if audio is None:
        return []
    if not isinstance(audio, Mapping):
        return [
            Fault(
                "wrong-type",
                f'"audio" is {_kind(audio)}; expected an object with the keys {", ".join(AUDIO_KEYS)}',
            )
        ]
    faults = _unknown_faults(audio, AUDIO_KEYS, '"audio"')
    faults += _string_faults(audio, "path", '"audio"', is_required=True)
    for key, lowest in (("start_s", "from 0 on"), ("duration_s", "above 0")):
        value = audio.get(key)
        if value is None and key == "duration_s":
            continue
        value = 0.0 if value is None and key not in audio else value
        if not is_number(value) or value < 0 or (key == "duration_s" and value == 0):
            faults.append(Fault("bad-window", f'"audio" has {key} {value!r}; expected seconds, {lowest}'))
    return faults


def _entity_list_faults(entities: Iterable[object], text: str) -> list[Fault]:
    faults: list[Fault] = []
    seen: set[str] = set()
    for index, entity in enumerate(entities):
        where = f"entity {index}"
        if not isinstance(entity, Mapping):
            faults.append(Fault("wrong-type", f"{where} is {_kind(entity)}; expected an object"))
            continue
        faults += _unknown_faults(entity, ENTITY_KEYS, where)
        for key in ("id", "text", "type"):
            faults += _string_faults(entity, key, where, is_required=True)
        faults += _bracket_faults(entity, where)
        entity_id = entity.get("id")
        if isinstance(entity_id, str) and entity_id in seen:
            faults.append(
                Fault(
                    "duplicate-entity-id",
                    f'{where} has the id "{entity_id}" of another entity; make it unique',
                )
            )
        elif isinstance(entity_id, str):
            seen.add(entity_id)
        faults += _span_faults(entity, where, text)
    return faults


def _bracket_faults(entity_or_relation: Mapping[str, Any], where: str) -> list[Fault]:
    kind = entity_or_relation.get("type")
    if not isinstance(kind, str) or strip_brackets(kind) == kind:
        return []
    bare = strip_brackets(kind)
    return [Fault("bracketed-type", f'{where} has type "{kind}"; write it without brackets: "{bare}"')]


def _span_faults(entity: Mapping[str, Any], where: str, text: str) -> list[Fault]:
    faults: list[Fault] = []
    start, end = entity.get("start"), entity.get("end")
    if start is not None or end is not None:
        if not (_is_int(start) and _is_int(end)):
            faults.append(
                Fault(
                    "bad-span",
                    f"{where} has the span {start!r} to {end!r}; expected two whole numbers or none",
                )
            )
        elif not 0 <= start < end <= len(text):
            faults.append(
                Fault(
                    "bad-span",
                    f"{where} has the span {start} to {end}, but the text has {len(text)} characters",
                )
            )
        elif isinstance(entity.get("text"), str) and text[start:end] != entity["text"]:
            faults.append(
                Fault(
                    "offset-mismatch",
                    f'{where} is "{entity["text"]}", but {start} to {end} of the text is "{text[start:end]}"',
                )
            )
    start_s, end_s = entity.get("start_s"), entity.get("end_s")
    for key, value in (("start_s", start_s), ("end_s", end_s)):
        if value is not None and not (is_number(value) and value >= 0):
            faults.append(Fault("bad-time", f"{where} has {key} {value!r}; expected seconds from 0 on"))
    if is_number(start_s) and is_number(end_s) and start_s > end_s:
        faults.append(Fault("bad-time", f"{where} ends at {end_s} s, before it starts at {start_s} s"))
    return faults


def _relation_list_faults(relations: Iterable[object], entities: Iterable[object]) -> list[Fault]:
    ids = [e["id"] for e in entities if isinstance(e, Mapping) and isinstance(e.get("id"), str)]
    faults: list[Fault] = []
    for index, relation in enumerate(relations):
        where = f"relation {index}"
        if not isinstance(relation, Mapping):
            faults.append(Fault("wrong-type", f"{where} is {_kind(relation)}; expected an object"))
            continue
        faults += _unknown_faults(relation, RELATION_KEYS, where)
        for key in RELATION_KEYS:
            faults += _string_faults(relation, key, where, is_required=True)
        faults += _bracket_faults(relation, where)
        for key in ("head", "tail"):
            target = relation.get(key)
            if isinstance(target, str) and target and target not in ids:
                faults.append(Fault("dangling-id", f'{where} points at entity "{target}", but {_there_are(ids)}'))
    return faults


def _there_are(ids: list[str]) -> str:
    if not ids:
        return "there are no entities"
    span = ids[0] if len(ids) == 1 else f"{ids[0]}-{ids[-1]}"
    return f"there {'is 1 entity' if len(ids) == 1 else f'are {len(ids)} entities'} ({span})"


def _unknown_faults(record: Mapping[str, Any], keys: tuple[str, ...], where: str) -> list[Fault]:
    return [
        Fault("unknown-key", f'{where} has the unknown key "{key}"; expected {", ".join(keys)}')
        for key in record
        if key not in keys
    ]


def _string_faults(
    record: Mapping[str, Any], key: str, where: str, *, is_required: bool = False, may_be_empty: bool = False
) -> list[Fault]:
    if key not in record:
        return [Fault("missing-key", f'{where} has no "{key}"')] if is_required else []
    value = record[key]
    if not isinstance(value, str):
        return [Fault("wrong-type", f'{where} has {_kind(value)} as "{key}"; expected a string')]
    if not value.strip() and not may_be_empty:
        return [Fault("empty-value", f'{where} has an empty "{key}"')]
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return [Fault("bad-text", f'{where} has half a character (a lone surrogate) in "{key}"')]
    return []


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    for types, name in (
        ((int, float), "a number"),
        (str, "a string"),
        (list, "a list"),
        (Mapping, "an object"),
    ):
        if isinstance(value, types):
            return name
    return f"a {type(value).__name__}"


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a finite number; a boolean is none."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        return False
    return True

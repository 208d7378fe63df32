"""Repairs of a manifest that cannot take anything away: a new file, and a list of every change.

What is done here has one right answer that the file itself holds. Whatever needs a judgement (which of two ids to
rename, whether a relation is wrong, what a recording says) stays as it is, and the validator goes on naming it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from speechre.data.findings import cuts_word, span_of
from speechre.data.record import KEYS, Fault, only_place, record_id
from speechre.data.store import PathLike, parse_json, scan_lines, write_atomically
from speechre.errors import DataError
from speechre.schema import strip_brackets

_Record: TypeAlias = dict[str, Any]
_Changed: TypeAlias = tuple[str, str]  # code of the finding, what was done


@dataclass(frozen=True, slots=True)
class Change:
    """One repair; ``line`` counts from 1 in the old file, ``code`` is the validator's for what was wrong."""

    line: int
    utterance_id: str | None
    code: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def repair_manifest(path: PathLike, output: PathLike) -> list[Change]:
    """Writes the repaired manifest to ``output`` and returns every change; ``path`` stays as it is.

    Repaired are: byte order marks, blank lines, a line that stands twice word for word, unknown keys (moved into
    ``extra``), types in angle brackets, blanks at the ends of an entity, offsets that do not match or are missing where
    the entity's text stands in one place only, an entity that is annotated twice, the second time with nothing new (its
    relations go to the first), and a relation between the same two entities that stands twice, key for key. Audio paths
    follow the file to its new folder.

    Raises :class:`DataError` when the file or one of its lines cannot be read at all (it could not be carried over)
    and :class:`UsageError` when ``output`` cannot be written.
    """
    path, output = Path(path), Path(output)
    changes: list[Change] = []
    first_line: dict[str, int] = {}
    lines: list[str] = []
    for line, content in scan_lines(path):
        if isinstance(content, Fault):
            if content.code not in ("byte-order-mark", "blank-line"):
                raise _unreadable(path, line, content.message)
            changes.append(Change(line, None, content.code, "removed"))
            continue
        record = _parsed(path, line, content)
        done = list(repair_record(record))
        _move_audio(record, path.parent, output.parent)
        written = json.dumps(record, ensure_ascii=False, allow_nan=False)
        if written in first_line:
            done = [("duplicate-id", f"removed: line {first_line[written]} says the same, word for word")]
        else:
            first_line[written] = line
            lines.append(written + "\n")
        changes += [Change(line, record_id(record), code, message) for code, message in done]
    if not lines:
        raise DataError(f"{path}: the manifest holds no utterance that can be read; expected one JSON object a line")
    write_atomically(output, "".join(lines))
    return changes


def repair_record(record: _Record) -> Iterator[_Changed]:
    """Repairs one record in place and tells each change as the validator's code and what was done."""
    yield from _keep_unknown_keys(record)
    entities, relations, text = record.get("entities"), record.get("relations"), record.get("text")
    if isinstance(entities, list):
        for entity in entities:
            if isinstance(entity, dict):
                yield from _repair_entity(entity, text if isinstance(text, str) else "")
        if isinstance(relations, list):
            yield from _merge_entities(entities, relations)
    if isinstance(relations, list):
        for number, relation in enumerate(relations):
            if isinstance(relation, dict):
                yield from _strip_type(relation, f"relation {number}")
        yield from _drop_repeated_relations(relations)


def _unreadable(path: Path, line: int, reason: str) -> DataError:
    return DataError(
        f"{path}:{line}: cannot be repaired: {reason}. Correct the line by hand first; "
        f'"speechre data validate {path}" lists all such lines'
    )


def _parsed(path: Path, line: int, content: str) -> _Record:
    try:
        record = parse_json(content)
        json.dumps(record, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, line, f"not JSON: {error}") from error
    if not isinstance(record, dict):
        raise _unreadable(path, line, "not an object")
    return record


def _move_audio(record: _Record, old: Path, new: Path) -> None:
    audio = record.get("audio")
    if not isinstance(audio, dict) or not isinstance(audio.get("path"), str) or not audio["path"]:
        return
    if os.path.abspath(old) != os.path.abspath(new) and not os.path.isabs(audio["path"]):
        moved = os.path.relpath(os.path.abspath(old / audio["path"]), os.path.abspath(new))
        audio["path"] = Path(moved).as_posix()


def _keep_unknown_keys(record: _Record) -> Iterator[_Changed]:
    extra = record.get("extra", {})
    if not isinstance(extra, dict):
        return
    for key in [key for key in record if key not in KEYS and key not in extra]:
        extra[key] = record.pop(key)
        record["extra"] = extra
        yield "unknown-key", f'"{key}" moved into "extra"'


# --- entities ---


def _repair_entity(entity: _Record, text: str) -> Iterator[_Changed]:
    name = f'entity "{entity.get("id")}"'
    yield from _strip_type(entity, name)
    said = entity.get("text")
    if not isinstance(said, str) or not said.strip():
        return
    if said != said.strip():
        yield _trim(entity, said, name, text)
    yield from _place(entity, name, text)


def _strip_type(entity_or_relation: _Record, name: str) -> Iterator[_Changed]:
    kind = entity_or_relation.get("type")
    if isinstance(kind, str) and strip_brackets(kind) != kind:
        entity_or_relation["type"] = strip_brackets(kind)
        yield "bracketed-type", f'{name}: type "{kind}" written as "{strip_brackets(kind)}"'


def _trim(entity: _Record, said: str, name: str, text: str) -> _Changed:
    span = span_of(entity)
    if span is not None and text[span[0] : span[1]] == said:
        start = span[0] + len(said) - len(said.lstrip())
        entity["start"], entity["end"] = start, start + len(said.strip())
    entity["text"] = said.strip()
    return "edge-space", f'{name}: "{said}" cut to "{entity["text"]}"'


def _place(entity: _Record, name: str, text: str) -> Iterator[_Changed]:
    """Offsets where the text stands, if that is one place only and, for new offsets, no part of a longer word."""
    said, start, end = entity["text"], entity.get("start"), entity.get("end")
    is_new = start is None and end is None
    span = span_of(entity)
    if span is not None and span[1] <= len(text) and text[span[0] : span[1]] == said:
        return
    place = only_place(text, said)
    if place is None or (is_new and cuts_word(text, place, place + len(said))):
        return
    entity["start"], entity["end"] = place, place + len(said)
    if is_new:
        yield "no-span", f'{name}: "{said}" stands at {place} to {place + len(said)} only'
    else:
        code = "bad-span" if span is None or span[1] > len(text) else "offset-mismatch"
        yield code, f'{name}: "{said}" moved from {start} to {end} to {place} to {place + len(said)}, its only place'


def _merge_entities(entities: list[Any], relations: list[Any]) -> Iterator[_Changed]:
    """One entity for what is annotated twice: same place, same type, and nothing more known of the second."""
    ids = [e.get("id") for e in entities if isinstance(e, dict)]
    first: dict[tuple[object, ...], _Record] = {}
    kept: list[Any] = []
    for entity in entities:
        span = span_of(entity) if isinstance(entity, dict) else None
        if span is None or not _is_plain(entity) or ids.count(entity["id"]) > 1:
            kept.append(entity)
            continue
        other = first.setdefault((span, entity["text"], entity["type"]), entity)
        if other is entity or _says_more(entity, other):
            kept.append(entity)
            continue
        for relation in relations:
            if isinstance(relation, dict):
                for end in ("head", "tail"):
                    if relation.get(end) == entity["id"]:
                        relation[end] = other["id"]
        yield "duplicate-entity", f'entity "{entity["id"]}" ("{entity["text"]}") merged into "{other["id"]}"'
    entities[:] = kept


def _says_more(entity: Mapping[str, Any], first: Mapping[str, Any]) -> bool:
    """Whether ``entity`` has a key, its id aside, that ``first`` lacks or contradicts: unknown keys too, which may hold
    somebody's only note.
    """
    return any(key != "id" and value != first.get(key) for key, value in entity.items())


def _is_plain(entity: Mapping[str, Any]) -> bool:
    return all(isinstance(entity.get(key), str) for key in ("id", "text", "type"))


# --- relations ---


def _drop_repeated_relations(relations: list[Any]) -> Iterator[_Changed]:
    seen: set[str] = set()
    kept: list[Any] = []
    for relation in relations:
        written = json.dumps(relation, sort_keys=True)
        if written in seen and isinstance(relation, dict):
            link = f"({relation.get('head')}, {relation.get('type')}, {relation.get('tail')})"
            yield "duplicate-triplet", f"{link} stood twice; the second is removed"
            continue
        seen.add(written)
        kept.append(relation)
    relations[:] = kept

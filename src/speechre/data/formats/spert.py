"""The JSON of SpERT (Eberts and Ulges 2020) and its CoNLL04: a list of tokens, entities as half-open spans of tokens,
relations between entities by index, ``orig_id``.

Tokens are the words between white space, cut where an entity begins or ends within one. Read back, a text is its tokens
with blanks between. A file of the types, which SpERT wants, is written beside it, as ``conll04_types.json``.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechre.data.formats.carry import FIELD, Losses, collect, to_carry, to_json
from speechre.data.formats.mentions import with_offsets
from speechre.data.formats.rows import json_items, of_name, optional_text, own_keys, text_at, with_other_keys
from speechre.data.formats.table import ExportOptions, Imported, ImportOptions
from speechre.data.store import write_atomically
from speechre.errors import DataError
from speechre.schema import strip_brackets
from speechre.types import Entity, Relation, Utterance

_KEYS = ("tokens", "entities", "relations", "orig_id", FIELD)


def read(source: Path, options: ImportOptions, name: str) -> Imported:
    """See :meth:`Format.read`. The id is ``orig_id``, else the file's name and the item's number from 0."""

    def rows() -> Iterator[tuple[str, Utterance, object]]:
        for index, (line, row) in enumerate(json_items(source)):
            try:
                if not isinstance(row, Mapping):
                    raise ValueError(f"item {index} is no object")
                yield f"{source}:{line}", _from_row(row, f"{source.stem}-{index}", name), row.get(FIELD)
            except ValueError as error:
                raise DataError(f"{source}:{line}: {error}") from error

    return collect(source, rows(), options, "a list of objects with tokens, entities and relations")


def write(target: Path, utterances: Sequence[Utterance], options: ExportOptions, name: str) -> list[str]:
    """See :meth:`Format.write`. Raises :class:`DataError` on an entity without offsets whose text does not stand in
    the sentence exactly once.
    """
    losses, rows = Losses(), []
    for utterance in utterances:
        row = _to_row(utterance) | own_keys(utterance, name, _KEYS)
        plain = _from_row(row, utterance.id, name)
        losses.add(utterance, plain)
        if not options.is_plain:
            row |= of_name(FIELD, to_carry(utterance, plain, folder=target.parent))
        rows.append(to_json(row))
    write_atomically(target, "[\n" + ",\n".join(rows) + "\n]\n")
    write_atomically(target.with_name(f"{target.stem}_types.json"), json.dumps(_types(utterances), indent=1) + "\n")
    return losses.notes(name, options.is_plain)


def _types(utterances: Sequence[Utterance]) -> dict[str, Any]:
    entities = sorted({e.type for u in utterances for e in u.entities})
    relations = sorted({r.type for u in utterances for r in u.relations})
    return {
        "entities": {name: {"short": name, "verbose": name} for name in entities},
        "relations": {name: {"short": name, "verbose": name, "symmetric": False} for name in relations},
    }


def _to_row(utterance: Utterance) -> dict[str, Any]:
    text = utterance.text
    entities, lost = with_offsets(text, utterance.entities)
    if lost:
        raise DataError(
            f'utterance "{utterance.id}": {", ".join(lost)} without offsets, and the text does not say where: '
            "spert needs spans; give the entities start and end"
        )
    spans = [(e.start or 0, e.end or 0) for e in entities]
    cuts = sorted({edge for span in spans for edge in span})
    tokens: list[tuple[int, int]] = []
    for match in re.finditer(r"\S+", text):
        edges = [match.start(), *(c for c in cuts if match.start() < c < match.end()), match.end()]
        tokens += list(itertools.pairwise(edges))
    found = []
    for entity, (start, end) in zip(entities, spans, strict=True):
        inside = [i for i, token in enumerate(tokens) if start <= token[0] and token[1] <= end]
        if not inside:
            raise DataError(
                f'utterance "{utterance.id}": entity "{entity.id}" is white space; spert has no token for it'
            )
        found.append({"type": entity.type, "start": inside[0], "end": inside[-1] + 1})
    index_of = {entity.id: index for index, entity in enumerate(entities)}
    return {
        "tokens": [text[start:end] for start, end in tokens],
        "entities": found,
        "relations": [
            {"type": r.type, "head": index_of[r.head_id], "tail": index_of[r.tail_id]} for r in utterance.relations
        ],
        "orig_id": utterance.id,
    }


def _from_row(row: Mapping[str, Any], fallback_id: str, name: str) -> Utterance:
    tokens = row.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, str) and token for token in tokens):
        raise ValueError('"tokens" is not a list of words')
    starts = [0]
    for token in tokens:
        starts.append(starts[-1] + len(token) + 1)
    text = " ".join(tokens)
    entities = []
    for index, entity in enumerate(_objects(row, "entities")):
        start, end = _index(entity, "start", len(tokens)), _index(entity, "end", len(tokens) + 1)
        if start >= end:
            raise ValueError(f"entity {index} spans the tokens {start} to {end}; expected an end behind the start")
        span = starts[start], starts[end] - 1
        kind = strip_brackets(text_at(entity, "type"))
        entities.append(Entity(text[span[0] : span[1]], kind, f"e{index}", *span))
    relations = tuple(
        Relation(
            f"e{_index(relation, 'head', len(entities))}",
            f"e{_index(relation, 'tail', len(entities))}",
            strip_brackets(text_at(relation, "type")),
        )
        for relation in _objects(row, "relations")
    )
    utterance_id = optional_text(row, "orig_id") or fallback_id
    return with_other_keys(Utterance(utterance_id, None, text, tuple(entities), relations), row, name, _KEYS)


def _objects(row: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    values = row.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
        raise ValueError(f'"{key}" is not a list of objects')
    return values


def _index(row: Mapping[str, Any], key: str, limit: int) -> int:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < limit:
        raise ValueError(f'"{key}" is {value!r}; expected a whole number from 0 to {limit - 1}')
    return value

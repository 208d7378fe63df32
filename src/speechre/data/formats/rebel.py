"""REBEL's strings (Huguet Cabot and Navigli 2021), and files of them: a JSON object a line with id, context, triplets.

A string is ``<triplet> head <subj> tail <obj> relation``; further tails of the same head follow as
``<subj> tail <obj> relation``. The typed form has the type of the head in place of ``<subj>`` and the tail's in place
of ``<obj>``, in lower case, as in REBEL's CoNLL04 and NYT: ``<triplet> Ann <peop> Oslo <loc> Live_In``. Relations are
written by their own names; REBEL's CoNLL04 has phrases in their place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechre.data.formats.carry import FIELD, Losses, collect, to_carry, to_json
from speechre.data.formats.mentions import find_entities
from speechre.data.formats.rows import json_lines, of_name, optional_text, own_keys, text_at, with_other_keys
from speechre.data.formats.table import ExportOptions, Imported, ImportOptions
from speechre.data.store import write_atomically
from speechre.errors import DataError
from speechre.schema import Schema, add_brackets
from speechre.types import Entity, Triplet, Utterance

TYPED = "rebel-typed"
_MARK = re.compile(r"(<[^\s<>]+>)")
_ENDS = re.compile(r"^(?:\s*</?s>|\s*<pad>)+|(?:</?s>\s*|<pad>\s*)+$")
"""What a decoder writes before and behind a string."""
_KEYS = ("id", "context", "triplets", "title", FIELD)


def to_rebel(triplets: Sequence[Triplet], typed: bool = False) -> str:
    """The string of an utterance's triplets, in their sequence.

    >>> ann, oslo, nrk = Entity("Ann", "Peop"), Entity("Oslo", "Loc"), Entity("NRK", "Org")
    >>> to_rebel([Triplet(ann, "Live_In", oslo), Triplet(ann, "Work_For", nrk)])
    '<triplet> Ann <subj> Oslo <obj> Live_In <subj> NRK <obj> Work_For'
    """
    parts: list[str] = []
    head = None
    for triplet in triplets:
        if head is None or (triplet.head.text, triplet.head.type) != (head.text, head.type):
            parts += ["<triplet>", triplet.head.text]
            head = triplet.head
        marks = ("<subj>", "<obj>")
        if typed:
            marks = tuple(add_brackets((e.type or "other").lower()) for e in (triplet.head, triplet.tail))  # type: ignore[assignment]
        parts += [marks[0], triplet.tail.text, marks[1], triplet.relation]
    return " ".join(parts)


def from_rebel(content: str, typed: bool = False, schema: Schema | None = None) -> list[Triplet]:
    """The inverse of :func:`to_rebel`; entities come with texts and, in the typed form, types.

    Types get the letter case of the ``schema``'s where there is one. ``<s>``, ``</s>`` and ``<pad>`` at the ends, as a
    decoder writes them, are passed over. Raises ``ValueError``, naming the place, on
    anything that is not such a string.
    """
    names = {name.lower(): name for name in schema.entity_types} if schema else {}
    pieces = [piece.strip() for piece in _MARK.split(_ENDS.sub("", content))]
    if pieces[0]:
        raise ValueError(f'the target begins with "{pieces[0][:40]}"; expected <triplet>')
    marks, texts = pieces[1::2], pieces[2::2]
    out: list[Triplet] = []
    head: str | None = None
    index = 0
    while index < len(marks):
        if marks[index] == "<triplet>":
            head = _filled(texts[index], "head", content)
            index += 1
        if head is None or index + 1 >= len(marks) or "<triplet>" in marks[index : index + 2]:
            raise ValueError(f'the target "{content[:80]}" ends within a triplet; expected head, tail and relation')
        if not typed and marks[index : index + 2] != ["<subj>", "<obj>"]:
            raise ValueError(f"the target has {' and '.join(marks[index : index + 2])}; expected <subj> and <obj>")
        kinds = [names.get(mark[1:-1], mark[1:-1]) if typed else "" for mark in marks[index : index + 2]]
        if schema and typed:
            for kind in kinds:
                schema.check_entity(kind)
        tail, relation = _filled(texts[index], "tail", content), _filled(texts[index + 1], "relation", content)
        out.append(Triplet(Entity(head, kinds[0]), relation, Entity(tail, kinds[1])))
        index += 2
    return out


def _filled(text: str, what: str, content: str) -> str:
    if not text:
        raise ValueError(f'the target "{content[:80]}" has an empty {what}')
    return text


UNTYPED = "Entity"
"""The type of entities where a format has none: a manifest wants one."""


def from_target(
    utterance_id: str, text: str, content: str, typed: bool = False, schema: Schema | None = None
) -> Utterance:
    """An utterance from a text and a target, entities found in the text. Raises as :func:`from_rebel`."""
    entities, relations, extra = find_entities(text, from_rebel(content, typed, schema))
    entities = tuple(Entity(e.text, e.type or UNTYPED, e.id, e.start, e.end) for e in entities)
    return Utterance(utterance_id, None, text, entities, relations, extra=extra)


# --- files ---


def read(source: Path, options: ImportOptions, name: str) -> Imported:
    """See :meth:`Format.read`. A line that is a string and no object is a bare target: its text is unknown, its id is
    the file's name and the line.
    """

    def rows() -> Iterator[tuple[str, Utterance, object]]:
        for line, record in json_lines(source, bare=True):
            try:
                yield (
                    f"{source}:{line}",
                    _from_row(record, f"{source.stem}-{line}", name, options.schema),
                    record.get(FIELD),
                )
            except ValueError as error:
                raise DataError(f"{source}:{line}: {error}") from error

    return collect(source, rows(), options, "a JSON object a line with id, context and triplets")


def write(target: Path, utterances: Sequence[Utterance], options: ExportOptions, name: str) -> list[str]:
    """See :meth:`Format.write`."""
    losses, lines = Losses(), []
    for utterance in utterances:
        row: dict[str, Any] = {
            "id": utterance.id,
            "context": utterance.text,
            "triplets": to_rebel(utterance.triplets, name == TYPED),
            **own_keys(utterance, name, _KEYS),
        }
        plain = _from_row(row | {FIELD: {}}, utterance.id, name, None)
        losses.add(utterance, plain)
        if not options.is_plain:
            row |= of_name(FIELD, to_carry(utterance, plain, folder=target.parent))
        lines.append(to_json(row) + "\n")
    write_atomically(target, "".join(lines))
    return losses.notes(name, options.is_plain)


def _from_row(row: Mapping[str, Any], fallback_id: str, name: str, schema: Schema | None) -> Utterance:
    utterance_id = optional_text(row, "id") or fallback_id
    context, content = text_at(row, "context", ""), text_at(row, "triplets")
    try:
        utterance = from_target(utterance_id, context, content, name == TYPED, None if FIELD in row else schema)
    except ValueError:
        if row.get(FIELD) is None:
            raise
        utterance = Utterance(utterance_id, None, context)  # as the writer read it, for the field of our own
    return with_other_keys(utterance, row, name, _KEYS)

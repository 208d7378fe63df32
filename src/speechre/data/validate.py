"""Every fault of a manifest at once, each with a stable code that scripts can rely on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from speechre.audio import SAMPLE_RATE_HZ, read_audio
from speechre.data.record import is_number, record_id
from speechre.data.store import PathLike, scan_records
from speechre.errors import AudioError
from speechre.schema import Schema

Severity: TypeAlias = Literal["error", "warning"]

MAX_UTTERANCE_S = 30.0
"""What one pass of the encoder hears."""
SILENT_PEAK = 0.001
"""-60 dB of full scale: below this, nobody speaks."""
CLIPPED_LEVEL = 0.999
CLIPPED_SHARE = 0.001


@dataclass(frozen=True, slots=True)
class Issue:
    """One finding. ``line`` counts from 1 and is ``None`` for the file as a whole."""

    code: str
    severity: Severity
    file: str
    line: int | None
    utterance_id: str | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        who = f' (utterance "{self.utterance_id}")' if self.utterance_id else ""
        return f"{place}{who}: {self.severity} {self.code}: {self.message}"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


_Found: TypeAlias = tuple[str, Severity, str]  # code, severity, message


def validate_manifest(path: PathLike, schema: Schema | None = None, *, check_audio: bool = True) -> list[Issue]:
    """Everything that is wrong with a manifest, in the sequence of its lines; an empty list when nothing is.

    Without a ``schema``, types and argument pairs are not checked; without ``check_audio``, no recording is
    opened. Never raises on content; raises :class:`DataError` when the file itself cannot be read.

    Errors: the codes of ``data.record``, ``duplicate-id``, ``unknown-entity-type``,
    ``unknown-relation-type``, ``pair-not-allowed``, ``missing-audio``, ``unreadable-audio``,
    ``empty-manifest``. Warnings: ``no-audio``, ``empty-text``, ``duplicate-triplet``, ``both-directions``,
    ``self-relation``, ``long-audio``, ``silent-audio``, ``clipped-audio``.
    """
    path = Path(path)
    issues: list[Issue] = []
    first_line: dict[str, int] = {}
    is_empty = True
    for line, record, faults in scan_records(path):
        is_empty = False
        utterance_id = record_id(record)

        def note(code: str, severity: Severity, message: str, line: int = line, who: str | None = utterance_id) -> None:
            issues.append(Issue(code, severity, str(path), line, who, message))

        for fault in faults:
            note(fault.code, "error", fault.message)
        if not isinstance(record, Mapping):
            continue
        if utterance_id is not None:
            if utterance_id in first_line:
                note(
                    "duplicate-id",
                    "error",
                    f"its id stands on line {first_line[utterance_id]} already; make it unique",
                )
            first_line.setdefault(utterance_id, line)
        for found in _content_findings(record, schema, path.parent if check_audio else None):
            note(*found)
    if is_empty:
        issues.append(Issue("empty-manifest", "error", str(path), None, None, "the manifest holds no utterance"))
    return issues


def _content_findings(record: Mapping[str, Any], schema: Schema | None, folder: Path | None) -> Iterator[_Found]:
    text = record.get("text", "")
    if isinstance(text, str) and not text.strip():
        yield "empty-text", "warning", "the text is empty; nothing can be learned from this transcript"
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
    yield from _relation_findings(entities, relations)
    if folder is not None:
        yield from _audio_findings(record.get("audio"), folder)


def _objects(record: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    values = record.get(key)
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []


def _schema_findings(
    entities: Mapping[str, Mapping[str, Any]], relations: list[Mapping[str, Any]], schema: Schema
) -> Iterator[_Found]:
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


def _relation_findings(
    entities: Mapping[str, Mapping[str, Any]], relations: list[Mapping[str, Any]]
) -> Iterator[_Found]:
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


def _audio_findings(audio: object, folder: Path) -> Iterator[_Found]:
    if audio is None:
        yield (
            "no-audio",
            "warning",
            "no audio is given; this utterance can be scored, but neither trained on nor extracted",
        )
        return
    if not isinstance(audio, Mapping) or not isinstance(audio.get("path"), str) or not audio["path"]:
        return  # reported as a fault of the record
    path = folder / audio["path"]
    start_s, duration_s = audio.get("start_s", 0.0), audio.get("duration_s")
    if not is_number(start_s) or not (duration_s is None or is_number(duration_s)):
        return
    try:
        if not path.exists():
            yield "missing-audio", "error", f"{path}: no such file"
            return
        sound = read_audio(path, start_s=start_s, duration_s=duration_s)
    except (AudioError, OSError, ValueError) as error:  # a path that no system call takes
        yield "unreadable-audio", "error", str(error)
        return
    length_s = len(sound) / SAMPLE_RATE_HZ
    if length_s > MAX_UTTERANCE_S:
        yield (
            "long-audio",
            "warning",
            f"{path}: {length_s:.1f} s; the model hears {MAX_UTTERANCE_S:g} s at once",
        )
    level = np.abs(sound)
    if float(level.max()) < SILENT_PEAK:
        yield (
            "silent-audio",
            "warning",
            f"{path}: the peak is {float(level.max()):.5f}; there is nothing to hear",
        )
    share = float(np.mean(level >= CLIPPED_LEVEL))
    if share > CLIPPED_SHARE:
        yield (
            "clipped-audio",
            "warning",
            f"{path}: {share:.1%} of the samples are at full scale; record it less loud",
        )
